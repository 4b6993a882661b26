"""The two transports behind one interface: Redis Streams, unless WAXMARK_KAFKA names a Kafka."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import FixedPartitionedSink

from connectors import kafka_log, redis_log
from connectors.claim import Claim
from connectors.kafka_client import Kafka, KafkaRefused, configured
from connectors.kafka_feedback import KafkaSink
from connectors.kafka_outputs import KafkaOnceSink
from connectors.kafka_source import KafkaSource, Pace
from connectors.outbox import Outboxes
from connectors.recorder import Metrics
from connectors.redis_outputs import FeedbackSink, OnceSink
from connectors.redis_streams import EventSource, connect
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.topics import DEAD_LETTERS, EVENTS, TRIGGERS, Buried, Wrote, nobody
from state.campaigns import Campaign
from state.clock import DAY
from state.outputs import Emission, Feedback
from state.records import Batch


class Sender(Protocol):
    """Appends records one by one, which are all in the log when `flush` returns."""

    def append(self, key: str, value: bytes) -> None:
        """Append one record under a person's key."""

    def flush(self) -> None:
        """Wait for all of them."""


class Transport(Protocol):
    """A log to read events from and write topics to. The partitions that its steps open end when `stop` says so."""

    def source(self, stop: Stop, claim: Claim, metrics: Metrics) -> FixedPartitionedSource[tuple[str, Batch], Any]:
        """Read the events."""

    def once(
        self, topic: str, stop: Stop, metrics: Metrics, wrote: Wrote = nobody, outboxes: Outboxes | None = None
    ) -> FixedPartitionedSink[Emission | Buried, Any]:
        """Write a topic exactly once; with or after what `outboxes` hold for Redis."""

    def dead_letters(self, stop: Stop, metrics: Metrics, outboxes: Outboxes) -> FixedPartitionedSink[Buried, Any]:
        """Write the dead letters, at least once."""

    def feedback(self, stop: Stop, outboxes: Outboxes) -> FixedPartitionedSink[Feedback, Any]:
        """Write links and forwards back into the events, at least once."""

    def publish(self, campaigns: list[Campaign]) -> bool:
        """Put campaigns in force; return whether they may be new."""

    def sender(self) -> "Sender":
        """Append records from a tool."""

    def export(self, path: Path, chosen: Iterable[int]) -> int:
        """Write the events of these partitions to a log file; return how many there were."""

    def load(self, path: Path) -> int:
        """Append a log file's records at their own times; return how many there were."""


class RedisTransport:
    """Redis Streams: one process, one machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._url, self._partitions = settings, settings.redis, settings.partitions

    def source(self, stop: Stop, claim: Claim, metrics: Metrics) -> EventSource:  # noqa: ARG002 - a stream's last id fences
        """Read the events."""
        retention, most = self._settings.retention_days * DAY, self._settings.batch_records
        return EventSource(self._url, self._partitions, stop, retention, metrics, most=most)

    def once(
        self,
        topic: str,
        stop: Stop,  # noqa: ARG002 - one process
        metrics: Metrics,
        wrote: Wrote = nobody,
        outboxes: Outboxes | None = None,
    ) -> OnceSink:
        """Write a topic exactly once."""
        # Triggers are forgotten by delivery, which knows what it still needs of them.
        retention = 0 if topic == TRIGGERS else self._settings.retention_days * DAY
        return OnceSink(self._url, self._partitions, topic, metrics, wrote, retention, outboxes)

    def dead_letters(self, stop: Stop, metrics: Metrics, outboxes: Outboxes) -> Any:
        """Write the dead letters: here even exactly once."""
        return self.once(DEAD_LETTERS, stop, metrics, outboxes=outboxes)

    def feedback(self, stop: Stop, outboxes: Outboxes) -> FeedbackSink:  # noqa: ARG002 - one process
        """Write links and forwards back into the events, at least once."""
        return FeedbackSink(outboxes, self._partitions)

    def publish(self, campaigns: list[Campaign]) -> bool:
        """Put campaigns in force, unless they are."""
        client = connect(self._url)
        try:
            return redis_log.publish(client, self._partitions, campaigns)
        finally:
            client.close()

    def sender(self) -> "redis_log.Sender":
        """Append records from a tool."""
        return redis_log.Sender(connect(self._url), self._partitions)

    def export(self, path: Path, chosen: Iterable[int]) -> int:
        """Write the events of these partitions to a log file; return how many there were."""
        return redis_log.export(connect(self._url), path, self._partitions, chosen)

    def load(self, path: Path) -> int:
        """Append a log file's records at their own positions and times; return how many there were."""
        return redis_log.load(connect(self._url), path)


class KafkaTransport:
    """Kafka: as many processes as divide P."""

    def __init__(self, kafka: Kafka, settings: Settings) -> None:
        self._kafka, self._settings, self._partitions = kafka, settings, settings.partitions

    def source(self, stop: Stop, claim: Claim, metrics: Metrics) -> KafkaSource:
        """Read the events."""
        settings = self._settings
        pace = Pace(settings.batch_records, settings.epoch_megabytes * 1024 * 1024, settings.tick_seconds)
        return KafkaSource(
            self._kafka, self._partitions, stop, claim, metrics, pace, accept_expired=settings.accept_expired
        )

    def once(
        self,
        topic: str,
        stop: Stop,
        metrics: Metrics,
        wrote: Wrote = nobody,
        outboxes: Outboxes | None = None,
    ) -> KafkaOnceSink:
        """Write a topic exactly once."""
        return KafkaOnceSink(self._kafka, self._partitions, topic, stop, metrics, wrote, outboxes)

    def dead_letters(self, stop: Stop, metrics: Metrics, outboxes: Outboxes) -> Any:  # noqa: ARG002 - nothing is suppressed
        """Write the dead letters, at least once."""
        return KafkaSink(self._kafka, self._partitions, DEAD_LETTERS, stop)

    def feedback(self, stop: Stop, outboxes: Outboxes) -> Any:  # noqa: ARG002 - for what is in Redis
        """Write links and forwards back into the events, at least once."""
        return KafkaSink(self._kafka, self._partitions, EVENTS, stop)

    def publish(self, campaigns: list[Campaign]) -> bool:
        """Put campaigns in force; those that are already, the fold passes over."""
        kafka_log.publish(self._kafka, self._partitions, campaigns)
        return True

    def sender(self) -> kafka_log.Sender:
        """Append records from a tool."""
        return kafka_log.Sender(self._kafka, self._partitions)

    def export(self, path: Path, chosen: Iterable[int]) -> int:
        """Write the events of these partitions to a log file; return how many there were."""
        return kafka_log.export(self._kafka, path, self._partitions, chosen)

    def load(self, path: Path) -> int:
        """Refuse: Raises KafkaRefused, since the brokers stamp append times themselves."""
        raise KafkaRefused(
            f"{path}: Kafka's brokers stamp append times themselves; import into Redis Streams, or replay"
        )


def chosen(settings: Settings, environment: Mapping[str, str]) -> Transport:
    """Choose the transport: Kafka where WAXMARK_KAFKA names one, else Redis Streams."""
    if settings.kafka is None:
        return RedisTransport(settings)
    return KafkaTransport(configured(settings, environment), settings)
