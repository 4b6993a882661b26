"""What the dataflow writes to Kafka exactly once: one transactional writer for each partition of a topic."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from connectors.kafka_client import Kafka
from connectors.kafka_ends import Ends
from connectors.kafka_transactions import Transactions
from connectors.outbox import Outboxes
from connectors.read_back import ReadBack
from connectors.recorder import Metrics
from connectors.routing import part_names, routed_keys
from connectors.stopping import Stop
from connectors.topics import Buried, Wrote, nobody
from state.outputs import Emission

_THREADS: Final = 16


class KafkaOnceSink(FixedPartitionedSink[Emission | Buried, int]):
    """A topic written exactly once: one writer a partition, every id once.

    Opening a partition fences whoever wrote to it before, then reads back what was written after the snapshot (or from the
    beginning), to skip it when the replay brings it again. Transactions run on threads beside the worker: what comes while
    one is under way makes up the next, and a snapshot waits until readers see all of them. It stays before the first entry that
    was read back and not brought again yet, for the next resume must know that too. Readers must use read_committed.
    With `outboxes`, what was sent to Redis before is settled first: a trigger is not seen before the profile that it is about.
    """

    def __init__(
        self,
        kafka: Kafka,
        partitions: int,
        topic: str,
        stop: Stop,
        metrics: Metrics,
        wrote: Wrote = nobody,
        outboxes: Outboxes | None = None,
    ) -> None:
        self._outboxes = outboxes
        self._kafka, self._topic, self._stop, self._metrics, self._wrote = kafka, topic, stop, metrics, wrote
        self._places = {key: partition for partition, key in enumerate(routed_keys(partitions))}
        self._threads = ThreadPoolExecutor(min(len(self._places), _THREADS), thread_name_prefix=topic)
        self._ends: Ends | None = None
        self._opening = Lock()

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return part_names(len(self._places))

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in."""
        return self._places[item_key]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_OncePartition":  # noqa: ARG002 - theirs
        """Open one partition and read back what was written after the snapshot."""
        with self._opening:
            self._ends = self._ends or Ends(self._kafka)
        offset = OFFSET_BEGINNING if resume_state is None else resume_state
        place = TopicPartition(self._kafka.topic(self._topic), int(for_part), offset)
        transactions = Transactions(self._kafka, self._ends, place, self._topic)
        return _OncePartition(
            transactions,
            int(for_part),
            self._threads,
            topic=self._topic,
            stop=self._stop,
            metrics=self._metrics,
            wrote=self._wrote,
            outboxes=self._outboxes,
        )


class _OncePartition(StatefulSinkPartition[Emission | Buried, int]):
    """The worker's thread adds to `_waiting`; at most one other thread takes from it and writes."""

    def __init__(
        self,
        transactions: Transactions,
        partition: int,
        threads: ThreadPoolExecutor,
        *,
        topic: str,
        stop: Stop,
        metrics: Metrics,
        wrote: Wrote,
        outboxes: Outboxes | None,
    ) -> None:
        self._outboxes = outboxes
        self._transactions, self._partition, self._threads = transactions, partition, threads
        self._topic, self._stop, self._metrics, self._wrote = topic, stop, metrics, wrote
        self._known = ReadBack[int]()
        self._waiting: list[Emission | Buried] = []
        self._lock = Lock()
        self._busy = True
        self._work: Future[None] = threads.submit(self._open)

    def write_batch(self, values: list[Emission | Buried]) -> None:
        self._settle_redis()
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
        return str(self._transactions.position)

    def snapshot(self) -> int:
        self._settle_redis()  # the engine commits an epoch by its snapshots; profiles have none
        self._settle()
        return self._known.safe(self._transactions.position)

    def _settle_redis(self) -> None:
        if self._outboxes is not None:
            self._outboxes.settle()

    def _settle(self) -> None:
        """Wait for what is under way; raise what went wrong in it."""
        with self._stop.noting():
            self._work.result()

    def _open(self) -> None:
        for id_, offset in self._transactions.open():
            self._known.found(id_, offset)
        self._write_waiting()

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
                self._transactions.write(fresh)
                self._wrote(self._partition, fresh)
