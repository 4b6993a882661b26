"""The events of Kafka as a source: assigned partitions, raw bytes, batches, and how far each partition was read."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from connectors.claim import Claim
from connectors.idling import Idling
from connectors.kafka_client import Kafka, said
from connectors.kafka_records import TICK, Reading
from connectors.recorder import Metrics
from connectors.routing import part_names, routed_keys
from connectors.stopping import Stop
from connectors.topics import EVENTS
from state.records import Batch

_log: Final = logging.getLogger("waxmark.kafka")

NEVER: Final = f"{OFFSET_BEGINNING}@0"


class Pace(NamedTuple):
    """How fast a partition is read: `batch` records a look, `epoch_bytes` until the next snapshot, idle `tick_seconds`."""

    batch: int = 500
    epoch_bytes: int = 64 * 1024 * 1024
    tick_seconds: float = 1.0


class KafkaSource(FixedPartitionedSource[tuple[str, Batch], str]):
    """The events of P partitions, in batches, with a report of how far each was read.

    The report is the append time of the last record or tick read, so it rests on the broker's clock and order alone. At the
    idle end of a partition a tick is appended every `tick_seconds`. Between two snapshots a partition emits at most
    `epoch_bytes` and one batch, which bounds what may wait in memory. Snapshotted offsets are committed to the group
    `{prefix}.personalization`, for lag tools to see; on resume only the snapshot counts.

    Raises Expired where the log begins after the snapshot, unless `accept_expired`.
    """

    def __init__(
        self,
        kafka: Kafka,
        partitions: int,
        stop: Stop,
        claim: Claim,
        metrics: Metrics,
        pace: Pace,
        *,
        accept_expired: bool = False,
    ) -> None:
        self._kafka, self._partitions, self._stop, self._claim = kafka, partitions, stop, claim
        self._metrics, self._pace, self._accept_expired = metrics, pace, accept_expired
        self._keys = routed_keys(partitions)
        self._idling = Idling()
        self._ticks: _Ticks | None = None

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return part_names(self._partitions)

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_KafkaPartition":  # noqa: ARG002 - theirs
        """Open one partition where the snapshot left it."""
        self._ticks = self._ticks or _Ticks(self._kafka)
        self._idling.opened()
        own: dict[str, Any] = {"auto.offset.reset": "earliest"} if self._accept_expired else {}
        return _KafkaPartition(
            self._kafka.consumer(on_commit=_committed, **own),
            TopicPartition(self._kafka.topic(EVENTS), int(for_part)),
            resume_state or NEVER,
            self._ticks,
            key=self._keys[int(for_part)],
            stop=self._stop,
            claim=self._claim,
            metrics=self._metrics,
            pace=self._pace,
            idling=self._idling,
        )


def _committed(error: KafkaError | None, places: list[TopicPartition]) -> None:
    if error is not None:
        _log.warning("offsets were not committed: lag tools see old ones", extra={"code": error.name()})
    for place in places:
        if place.error is not None:
            _log.warning(
                "an offset was not committed", extra={"partition": place.partition, "code": place.error.name()}
            )


class _Ticks:
    """Appends ticks: one producer for all partitions that this process reads."""

    def __init__(self, kafka: Kafka) -> None:
        self._producer = kafka.producer()

    def append(self, place: TopicPartition, appended: Callable[[Any, Any], None]) -> None:
        self._producer.produce(place.topic, partition=place.partition, headers=[(TICK, b"")], on_delivery=appended)

    def serve(self) -> None:
        self._producer.poll(0)


class _KafkaPartition(StatefulSourcePartition[tuple[str, Batch], str]):
    def __init__(
        self,
        consumer: Any,
        place: TopicPartition,
        position: str,
        ticks: _Ticks,
        *,
        key: str,
        stop: Stop,
        claim: Claim,
        metrics: Metrics,
        pace: Pace,
        idling: Idling,
    ) -> None:
        self._idling = idling
        self._consumer, self._place, self._ticks, self._key = consumer, place, ticks, key
        self._stop, self._claim, self._metrics, self._pace = stop, claim, metrics, pace
        self._where = f"{place.topic}/{place.partition}"
        offset, _, at = position.partition("@")
        self._reading = Reading(self._where, int(offset), int(at))
        self._committed = self._reading.position
        self._emitted = 0
        self._heard = time.monotonic()
        self._tick_under_way = False
        self._is_silent = True
        self._failure: Exception | None = None
        consumer.assign([TopicPartition(place.topic, place.partition, self._reading.position)])

    def next_batch(self) -> list[tuple[str, Batch]]:
        if self._stop.requested and not self._is_silent:
            raise StopIteration
        with self._stop.noting():
            found = self._look()
        if self._is_silent and not found:  # see connectors.awoken
            found = [(self._key, Batch(self._place.partition, [], 0))]
        self._is_silent = False
        return found

    def _look(self) -> list[tuple[str, Batch]]:
        if self._failure is not None:
            raise self._failure
        if self._emitted >= self._pace.epoch_bytes:
            return []
        messages = self._consumer.consume(self._pace.batch, 0)
        if not messages:
            self._tick_if_idle()
            return []
        before = self._reading.time
        records = self._reading.take(messages)
        self._emitted += sum(map(len, [record.value for record in records]))
        self._heard = time.monotonic()
        self._report()
        if not records and self._reading.time == before:
            return []
        self._tick_under_way = False
        # The broker says that it is the end only to the next question.
        at_end = self._reading.at_end or len(messages) < self._pace.batch
        return [(self._key, Batch(self._place.partition, records, self._reading.time, at_end))]

    def _tick_if_idle(self) -> None:
        self._ticks.serve()
        idle = time.monotonic() - self._heard
        if self._reading.at_end and not self._tick_under_way and idle >= self._pace.tick_seconds:
            self._tick_under_way = True
            self._ticks.append(self._place, self._ticked)

    def _ticked(self, error: Any, message: Any) -> None:  # noqa: ARG002 - the callback's protocol
        if error is not None:
            self._failure = said(error, self._where)

    def _report(self) -> None:
        now = time.time_ns() // 1000
        self._metrics.looked(self._place.partition, now=now, log_time=self._reading.time, at_end=self._reading.at_end)
        self._report_uncovered()

    def _report_uncovered(self) -> None:
        _, end = self._consumer.get_watermark_offsets(self._place, cached=True)
        if end >= 0:
            self._metrics.uncovered(self._place.partition, end - max(self._committed, 0))

    def next_awake(self) -> datetime | None:
        rests = self._reading.at_end or self._emitted >= self._pace.epoch_bytes
        return self._idling.until() if rests else None

    def snapshot(self) -> str:
        with self._stop.noting():
            self._claim.check()
        position = self._reading.position
        if position > max(self._committed, 0):
            self._consumer.commit(
                offsets=[TopicPartition(self._place.topic, self._place.partition, position)], asynchronous=True
            )
            self._committed = position
            self._report_uncovered()
        self._emitted, self._is_silent = 0, True
        return f"{position}@{self._reading.time}"

    def close(self) -> None:
        self._consumer.close()
