"""The command's tools on Kafka."""

import os
import subprocess
from pathlib import Path

from benchmarks.deployment import ROOT, WAXMARK
from connectors import logfile
from connectors.kafka_client import Kafka


def waxmark(kafka: Kafka, redis: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    own = {
        "WAXMARK_KAFKA": kafka.properties["bootstrap.servers"],
        "WAXMARK_KAFKA_PREFIX": kafka.prefix,
        "WAXMARK_REDIS": redis,
        "WAXMARK_PARTITIONS": "2",
    }
    return subprocess.run(
        [*WAXMARK, *arguments], env=os.environ | own, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_what_was_simulated_can_be_exported_and_replayed_but_not_imported(
    kafka: Kafka, redis_url: str, tmp_path: Path
) -> None:
    """An import would need append times that only the brokers give."""
    log = tmp_path / "log.jsonl"
    assert waxmark(kafka, redis_url, "simulate", "--events", "300", "--as-fast-as-possible").returncode == 0
    exported = waxmark(kafka, redis_url, "export", str(log))
    assert exported.returncode == 0, exported.stderr
    records = list(logfile.read(log))
    assert len(records) == 300
    assert {partition for partition, _ in records} == {0, 1}
    assert waxmark(kafka, redis_url, "replay", str(log)).returncode == 0
    refused = waxmark(kafka, redis_url, "import", str(log))
    assert refused.returncode == 3
    assert "stamp append times themselves" in refused.stderr
