"""Delivery over a real Kafka: the same promises, by transactions and fencing."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial

import pytest

from connectors.delivery_log import KafkaDeliveryLog
from connectors.kafka_client import Kafka
from connectors.looks import KafkaLook
from connectors.recorder import Metrics
from connectors.topics import DELIVERIES, TRIGGERS, Fenced
from state.clock import HOUR
from state.deliveries import Outcome, Status, decode
from state.records import partition_of
from tests.delivery.delivering import PARTITIONS, Process
from tests.delivery.lettering import LOST, Provider, trigger, written


def decided(kafka: Kafka, *names: str, send_in: int = 0) -> None:
    """Write triggers to their topic."""
    producer = kafka.producer()
    for name in names:
        each = trigger(name, at=time.time_ns() // 1000, send_in=send_in)
        producer.produce(kafka.topic(TRIGGERS), written(each), partition=partition_of(name, PARTITIONS))
    producer.flush()


class Outcomes:
    """What a consumer of the deliveries has read so far, read committed."""

    def __init__(self, kafka: Kafka) -> None:
        self._looks = [KafkaLook(kafka, "test", DELIVERIES, partition, None) for partition in range(PARTITIONS)]
        self.found: list[Outcome] = []

    def read(self) -> dict[str, Status]:
        """Read on; say how each user's trigger ended."""
        for look in self._looks:
            self.found += [r for each in look.next() if isinstance(r := decode(each.value), Outcome)]
        assert len({each.trigger_id for each in self.found}) == len(self.found)
        return {each.user_id: each.status for each in self.found}

    def reach(self, enough: int) -> bool:
        """Tell whether there are so many."""
        return len(self.read()) >= enough

    def close(self) -> None:
        """Let go of it."""
        for look in self._looks:
            look.close()


@pytest.fixture
def outcomes(kafka: Kafka) -> Iterator[Outcomes]:
    """A consumer of the deliveries."""
    reading = Outcomes(kafka)
    yield reading
    reading.close()


def test_every_trigger_has_one_outcome_over_crashes_and_a_restart(
    kafka: Kafka, redis_url: str, outcomes: Outcomes
) -> None:
    """Each process is cut off in the middle of its calls; what was under way then is ambiguous, and never sent twice."""
    provider = Provider()
    users = [f"user-{n}" for n in range(200)]
    decided(kafka, "later", send_in=HOUR)
    decided(kafka, *users)
    provider.answering("user-3", LOST)

    async def slowly() -> None:
        await asyncio.sleep(0.01)

    provider.pause = slowly

    async def work() -> None:
        for enough in (30, 80, 130, 200):
            log = KafkaDeliveryLog(kafka, PARTITIONS, Metrics())
            process = Process(redis_url, {"mail": provider}, name=f"run-{enough}", log=log).start()
            await process.until(partial(outcomes.reach, enough), 30)
            await (process.die() if enough < 200 else process.end())

    asyncio.run(work())
    ended = outcomes.read()
    assert set(ended) == set(users)
    assert set(ended.values()) <= {Status.ACCEPTED, Status.AMBIGUOUS}
    assert ended["user-3"] is Status.AMBIGUOUS
    assert set(provider.accepted.values()) == {1}
    assert sum(provider.accepted.values()) <= 200


def test_a_zombie_is_fenced_before_it_calls_anybody(kafka: Kafka, redis_url: str, outcomes: Outcomes) -> None:
    """The broker refuses its next attempt."""
    first, second = Provider(), Provider()

    async def work() -> None:
        zombie = Process(redis_url, {"mail": first}, log=KafkaDeliveryLog(kafka, PARTITIONS, Metrics())).start()
        await asyncio.sleep(3)
        log = KafkaDeliveryLog(kafka, PARTITIONS, Metrics())
        successor = Process(redis_url, {"mail": second}, name="run-2", log=log).start()
        await asyncio.sleep(3)
        await asyncio.to_thread(decided, kafka, *(f"user-{n}" for n in range(20)))
        await successor.until(lambda: len(outcomes.read()) == 20)
        assert zombie.task is not None
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(zombie.task, 20)
        assert ended.group_contains(Fenced)
        await successor.end()

    asyncio.run(work())
    assert not first.called
    assert set(second.accepted.values()) == {1}
