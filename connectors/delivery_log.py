"""What delivery reads and writes, on both transports: triggers in, what became of them out, and how far all of it is done."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import redis
from confluent_kafka import KafkaException, TopicPartition

from connectors.appending import Away
from connectors.kafka_client import DELIVERY_MILLISECONDS, Kafka, configured
from connectors.kafka_outputs import KafkaOnceSink
from connectors.looks import KafkaLook, Look, RedisLook, Seen
from connectors.recorder import Metrics
from connectors.redis_outputs import OnceSink
from connectors.redis_streams import connect, log_time, stream, trim
from connectors.routing import part_names
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.topics import DELIVERIES, TRIGGERS, Buried
from state.clock import DAY, MILLISECOND
from state.deliveries import Delivery, decode, encode, id_of

CHECKPOINTS: Final = "waxmark:delivery"
_PATIENCE: Final = 120.0
_PAUSE_SECONDS: Final = 0.01


class Checkpoint(msgspec.Struct, frozen=True):
    """From where a resumed delivery reads. It only spares work: without one, everything is read from the beginning."""

    triggers: str | None = None
    deliveries: str | None = None


class Writer(Protocol):
    """The one writer of a partition's deliveries."""

    @property
    def position(self) -> str:
        """Say from where a reader goes on that has seen all that was written."""

    def write_batch(self, values: list[Any]) -> None:
        """Append. Raises Fenced where another has taken over."""

    def snapshot(self) -> Any:
        """Wait until all of it is durable."""

    def close(self) -> None:
        """Let go of it."""


class DeliveryLog(Protocol):
    """A transport as far as delivery needs it."""

    def look(self, topic: str, partition: int, after: str | None) -> Look:
        """Open a partition of a topic."""

    def writer(self, partition: int) -> Writer:
        """Open the writer of a partition's deliveries, which fences the one before, at once or with its first record."""

    def trim(self, partition: int, needed: Checkpoint) -> None:
        """Forget what is older than the retention, unless it is needed by a process that resumes from that checkpoint.

        Raises Away where that is not possible now.
        """


class RedisDeliveryLog:
    """Redis Streams. `retention` is in microseconds."""

    def __init__(self, url: str, partitions: int, metrics: Metrics, retention: int = 30 * DAY) -> None:
        self._url, self._retention = url, retention
        self._sink = OnceSink(url, partitions, DELIVERIES, metrics)

    def look(self, topic: str, partition: int, after: str | None) -> Look:
        """Open a partition of a topic."""
        return RedisLook(self._url, topic, partition, after)

    def writer(self, partition: int) -> Writer:
        """Open the writer of a partition's deliveries at their end: what stands before it, the docket knows."""
        with connect(self._url) as client:
            last: Any = client.xrevrange(stream(DELIVERIES, partition), count=1)
        return self._sink.build_part("deliveries", str(partition), last[0][0].decode() if last else None)

    def trim(self, partition: int, needed: Checkpoint) -> None:
        """Forget what is old, at any time.

        Deliveries outlive their triggers, by a day as the clock may be set back: each trigger that is read again, even where
        the checkpoint is lost, still finds what was written about it.
        """
        if needed.triggers is None:
            return
        triggers, deliveries = stream(TRIGGERS, partition), stream(DELIVERIES, partition)
        try:
            with connect(self._url) as client:
                trim(client, triggers, self._retention, needed.triggers)
                first: Any = client.xrange(triggers, count=1)
                last: Any = client.xrevrange(deliveries, count=1)
                if first and last:  # the last stays: by it the writer knows that nobody else has written
                    kept = f"{max(0, log_time(first[0][0]) - DAY) // MILLISECOND}-0"
                    trim(client, deliveries, self._retention + DAY, kept, last[0][0].decode())
        except redis.RedisError as error:
            raise Away(f"nothing can be trimmed: {type(error).__name__}") from error


class KafkaDeliveryLog:
    """Kafka."""

    def __init__(self, kafka: Kafka, partitions: int, metrics: Metrics) -> None:
        self._kafka, self._names = kafka, part_names(partitions)
        self._sink = KafkaOnceSink(kafka, partitions, DELIVERIES, Stop(), metrics)

    def look(self, topic: str, partition: int, after: str | None) -> Look:
        """Open a partition of a topic."""
        return KafkaLook(self._kafka, "delivery", topic, partition, after)

    def writer(self, partition: int) -> Writer:
        """Open the writer of a partition's deliveries at their end: what stands before it, the docket knows."""
        return self._sink.build_part("deliveries", self._names[partition], self._end(partition))

    def trim(self, partition: int, needed: Checkpoint) -> None:
        """Leave it to the broker."""

    def _end(self, partition: int) -> int | None:
        """Find the present end; None, which is the beginning, where Kafka does not say: opening the writer will say why."""
        consumer = self._kafka.consumer()
        try:
            _, end = consumer.get_watermark_offsets(
                TopicPartition(self._kafka.topic(DELIVERIES), partition), DELIVERY_MILLISECONDS / 1000
            )
        except KafkaException:
            return None
        finally:
            consumer.close()
        return end


def delivery_log(settings: Settings, environment: Mapping[str, str], metrics: Metrics) -> DeliveryLog:
    """Choose the transport as the other dataflows do."""
    if settings.kafka is None:
        return RedisDeliveryLog(settings.redis, settings.partitions, metrics, settings.retention_days * DAY)
    return KafkaDeliveryLog(configured(settings, environment), settings.partitions, metrics)


class Checkpoints:
    """Checkpoints in Redis, by partition."""

    def __init__(self, url: str) -> None:
        self._client: Any = connect(url)

    def read(self, partition: int) -> Checkpoint:
        """Read a partition's checkpoint, if it has one."""
        found = self._client.hget(CHECKPOINTS, str(partition))
        return Checkpoint() if found is None else msgspec.json.decode(found, type=Checkpoint)

    def keep(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Keep checkpoints. Raises Away where that is not possible now."""
        if checkpoints:
            kept = {str(partition): msgspec.json.encode(checkpoint) for partition, checkpoint in checkpoints.items()}
            try:
                self._client.hset(CHECKPOINTS, mapping=kept)
            except redis.RedisError as error:
                raise Away(f"no checkpoint can be kept: {type(error).__name__}") from error

    def close(self) -> None:
        """Let go of Redis."""
        self._client.close()


class _Waiting(NamedTuple):
    records: tuple[Delivery, ...]
    done: asyncio.Future[None]


class Journal:
    """One partition's deliveries, written in groups: whatever waits while a write is under way makes up the next."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: deque[_Waiting] = deque()
        self._some = asyncio.Event()
        self._closing = False

    async def write(self, *records: Delivery) -> None:
        """Append records together, all or none; they are durable when this returns. Raises Fenced, or what broke the log."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(records, done))
        self._some.set()
        await done

    async def run(self) -> None:
        """Write what waits, until closed. What breaks the log is raised here as well, for nothing can go on without it."""
        while self._waiting or not self._closing:
            if not self._waiting:
                self._some.clear()
                await self._some.wait()
                continue
            group, self._waiting = self._waiting, deque()
            try:
                await asyncio.to_thread(self.write_now, *(record for waiting in group for record in waiting.records))
            except Exception as error:
                for waiting in group:
                    waiting.done.set_exception(error)
                    waiting.done.exception()  # whoever wrote may be gone, and asyncio would complain of an unseen failure
                raise
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(None)
        await asyncio.to_thread(self._writer.close)

    @property
    def position(self) -> str:
        """Say from where a reader goes on that has seen all that is durable."""
        return self._writer.position

    def close(self) -> None:
        """Let `run` end once all is written."""
        self._closing = True
        self._some.set()

    def write_now(self, *records: Delivery) -> None:
        """Append records before `run` does; they are durable when this returns."""
        self._writer.write_batch([Buried(id_of(record), encode(record)) for record in records])
        self._writer.snapshot()


def recalled(look: Look, until: str, patience: float = _PATIENCE) -> Iterator[tuple[Seen, Delivery]]:
    """Read a partition's deliveries up to this process's own `opened` record, each as it was seen.

    Raises OSError where nothing comes for `patience` seconds.
    """
    heard = time.monotonic()
    while time.monotonic() - heard < patience:
        found = look.next()
        for seen in found:
            record = decode(seen.value)
            yield seen, record
            if id_of(record) == until:
                return
        if found:
            heard = time.monotonic()
        else:
            time.sleep(_PAUSE_SECONDS)
    raise OSError("the deliveries cannot be read to their end")
