"""A broker that forgets a transaction which it has acknowledged."""

from pathlib import Path
from typing import Any

import pytest

from connectors import kafka_ends
from connectors.kafka_client import Kafka, KafkaRefused
from connectors.kafka_log import read
from connectors.kafka_outputs import KafkaOnceSink
from connectors.kafka_topics import Topics
from connectors.recorder import Metrics
from connectors.stopping import Stop
from connectors.topics import TRIGGERS, Buried
from tests.kafka.broker import Brokers, NoKafka, running
from tests.kafka.conftest import missing

PARTITIONS = 2


class Forgetful(Kafka):
    """A Kafka whose broker is killed in the moment in which it has acknowledged a commit, and comes back."""

    brokers: Brokers

    def producer(self, **own: Any) -> Any:
        """Open a producer like any other, but for the end of its first transaction."""
        return _Interrupted(super().producer(**own), self.brokers)


class _Interrupted:
    def __init__(self, producer: Any, brokers: Brokers) -> None:
        self._producer, self._brokers = producer, brokers
        self._is_over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, timeout: float) -> None:
        self._producer.commit_transaction(timeout)
        if not self._is_over:
            self._is_over = True
            self._brokers.kill()
            self._brokers.start()
            self._brokers.wait()


def opened(kafka: Kafka, resume: int | None = None) -> Any:
    """Open partition 0 of the triggers."""
    whole = KafkaOnceSink(kafka, PARTITIONS, TRIGGERS, Stop(), Metrics(enabled=False))
    return whole.build_part("to_triggers", "0", resume)


def test_a_commit_that_the_broker_forgets_is_in_no_snapshot_and_is_written_again_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka 4.3.1 acknowledges, dies, and takes the transaction for complete with no marker in the partition (KAFKA-20734).

    Its entries lay behind the last stable offset, where the read-back did not see them; the next commit brought both them and
    their repetition to light. In 480 kills under load it came about twice. A broker that forgets nothing passes as well.
    """
    monkeypatch.setattr(kafka_ends, "PATIENCE", 3.0)
    try:
        with running(tmp_path / "kafka") as brokers:
            kafka = Kafka("forgotten", {"bootstrap.servers": brokers.bootstrap})
            Topics(kafka, PARTITIONS, retention_days=7).create_and_check()
            first = opened(kafka)
            first.write_batch([Buried("a", b"1")])
            position = first.snapshot()
            forgetful = Forgetful(*kafka)
            forgetful.brokers = brokers
            second = opened(forgetful, position)
            second.write_batch([Buried("b", b"2"), Buried("c", b"3")])
            forgot = False
            try:
                second.snapshot()
            except KafkaRefused as error:
                assert "readers do not see it" in str(error)  # noqa: PT017 - a broker without the fault raises nothing
                forgot = True
            third = opened(kafka, position)
            third.write_batch([Buried("b", b"2"), Buried("c", b"3"), Buried("d", b"4")])
            assert third.snapshot() > position
            values = [record.value for records in read(kafka, TRIGGERS, 0) for record in records]
            assert values == [b"1", b"2", b"3", b"4"]
            assert forgot or "a transaction without an end is aborted" not in caplog.text
    except NoKafka as error:
        missing(error)
