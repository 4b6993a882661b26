"""What the learning dataflow reads and writes, on both transports: examples in, model records into every partition out.

Reports of the models, and who was promoted when, are kept in Redis beside the profiles, for people to look at. What scores
is in the log alone.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.kafka_client import Kafka, configured
from connectors.kafka_log import Sender
from connectors.looks import KafkaLook, Look, RedisLook
from connectors.recorder import Metrics
from connectors.redis_streams import connect, stream
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.topics import EVENTS, EXAMPLES
from operators.churn import CHAMPION
from state.wire import Model, encoder

IDLE: Final = timedelta(milliseconds=50)


class At(NamedTuple):
    """Where in the log an example stands, a later place being the greater, and when it was appended."""

    partition: int
    place: tuple[int, ...]
    log_time: int


class Told(NamedTuple):
    """What a learner tells: its report as JSON, and a record of its weights if there are new ones."""

    tenant: str
    name: str
    report: bytes
    record: Model | None


class Promotion(msgspec.Struct, frozen=True):
    """Who became champion when, whom it followed, and the objections that were passed over if any."""

    name: str
    at: str
    before: str = ""
    forced: list[str] = []


class LearningLog(Protocol):
    """A transport as far as learning needs it."""

    def open(self, partition: int, position: str | None) -> Look:
        """Open a partition of the examples, at its beginning or where a snapshot left it."""

    def append_everywhere(self, records: Iterable[Model]) -> None:
        """Append records to every partition of the events; returns when they are there."""


class RedisLearningLog:
    """Redis Streams."""

    def __init__(self, url: str, partitions: int) -> None:
        self._url, self._partitions = url, partitions

    def open(self, partition: int, position: str | None) -> RedisLook:
        """Open a partition of the examples."""
        return RedisLook(self._url, EXAMPLES, partition, position)

    def append_everywhere(self, records: Iterable[Model]) -> None:
        """Append records to every partition of the events, all or none."""
        with connect(self._url) as client, client.pipeline(transaction=True) as pipe:
            for record in records:
                value = encoder.encode(record)
                for partition in range(self._partitions):
                    pipe.xadd(stream(EVENTS, partition), {"v": value})
            pipe.execute()


class KafkaLearningLog:
    """Kafka."""

    def __init__(self, kafka: Kafka, partitions: int) -> None:
        self._kafka, self._partitions = kafka, partitions

    def open(self, partition: int, position: str | None) -> KafkaLook:
        """Open a partition of the examples."""
        return KafkaLook(self._kafka, "learning", EXAMPLES, partition, position)

    def append_everywhere(self, records: Iterable[Model]) -> None:
        """Append records to every partition of the events."""
        sender = Sender(self._kafka, self._partitions)
        for record in records:
            sender.append_everywhere(encoder.encode(record))
        sender.flush()


def learning_log(settings: Settings, environment: Mapping[str, str]) -> LearningLog:
    """Choose the transport as the other dataflows do."""
    if settings.kafka is None:
        return RedisLearningLog(settings.redis, settings.partitions)
    return KafkaLearningLog(configured(settings, environment), settings.partitions)


class ExampleSource(FixedPartitionedSource[tuple[At, bytes], str | None]):
    """The examples of all partitions, as they stand in the log."""

    def __init__(self, log: LearningLog, partitions: int, stop: Stop, metrics: Metrics) -> None:
        self._log, self._partitions, self._stop, self._metrics = log, partitions, stop, metrics

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_ExamplePartition":  # noqa: ARG002 - theirs
        """Open one partition where the snapshot left it."""
        partition = int(for_part)
        look = self._log.open(partition, resume_state)
        return _ExamplePartition(look, self._stop, resume_state, partition, self._metrics)


class _ExamplePartition(StatefulSourcePartition[tuple[At, bytes], str | None]):
    def __init__(self, look: Look, stop: Stop, position: str | None, partition: int, metrics: Metrics) -> None:
        self._look, self._stop, self._position = look, stop, position
        self._partition, self._metrics = partition, metrics
        self._idle = False

    def next_batch(self) -> list[tuple[At, bytes]]:
        if self._stop.requested:
            raise StopIteration
        with self._stop.noting():
            seen = self._look.next()
        self._idle, now = not seen, time.time_ns() // 1000
        self._metrics.looked(self._partition, now=now, log_time=seen[-1].log_time if seen else now, at_end=self._idle)
        if seen:
            self._position = seen[-1].after
        return [
            (At(self._partition, tuple(map(int, each.after.split("-"))), each.log_time), each.value) for each in seen
        ]

    def next_awake(self) -> datetime | None:
        return datetime.now(tz=UTC) + IDLE if self._idle else None

    def snapshot(self) -> str | None:
        return self._position

    def close(self) -> None:
        self._look.close()


class ModelSink(DynamicSink[Told]):
    """Model records into every partition of the log, at least once (the same record twice changes nothing), and reports.

    The first model that a tenant's log hears of is `champion` unless someone was promoted before.
    """

    def __init__(self, log: LearningLog, url: str, champion: str, today: Callable[[], datetime]) -> None:
        self._log, self._url, self._champion, self._today = log, url, champion, today

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_ModelPartition":  # noqa: ARG002 - theirs
        """Open a writer."""
        return _ModelPartition(self._log, connect(self._url), self._champion, self._today)


class _ModelPartition(StatelessSinkPartition[Told]):
    def __init__(self, log: LearningLog, client: Any, champion: str, today: Callable[[], datetime]) -> None:
        self._log, self._champion, self._today = log, champion, today
        self._registry = Registry(client)

    def write_batch(self, items: list[Told]) -> None:
        records = [told.record for told in items if told.record is not None]
        for tenant in dict.fromkeys(record.tenant for record in records):
            if not self._registry.promotions(tenant):
                promotion = Promotion(self._champion, self._today().isoformat(timespec="seconds"))
                records.append(named(tenant, promotion.name))
                self._registry.promote(tenant, promotion)
        if records:
            self._log.append_everywhere(records)
        for told in items:
            self._registry.keep(told.tenant, told.name, told.report)

    def close(self) -> None:
        self._registry.close()


class Registry:
    """Reports and promotions in Redis. What scores is in the log; this is for people."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def keep(self, tenant: str, name: str, report: bytes) -> None:
        """Keep a model's newest report."""
        self._client.hset(f"waxmark:models:{tenant}", name, report)

    def reports(self, tenant: str) -> dict[str, bytes]:
        """Read every model's newest report."""
        found = self._client.hgetall(f"waxmark:models:{tenant}")
        return {name.decode(): report for name, report in sorted(found.items())}

    def promote(self, tenant: str, promotion: Promotion) -> None:
        """Keep who was promoted."""
        self._client.rpush(f"waxmark:promotions:{tenant}", encoder.encode(promotion))

    def promotions(self, tenant: str) -> list[Promotion]:
        """Read who was promoted, the last one last."""
        found = self._client.lrange(f"waxmark:promotions:{tenant}", 0, -1)
        return [msgspec.json.decode(value, type=Promotion) for value in found]

    def close(self) -> None:
        """Let go of Redis."""
        self._client.close()


def named(tenant: str, name: str) -> Model:
    """Write the record that makes a model the champion."""
    return Model(tenant=tenant, name=CHAMPION, version=name, schema=0, weights={})
