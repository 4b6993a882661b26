"""Reading one partition of any topic, on either transport, from a place on, without waiting."""

from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from connectors.kafka_client import Kafka
from connectors.kafka_records import Reading
from connectors.redis_streams import connect, log_time, scan

BATCH: Final = 500


class Seen(NamedTuple):
    """One entry: `after` is the place from which a reader goes on that has seen it, `log_time` its append time."""

    after: str
    log_time: int
    value: bytes


class Look(Protocol):
    """One partition, open at a place."""

    def next(self) -> list[Seen]:
        """Read on, without waiting; nothing at the end."""

    def close(self) -> None:
        """Let go of it."""


class RedisLook:
    """A stream."""

    def __init__(self, url: str, topic: str, partition: int, after: str | None) -> None:
        self._client: Any = connect(url)
        self._topic, self._partition, self._after = topic, partition, after or "-"

    def next(self) -> list[Seen]:
        """Read on."""
        seen: list[Seen] = []
        for position, fields in scan(self._client, self._topic, self._partition, self._after):
            self._after = position
            seen.append(Seen(position, log_time(position), fields.get(b"v", b"")))
            if len(seen) == BATCH:
                break
        return seen

    def close(self) -> None:
        """Let go of it."""
        self._client.close()


class KafkaLook:
    """A partition of a topic, read committed: what a fenced writer left behind is not seen."""

    def __init__(self, kafka: Kafka, group: str, topic: str, partition: int, after: str | None) -> None:
        offset = OFFSET_BEGINNING if after is None else int(after)
        self._place = TopicPartition(kafka.topic(topic), partition, offset)
        own = {"group.id": f"{kafka.prefix}.{group}", "auto.offset.reset": "earliest"}
        self._consumer: Any = kafka.consumer(**own)
        self._reading = Reading(f"{self._place.topic}/{partition}", offset, 0)
        self._consumer.assign([self._place])

    def next(self) -> list[Seen]:
        """Read on."""
        records = self._reading.take(self._consumer.consume(BATCH, 0))
        return [Seen(str(int(record.position) + 1), record.log_time, record.value) for record in records]

    def close(self) -> None:
        """Let go of it."""
        self._consumer.close()
