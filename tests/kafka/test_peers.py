"""The peers' benchmark over Kafka, where our source says more than the job's records."""

import os
import sys
from pathlib import Path

import msgspec

from benchmarks.deployment import ROOT
from benchmarks.peers.filling import filled
from benchmarks.peers.floor import count
from benchmarks.peers.measuring import measured
from benchmarks.peers.traffic import Traffic, records, written

TRAFFIC = Traffic(events=5000, users=500, malformed=0.05)


def test_ours_over_kafka_and_the_floor_count_the_same(bootstrap: str, tmp_path: Path) -> None:
    """Since every step is awake in every epoch, the source emits empty batches too; the benchmark took their first record."""
    topic = filled(bootstrap, written(tmp_path, TRAFFIC, 1))
    command = [sys.executable, "-m", "benchmarks.peers.ours", "--events", "5000", "--partitions", "1"]
    ours = measured([*command, "--kafka", bootstrap, "--topic", topic], ROOT, os.environ)
    assert ours.counts == msgspec.to_builtins(count(records(TRAFFIC)))
