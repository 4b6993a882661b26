"""What the dataflow writes to Kafka at least once: links and forwards back to the events, and dead letters."""

import time
from typing import Any, Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError

from connectors.kafka_client import DELIVERY_MILLISECONDS, Kafka, KafkaRefused, said
from connectors.kafka_transactions import ID
from connectors.routing import part_names, routed_keys
from connectors.stopping import Stop
from connectors.topics import Buried
from state.outputs import Feedback
from state.records import partition_of
from state.wire import encoder

_DEADLINE: Final = DELIVERY_MILLISECONDS / 1000 + 5


class KafkaSink(FixedPartitionedSink[Feedback | Buried, None]):
    """A topic written at least once; a snapshot waits until the broker has acknowledged all that came before it.

    Feedback goes to the partition of the person whom it concerns: links are idempotent, forwarded messages deduplicated. A
    dead letter stays in its record's partition; its id, in `ce_id`, tells a repeat.
    """

    def __init__(self, kafka: Kafka, partitions: int, topic: str, stop: Stop) -> None:
        self._kafka, self._topic, self._stop = kafka, kafka.topic(topic), stop
        self._places = {key: partition for partition, key in enumerate(routed_keys(partitions))}
        self._producer: Any = None

    def list_parts(self) -> list[str]:
        """Name the writers, one for each partition that records come from."""
        return part_names(len(self._places))

    def part_fn(self, item_key: str) -> int:
        """Say which writer a key is with."""
        return self._places[item_key]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Writer":  # noqa: ARG002 - theirs
        """Open one writer; those of a process share its connection."""
        self._producer = self._producer or self._kafka.producer()
        return _Writer(self._producer, self._topic, int(for_part), len(self._places), self._stop)


class _Writer(StatefulSinkPartition[Feedback | Buried, None]):
    def __init__(self, producer: Any, topic: str, partition: int, partitions: int, stop: Stop) -> None:
        self._producer, self._topic, self._partition, self._partitions = producer, topic, partition, partitions
        self._stop, self._where = stop, f"{topic}/{partition}"
        self._under_way = 0
        self._failure: Exception | None = None

    def write_batch(self, values: list[Feedback | Buried]) -> None:
        with self._stop.noting():
            for value in values:
                self._write(value)
            self._producer.poll(0)
            self._raise_failure()

    def snapshot(self) -> None:
        with self._stop.noting():
            deadline = time.monotonic() + _DEADLINE
            while self._under_way and self._failure is None and time.monotonic() < deadline:
                self._producer.poll(0.05)
            self._raise_failure()
            if self._under_way:
                raise KafkaRefused(f"{self._where}: the broker acknowledged nothing for {_DEADLINE:.0f} s")

    def _write(self, value: Feedback | Buried) -> None:
        if isinstance(value, Buried):
            place = {"partition": self._partition, "headers": [(ID, value.id)]}
            data = value.value
        else:
            place = {"partition": partition_of(value.key, self._partitions), "key": value.key}
            data = encoder.encode(value.record)
        while True:
            try:
                self._producer.produce(self._topic, data, on_delivery=self._delivered, **place)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._under_way += 1
                return

    def _delivered(self, error: KafkaError | None, message: Any) -> None:  # noqa: ARG002 - the callback's protocol
        self._under_way -= 1
        if error is not None:
            self._failure = said(error, self._where)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
