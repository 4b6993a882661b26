"""The log in Kafka as a whole: publish campaigns into it, read a topic to its end, export it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from msgspec import Raw

from connectors import logfile
from connectors.kafka_client import Kafka, KafkaRefused, said
from connectors.kafka_records import Reading
from connectors.topics import EVENTS
from state.campaigns import Campaign, encode
from state.records import Record, partition_of
from state.wire import CampaignsInForce, encoder

_SECONDS: Final = 30.0


class Sender:
    """Appends records one by one and waits for all of them at once: for tools, not for the collector."""

    def __init__(self, kafka: Kafka, partitions: int) -> None:
        self._producer: Any = kafka.producer()
        self._topic, self._partitions = kafka.topic(EVENTS), partitions
        self._failure: Exception | None = None

    def append(self, key: str, value: bytes) -> None:
        """Append one record under a person's key, some time before `flush` returns."""
        self._send(partition_of(key, self._partitions), value, key)

    def append_everywhere(self, value: bytes) -> None:
        """Append one record to every partition."""
        for partition in range(self._partitions):
            self._send(partition, value, None)

    def flush(self) -> None:
        """Wait until the broker has acknowledged everything. Raises KafkaRefused where it did not."""
        waiting = self._producer.flush(_SECONDS)
        if self._failure is not None:
            raise self._failure
        if waiting:
            raise KafkaRefused(f"Kafka cannot be reached: {waiting} records wait for {self._topic}")

    def _send(self, partition: int, value: bytes, key: str | None) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, partition, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, error: Any, message: Any) -> None:  # noqa: ARG002 - the callback's protocol
        if error is not None:
            self._failure = said(error, self._topic)


def publish(kafka: Kafka, partitions: int, campaigns: list[Campaign], tenant: str = "default") -> None:
    """Append the definitions to every partition. A repeat is harmless: the fold passes over definitions in force."""
    digest, body = encode(campaigns)
    sender = Sender(kafka, partitions)
    sender.append_everywhere(encoder.encode(CampaignsInForce(tenant=tenant, digest=digest, campaigns=Raw(body))))
    sender.flush()


def read(kafka: Kafka, topic: str, partition: int, start: int = OFFSET_BEGINNING) -> Iterator[list[Record]]:
    """Yield what a partition holds now, oldest first, ticks left out; append times as the source gives them."""
    place = TopicPartition(kafka.topic(topic), partition, start)
    reading = Reading(f"{place.topic}/{partition}", start, 0)
    for messages in kafka.read_to_end(place):
        yield reading.take(messages)


def export(kafka: Kafka, path: Path, partitions: int, chosen: Iterable[int] | None = None) -> int:
    """Write the events of all partitions, or those chosen, to a log file; return how many there were."""
    header = logfile.Header(logfile.VERSION, partitions, fed_back=True)
    with path.open("wb") as file:
        return logfile.write(file, header, _records(kafka, range(partitions) if chosen is None else chosen))


def _records(kafka: Kafka, chosen: Iterable[int]) -> Iterator[tuple[int, Record]]:
    for partition in chosen:
        for records in read(kafka, EVENTS, partition):
            for record in records:
                yield partition, record
