"""How far readers see into a partition: to its last stable offset, which a transaction without an end holds back for ever.

Kafka acknowledges a commit before its marker stands in the partition. From 4.1 on, a broker that comes back up may find the
partition without a leader, write no marker, and take the transaction for complete (KAFKA-20734). Nobody sees what was
committed, until the same producer ends another transaction: that marker then decides for both, so that what was acknowledged
comes to light late, beside its own repetition, or is lost. So here a commit counts when readers see it.
"""

import time
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition

from connectors.kafka_client import DELIVERY_MILLISECONDS, Kafka, KafkaRefused

PATIENCE: Final = DELIVERY_MILLISECONDS / 1000
"""Seconds for which a marker may take: milliseconds as a rule, but until a coordinator that died is replaced, ten and more."""

_FIRST_ANSWER, _LONGEST_ANSWER = 0.5, 16.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class Ends:
    """The ends of partitions, as their leaders have them now. Threads may share it.

    Its methods raise KafkaRefused where Kafka does not answer for a minute.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._stable, self._all = kafka.consumer(), kafka.consumer(**{"isolation.level": "read_uncommitted"})

    def visible(self, place: TopicPartition) -> int:
        """Say before which offset no transaction is open: readers with read_committed see what is there, or it was aborted."""
        return _end(self._stable, place)

    def written(self, place: TopicPartition) -> int:
        """Say where the partition ends, transactions that have not ended included."""
        return _end(self._all, place)

    def await_visible(self, place: TopicPartition, end: int) -> bool:
        """Wait until nothing is open before `end`; tell whether that came about."""
        deadline, pause = time.monotonic() + PATIENCE, _FIRST_PAUSE
        while self.visible(place) < end:
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True


def _end(consumer: Any, place: TopicPartition) -> int:
    """Ask the leader.

    A leader that is gone stays in the client's memory for a quarter of an hour, and each question waits for it in vain: so the
    first one does not wait for long, and after it the client is made to look for the topic's leaders.
    """
    deadline, patience = time.monotonic() + DELIVERY_MILLISECONDS / 1000, _FIRST_ANSWER
    consumer.poll(0)  # lets its log lines out
    while True:
        try:
            _, end = consumer.get_watermark_offsets(place, patience)
        except KafkaException as error:
            if time.monotonic() > deadline:
                why = error.args[0].str()
                raise KafkaRefused(
                    f"{place.topic}/{place.partition}: Kafka does not say where it ends: {why}"
                ) from error
        else:
            return int(end)
        with suppress(KafkaException):
            consumer.list_topics(place.topic, timeout=patience)
        patience = min(2 * patience, _LONGEST_ANSWER)
        time.sleep(_LONGEST_PAUSE)
