"""How far readers see into a partition: to its last stable offset, which a transaction without an end holds back for ever.

Kafka acknowledges a commit before its marker stands in the partition. From 4.1 on, a broker that comes back up may find the
partition without a leader, write no marker, and take the transaction for complete (KAFKA-20734). Nobody sees what was
committed, until the same producer ends another transaction: that marker then decides for both, so that what was acknowledged
comes to light late, beside its own repetition, or is lost. So here a commit counts when readers see it.
"""

import time
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from connectors.kafka_client import DELIVERY_MILLISECONDS, Kafka, KafkaRefused

PATIENCE: Final = 10.0
"""Seconds of a broker that answers; markers otherwise follow within milliseconds, or once the partition has a leader again."""

_ANSWER_SECONDS: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class Ends:
    """The ends of partitions, as their leaders have them now. Threads may share it.

    Its methods raise KafkaRefused where Kafka does not answer for a minute.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._stable, self._all = kafka.consumer(), kafka.consumer(**{"isolation.level": "read_uncommitted"})

    def visible(self, place: TopicPartition) -> int:
        """Say before which offset readers with read_committed see everything."""
        return _end(self._stable, place)

    def written(self, place: TopicPartition) -> int:
        """Say where the partition ends, transactions that have not ended included."""
        return _end(self._all, place)

    def await_visible(self, place: TopicPartition, end: int) -> bool:
        """Wait until readers see all before `end`; tell whether they do. Time in which no broker answers does not count."""
        waited, pause = 0.0, _FIRST_PAUSE
        while self.visible(place) < end:
            if waited > PATIENCE:
                return False
            time.sleep(pause)
            waited += pause
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True


def _end(consumer: Any, place: TopicPartition) -> int:
    deadline = time.monotonic() + DELIVERY_MILLISECONDS / 1000
    while True:
        try:
            found: tuple[int, int] | None = consumer.get_watermark_offsets(place, _ANSWER_SECONDS)
        except KafkaException as error:
            why = error.args[0].str()
        else:
            if found is not None:
                return found[1]
            why = "no answer"
        if time.monotonic() > deadline:
            raise KafkaRefused(f"{place.topic}/{place.partition}: Kafka does not say where it ends: {why}")
        time.sleep(_LONGEST_PAUSE)
