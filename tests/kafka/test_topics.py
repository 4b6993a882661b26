"""`waxmark topics`, as a platform engineer runs it."""

import os
import subprocess
from pathlib import Path

from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic, ResourceType

from benchmarks.deployment import ROOT, WAXMARK
from connectors.kafka_client import Kafka
from connectors.topics import TOPICS
from tests.kafka.broker import Brokers


def topics(bootstrap: str, prefix: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    own = {"WAXMARK_KAFKA": bootstrap, "WAXMARK_KAFKA_PREFIX": prefix, "COLUMNS": "250"} | environment
    return subprocess.run(
        [*WAXMARK, "topics", *arguments], env=os.environ | own, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_it_creates_what_is_missing_and_then_finds_all_as_it_should_be(bootstrap: str, prefix: str) -> None:
    """Idempotent: it belongs into every deployment's start."""
    first, second = topics(bootstrap, prefix), topics(bootstrap, prefix)
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + second.stdout
    assert first.stdout.count("created") == second.stdout.count("as it should be") == len(TOPICS)
    admin = Kafka(prefix, {"bootstrap.servers": bootstrap}).admin()
    assert len(admin.list_topics(timeout=10).topics[f"{prefix}.events"].partitions) == 4
    resource = ConfigResource(ResourceType.TOPIC, f"{prefix}.events")
    assert admin.describe_configs([resource])[resource].result()["message.timestamp.type"].value == "LogAppendTime"


def test_it_says_what_differs_fixes_settings_if_asked_and_never_makes_anything_smaller(
    bootstrap: str, prefix: str
) -> None:
    """More partitions than P would put a person's new events where their old ones are not."""
    admin = Kafka(prefix, {"bootstrap.servers": bootstrap}).admin()
    config = {"retention.ms": "-1", "cleanup.policy": "compact"}
    admin.create_topics([NewTopic(f"{prefix}.events", 4, 1, config=config)])[f"{prefix}.events"].result()
    admin.create_topics([NewTopic(f"{prefix}.triggers", 2, 1)])[f"{prefix}.triggers"].result()
    found = topics(bootstrap, prefix)
    assert found.returncode == 3
    assert "cleanup.policy is compact, should be delete" in found.stdout
    assert "retention.ms is -1, more than" in found.stdout
    assert "has 2 partitions, WAXMARK_PARTITIONS is 4" in found.stdout

    admin.create_partitions([NewPartitions(f"{prefix}.triggers", 4)])[f"{prefix}.triggers"].result()
    assert topics(bootstrap, prefix, "--fix").returncode == 0
    after = topics(bootstrap, prefix)
    assert after.returncode == 0, after.stdout
    assert "retention.ms is -1, more than" in after.stdout


def test_a_broker_that_asks_who_one_is_takes_credentials_from_the_file_and_the_environment(
    broker: Brokers, prefix: str, tmp_path: Path
) -> None:
    """Whatever librdkafka knows of SASL, TLS and OAuth is passed through; the environment goes before the file."""
    mounted = tmp_path / "kafka.properties"
    mounted.write_text("# mounted from a secret\nsasl.username=nobody\nsasl.password = secret\n")
    done = topics(
        broker.guarded,
        prefix,
        WAXMARK_KAFKA_FILE=str(mounted),
        WAXMARK_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        WAXMARK_KAFKA_SASL_MECHANISMS="PLAIN",
        WAXMARK_KAFKA_SASL_USERNAME="waxmark",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created") == len(TOPICS)


def test_what_promises_depend_on_cannot_be_set_and_what_librdkafka_does_not_know_is_named(prefix: str) -> None:
    """Settings are passed through, with an error that names the one at fault."""
    refused = topics("127.0.0.1:1", prefix, WAXMARK_KAFKA_ISOLATION_LEVEL="read_uncommitted")
    unknown = topics("127.0.0.1:1", prefix, WAXMARK_KAFKA_SASL_USER_NAME="ann")
    assert (refused.returncode, unknown.returncode) == (3, 3)
    assert "isolation.level cannot be set" in refused.stderr
    assert "sasl.user.name" in unknown.stderr
