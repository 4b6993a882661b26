"""Learning on a real Kafka: examples as personalization's transactions leave them, weights into every partition."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors import kafka_log
from connectors.kafka_client import Kafka
from connectors.topics import EVENTS, EXAMPLES
from models.defaults import DEFAULTS
from operators.churn import CHAMPION
from state.wire import Model, decoder
from tests.dataflows.test_learning import Learning, labelled


@pytest.fixture
def learning(kafka: Kafka, redis_url: str, tmp_path: Path) -> Iterator[Learning]:
    """A learning process on Kafka that does not outlive its test."""
    where = {"WAXMARK_KAFKA": kafka.properties["bootstrap.servers"], "WAXMARK_KAFKA_PREFIX": kafka.prefix}
    process = Learning(redis_url, tmp_path, 2, **where)
    yield process
    process.kill()


def published(kafka: Kafka, partition: int) -> list[Model]:
    """Read the model records of one partition of the events."""
    records = [record for batch in kafka_log.read(kafka, EVENTS, partition) for record in batch]
    return [found for record in records if isinstance(found := decoder.decode(record.value), Model)]


def test_learning_on_kafka_takes_each_committed_example_once_over_a_kill(
    learning: Learning, kafka: Kafka, client: Any
) -> None:
    """Both partitions are read, what a transaction took back is not, and both partitions of the events get the weights."""
    examples = labelled(1000)
    writer = kafka.producer(**{"transactional.id": f"{kafka.prefix}-examples"})
    writer.init_transactions(30)
    for start in range(0, 1000, 500):
        writer.begin_transaction()
        for number, example in enumerate(examples[start : start + 500]):
            writer.produce(kafka.topic(EXAMPLES), msgspec.json.encode(example), partition=number % 2)
        writer.commit_transaction(30)
        writer.begin_transaction()
        writer.produce(kafka.topic(EXAMPLES), msgspec.json.encode(examples[start]), partition=0)
        writer.flush()
        writer.abort_transaction(30)
        learning.start()
        learning.wait_for(client, start + 500)
        if not start:
            learning.kill()
    assert learning.stop() == 0
    zero, one = published(kafka, 0), published(kafka, 1)
    assert {record.name for record in zero} == {*DEFAULTS, CHAMPION}
    assert {(record.name, record.version) for record in zero} == {(record.name, record.version) for record in one}
