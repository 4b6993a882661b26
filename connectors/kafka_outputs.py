"""What the dataflow writes to Kafka exactly once: one transactional writer for each partition of a topic."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from connectors.kafka_client import Kafka, KafkaRefused, require, said
from connectors.kafka_ends import Ends
from connectors.read_back import ReadBack
from connectors.recorder import Metrics
from connectors.routing import part_names, routed_keys
from connectors.stopping import Stop
from connectors.topics import Buried, Wrote, nobody
from state.outputs import Emission

ID: Final = "ce_id"
TRANSACTION_MILLISECONDS: Final = 60_000
_THREADS: Final = 16
_SECONDS: Final = TRANSACTION_MILLISECONDS / 1000

_log: Final = logging.getLogger("waxmark.kafka")


class KafkaOnceSink(FixedPartitionedSink[Emission | Buried, int]):
    """A topic written exactly once: one writer a partition, every id once.

    Opening a partition fences whoever wrote to it before, then reads back what was written after the snapshot (or from the
    beginning), to skip it when the replay brings it again. Transactions run on threads beside the worker: what comes while
    one is under way makes up the next, and a snapshot waits until readers see all of them. It stays before the first entry that
    was read back and not brought again yet, for the next resume must know that too. Readers must use read_committed.

    What a broker acknowledged and then forgot (see `connectors.kafka_ends`) stops the worker before a snapshot, and is aborted
    when the partition is opened again: no snapshot is past it, so the replay brings it anew.
    """

    def __init__(
        self, kafka: Kafka, partitions: int, topic: str, stop: Stop, metrics: Metrics, wrote: Wrote = nobody
    ) -> None:
        self._kafka, self._topic, self._stop, self._metrics, self._wrote = kafka, topic, stop, metrics, wrote
        self._places = {key: partition for partition, key in enumerate(routed_keys(partitions))}
        self._threads = ThreadPoolExecutor(min(len(self._places), _THREADS), thread_name_prefix=topic)
        self._ends: Ends | None = None

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return part_names(len(self._places))

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in."""
        return self._places[item_key]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_OncePartition":  # noqa: ARG002 - theirs
        """Open one partition and read back what was written after the snapshot."""
        self._ends = self._ends or Ends(self._kafka)
        place = TopicPartition(
            self._kafka.topic(self._topic), int(for_part), OFFSET_BEGINNING if resume_state is None else resume_state
        )
        return _OncePartition(
            self._kafka,
            place,
            self._threads,
            self._ends,
            topic=self._topic,
            stop=self._stop,
            metrics=self._metrics,
            wrote=self._wrote,
        )


class _OncePartition(StatefulSinkPartition[Emission | Buried, int]):
    """The worker's thread adds to `_waiting`; at most one other thread takes from it and writes."""

    def __init__(
        self,
        kafka: Kafka,
        place: TopicPartition,
        threads: ThreadPoolExecutor,
        ends: Ends,
        *,
        topic: str,
        stop: Stop,
        metrics: Metrics,
        wrote: Wrote,
    ) -> None:
        self._kafka, self._place, self._threads, self._ends = kafka, place, threads, ends
        self._topic, self._stop, self._metrics, self._wrote = topic, stop, metrics, wrote
        self._where = f"{place.topic}/{place.partition}"
        self._position: int = place.offset
        self._known = ReadBack[int]()
        self._producer: Any = None
        self._waiting: list[Emission | Buried] = []
        self._lock = Lock()
        self._busy = True
        self._work: Future[None] = threads.submit(self._open)

    def write_batch(self, values: list[Emission | Buried]) -> None:
        with self._lock:
            self._waiting += values
            start, self._busy = not self._busy, True
        if start:
            self._settle()
            self._work = self._threads.submit(self._write_waiting)
        elif self._work.done():
            self._settle()

    @property
    def position(self) -> str:
        return str(self._position)

    def snapshot(self) -> int:
        self._settle()
        return self._known.safe(self._position)

    def _settle(self) -> None:
        """Wait for what is under way; raise what went wrong in it."""
        with self._stop.noting():
            self._work.result()

    def _open(self) -> None:
        try:
            self._producer = self._kafka.producer(
                **{
                    "transactional.id": f"{self._where}",
                    "transaction.timeout.ms": TRANSACTION_MILLISECONDS,
                    "delivery.timeout.ms": TRANSACTION_MILLISECONDS,
                    "linger.ms": 0,
                }
            )
            require(self._producer, self._place)
            self._producer.init_transactions(_SECONDS)
            self._abort_what_was_forgotten()
        except KafkaException as error:
            raise said(error.args[0], self._where) from error
        self._read_back()
        self._write_waiting()

    def _abort_what_was_forgotten(self) -> None:
        """End a transaction of ours that the broker takes for complete: by then only such a one can hold readers back."""
        end = self._ends.written(self._place)
        if self._ends.visible(self._place) >= end:
            return
        _log.warning("a transaction without an end is aborted and written again", extra={"place": self._where})
        self._producer.begin_transaction()
        self._producer.produce(
            self._place.topic, b"", partition=self._place.partition
        )  # without one there is no marker
        self._producer.flush(_SECONDS)
        self._producer.abort_transaction(_SECONDS)
        if not self._ends.await_visible(self._place, end):
            raise KafkaRefused(f"{self._where}: a transaction is open there that is not Waxmark's")

    def _read_back(self) -> None:
        for messages in self._kafka.read_to_end(self._place):
            for message in messages:
                error = message.error()
                if error is None:
                    for name, value in message.headers() or ():
                        if name == ID:
                            self._known.found(value, message.offset())
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    raise said(error, self._where)
                else:
                    self._position = message.offset()

    def _write_waiting(self) -> None:
        while True:
            with self._lock:
                values, self._waiting = self._waiting, []
                self._busy = bool(values)
            if not values:
                return
            fresh = [item for item in values if not self._known.brings(item.id.encode())]
            self._metrics.suppressed(self._topic, len(values) - len(fresh))
            if fresh:
                self._write(fresh)
                if not self._ends.await_visible(self._place, self._position):
                    raise KafkaRefused(f"{self._where}: Kafka forgot a transaction that it had acknowledged; resume")
                self._wrote(self._place.partition, fresh)

    def _write(self, fresh: list[Emission | Buried]) -> None:
        """Write in one transaction: all or nothing."""
        producer = self._producer
        try:
            producer.begin_transaction()
            for item in fresh:
                self._produce(item)
            producer.commit_transaction(_SECONDS)
        except KafkaException as error:
            raise said(error.args[0], self._where) from error

    def _produce(self, item: Emission | Buried) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            (ID, item.id),
            ("ce_specversion", "1.0"),
            ("ce_type", f"waxmark.{self._topic}"),
            ("ce_source", self._where),
            ("content-type", "application/json"),
        ]
        if isinstance(item, Emission) and item.traceparent is not None:
            headers.append(("traceparent", item.traceparent))
        while True:
            try:
                self._producer.produce(
                    self._place.topic,
                    item.value,
                    partition=self._place.partition,
                    headers=headers,
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self._position = max(self._position, message.offset() + 1)
