"""Transactions on one partition of one topic: whoever opens it is its only writer, and a commit is over when readers see it."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from connectors.kafka_client import DELIVERY_MILLISECONDS, Kafka, KafkaRefused, require, said
from connectors.kafka_ends import Ends
from connectors.topics import Buried, Fenced
from state.outputs import Emission

ID: Final = "ce_id"
_SECONDS: Final = DELIVERY_MILLISECONDS / 1000
_LONG_SECONDS: Final = 1.0
"""Whoever waited for longer looks whether another worker has meanwhile aborted what the broker had forgotten."""

_log: Final = logging.getLogger("waxmark.kafka")


class Transactions:
    """One partition's writer. Its methods raise KafkaRefused, and Fenced once another has opened the partition.

    What a broker acknowledged and then forgot (see `connectors.kafka_ends`) makes `write` raise, and is aborted by the next
    `open`. `position` is behind the last entry that was written or read.

    Args:
        kafka: where.
        ends: who knows what readers see.
        place: the partition, and the offset from which to read what stands there.
        topic: its name without the prefix.
    """

    def __init__(self, kafka: Kafka, ends: Ends, place: TopicPartition, topic: str) -> None:
        self._kafka, self._ends, self._place, self._topic = kafka, ends, place, topic
        self._where = f"{place.topic}/{place.partition}"
        self.position: int = place.offset
        self._producer: Any = None

    def open(self) -> Iterator[tuple[bytes, int]]:
        """Fence whoever wrote before, end their transaction, and yield the ids that stand there, each with its offset."""
        try:
            self._producer = self._kafka.producer(
                **{
                    "transactional.id": self._where,
                    "transaction.timeout.ms": DELIVERY_MILLISECONDS,
                    "delivery.timeout.ms": DELIVERY_MILLISECONDS,
                    "linger.ms": 0,
                }
            )
            require(self._producer, self._place)
            self._producer.init_transactions(_SECONDS)
            end = self._ends.written(self._place)
            if self._ends.visible(self._place) < end:  # by now, only what was forgotten holds readers back
                self._abort_what_was_forgotten(end)
        except KafkaException as error:
            raise said(error.args[0], self._where) from error
        yield from self._standing(self._place.offset)
        if self.position < end:
            raise KafkaRefused(f"{self._where}: a leader that is new does not give all of it yet; resume")

    def _abort_what_was_forgotten(self, end: int) -> None:
        _log.warning("a transaction without an end is aborted and written again", extra={"place": self._where})
        self._producer.begin_transaction()
        self._producer.produce(self._place.topic, b"", partition=self._place.partition)  # or there would be no marker
        left = self._producer.flush(_SECONDS)
        self._producer.abort_transaction(_SECONDS)
        if left or not self._ends.await_visible(self._place, end):
            raise KafkaRefused(
                f"{self._where}: a transaction stays open there, maybe of somebody else; if it does after another start, "
                "`kafka-transactions.sh find-hanging` names it and `abort` ends it"
            )

    def write(self, items: Sequence[Emission | Buried]) -> None:
        """Write some entries, all or none; returns when readers see them."""
        before = self.position
        try:
            self._producer.begin_transaction()
            for item in items:
                self._produce(item)
            self._producer.commit_transaction(_SECONDS)
        except KafkaException as error:
            raise said(error.args[0], self._where) from error
        began = time.monotonic()
        if not self._ends.await_visible(self._place, self.position):
            raise KafkaRefused(f"{self._where}: Kafka acknowledged a transaction, and readers do not see it; resume")
        if time.monotonic() - began > _LONG_SECONDS:
            first = items[0].id.encode()
            if all(standing != first for standing, _ in self._standing(before)):
                raise Fenced(f"{self._where} was taken over by another worker; this one ends")

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
            self.position = max(self.position, message.offset() + 1)

    def _standing(self, start: int) -> Iterator[tuple[bytes, int]]:
        for messages in self._kafka.read_to_end(TopicPartition(self._place.topic, self._place.partition, start)):
            for message in messages:
                error = message.error()
                if error is None:
                    yield from ((value, message.offset()) for name, value in message.headers() or () if name == ID)
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    raise said(error, self._where)
                else:
                    self.position = message.offset()
