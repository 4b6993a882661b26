"""Asking Kafka for a partition: a broker that has not heard of a new topic yet is asked again, one that lacks it is not."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from connectors import kafka_client
from connectors.kafka_client import KafkaRefused, require


class Broker:
    """A client whose broker knows of so many partitions, each time that it is asked; the last answer stays."""

    def __init__(self, *known: int) -> None:
        self._known = list(known)

    def list_topics(self, name: str, timeout: float) -> Any:  # noqa: ARG002 - the client's signature
        """Say what is known."""
        partitions = dict.fromkeys(range(self._known.pop(0) if len(self._known) > 1 else self._known[0]))
        return SimpleNamespace(topics={name: SimpleNamespace(partitions=partitions)})


def test_a_broker_that_has_not_heard_of_a_new_topic_is_asked_again() -> None:
    """Of three brokers one answered that there was no such topic, right after the others had made it, and a worker stopped."""
    require(Broker(0, 0, 2), TopicPartition("events", 1))


def test_a_topic_that_nobody_ever_hears_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was never made, or its name is wrong."""
    monkeypatch.setattr(kafka_client, "_HEARSAY_SECONDS", 0.0)
    with pytest.raises(KafkaRefused, match="events has 0 partitions"):
        require(Broker(0), TopicPartition("events", 1))


def test_a_topic_of_too_few_partitions_is_refused_at_once() -> None:
    """They are fixed when it is made, so waiting changes nothing."""
    with pytest.raises(KafkaRefused, match="events has 1 partitions"):
        require(Broker(1), TopicPartition("events", 1))
