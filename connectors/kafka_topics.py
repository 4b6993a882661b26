"""The topics as they should be in Kafka: created where they are missing, compared where they exist, never made smaller."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from connectors.kafka_client import MAX_RECORD_BYTES, Kafka, KafkaRefused, said
from connectors.topics import TOPICS
from state.clock import DAY, MILLISECOND

_SECONDS: Final = 30.0
_SAFE_REPLICAS: Final = 3


class Finding(NamedTuple):
    """What was found of one topic: `created`, `as it should be`, or what differs. `fix` is a setting that may be changed."""

    topic: str
    said: str
    differs: bool
    fix: tuple[str, str] | None = None


class Topics:
    """The topics of one deployment.

    Args:
        kafka: where.
        partitions: P; fixed for ever once there are records, as it says where a person is.
        retention_days: for how long records are kept.
        replicas: copies of each partition; None takes three, or as many as there are brokers.
    """

    def __init__(self, kafka: Kafka, partitions: int, retention_days: int, replicas: int | None = None) -> None:
        self._kafka, self._partitions, self._admin = kafka, partitions, kafka.admin()
        try:
            self._found: Any = self._admin.list_topics(timeout=_SECONDS)
        except KafkaException as error:
            raise KafkaRefused(f"Kafka cannot be reached: {error.args[0].str()}") from error
        self._replicas = replicas or min(_SAFE_REPLICAS, len(self._found.brokers))
        self._wanted = {
            # The fold reads every record in order: a compacted topic would lose all but the last of a key.
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(retention_days * DAY // MILLISECOND // 1000 * 1000),
            "min.insync.replicas": str(max(1, self._replicas - 1)),
            "max.message.bytes": str(MAX_RECORD_BYTES),
        }

    def create_and_check(self, *, fix: bool = False) -> list[Finding]:
        """Create what is missing and say what differs; with `fix`, change settings, but shorten no retention."""
        names = [self._kafka.topic(topic) for topic in TOPICS]
        missing = [name for name in names if name not in self._found.topics]
        new = [NewTopic(name, self._partitions, self._replicas, config=dict(self._wanted)) for name in missing]
        for name, made in self._admin.create_topics(new).items() if new else ():
            _answer(made, name)
        findings = [Finding(name, "created", differs=False) for name in missing]
        for name in names:
            if name not in missing:
                findings += list(self._compare(name)) or [Finding(name, "as it should be", differs=False)]
        return [self._fixed(finding) if fix and finding.fix else finding for finding in findings]

    def _compare(self, name: str) -> Iterator[Finding]:
        partitions = self._found.topics[name].partitions
        if len(partitions) != self._partitions:
            yield Finding(
                name,
                f"has {len(partitions)} partitions, WAXMARK_PARTITIONS is {self._partitions}; set that, or export the log and "
                "begin anew: the number says where a person is",
                differs=True,
            )
        fewest = min((len(partition.replicas) for partition in partitions.values()), default=0)
        if fewest < self._replicas:
            yield Finding(name, f"has {fewest} replicas, should have {self._replicas}; reassign it", differs=True)
        resource = ConfigResource(ResourceType.TOPIC, name)
        is_as = {
            key: entry.value for key, entry in _answer(self._admin.describe_configs([resource])[resource], name).items()
        }
        for key, value in self._wanted.items():
            if not _enough(key, is_as.get(key), value):
                yield Finding(name, f"{key} is {is_as.get(key)}, should be {value}", differs=True, fix=(key, value))
            elif is_as.get(key) != value:
                yield Finding(name, f"{key} is {is_as.get(key)}, more than {value}: left", differs=False)

    def _fixed(self, finding: Finding) -> Finding:
        key, value = finding.fix or ("", "")
        change = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, finding.topic, incremental_configs=[change])
        _answer(self._admin.incremental_alter_configs([resource])[resource], finding.topic)
        return Finding(finding.topic, f"{finding.said}: set", differs=False)


def _enough(key: str, found: str | None, wanted: str) -> bool:
    """Tell whether a setting is as wanted, or keeps more."""
    if key in {"retention.ms", "max.message.bytes", "min.insync.replicas"} and found is not None:
        return int(found) >= int(wanted) or (key == "retention.ms" and found == "-1")
    return found == wanted


def _answer(future: Any, name: str) -> Any:
    try:
        return future.result(_SECONDS)
    except KafkaException as error:
        raise said(error.args[0], name) from error
