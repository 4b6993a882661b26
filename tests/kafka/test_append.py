"""The collector's end of the log, on a real broker."""

import asyncio

import pytest

from connectors.appending import Away, Entry, Full, Place
from connectors.kafka_append import KafkaAppender
from connectors.kafka_client import Kafka
from connectors.kafka_log import read
from connectors.redis_server import free_port
from connectors.topics import EVENTS
from state.records import partition_of
from tests.kafka.broker import Brokers

PARTITIONS = 2


def test_what_was_appended_stands_where_its_place_says(kafka: Kafka) -> None:
    """Each under its person's key, with its trace, in the order of the batch."""
    entries = [Entry(f"user-{n % 5}", str(n).encode(), "00-trace" if n % 2 else None) for n in range(200)]

    async def go() -> tuple[list[Place], list[Place], list[Place]]:
        async with KafkaAppender(kafka, PARTITIONS) as appender:
            assert appender.is_ready
            return await asyncio.gather(
                appender.append(entries[:150]), appender.append(entries[150:]), appender.append([])
            )

    first, second, nothing = asyncio.run(go())
    assert nothing == []
    found = {
        (partition, record.position): record
        for partition in range(PARTITIONS)
        for records in read(kafka, EVENTS, partition)
        for record in records
    }
    assert len(found) == len(entries)
    for entry, place in zip(entries, first + second, strict=True):
        assert place.partition == partition_of(entry.key, PARTITIONS)
        record = found[place.partition, place.position]
        assert (record.value, record.traceparent) == (entry.value, entry.traceparent)


def test_without_a_broker_it_says_at_once_that_nothing_can_be_appended() -> None:
    """The sender keeps what it has."""
    nowhere = Kafka("none", {"bootstrap.servers": f"127.0.0.1:{free_port()}"})

    async def go() -> None:
        async with KafkaAppender(nowhere, PARTITIONS) as appender:
            assert not appender.is_ready
            await appender.append([Entry("ann", b"{}")])

    with pytest.raises(Away):
        asyncio.run(go())


def test_more_than_memory_was_set_aside_for_is_refused(kafka: Kafka) -> None:
    """Whole, so that the sender may repeat it whole."""

    async def go() -> None:
        async with KafkaAppender(kafka, PARTITIONS, queue_bytes=100) as appender:
            await appender.append([Entry("ann", b"x" * 60), Entry("ann", b"x" * 60)])

    with pytest.raises(Full):
        asyncio.run(go())


async def _without_end(appender: KafkaAppender) -> None:
    while True:
        await appender.append([Entry("ann", b"during")])


def test_a_broker_that_is_killed_and_comes_back_is_away_and_then_ready(broker: Brokers, kafka: Kafka) -> None:
    """What was under way fails or is appended, and nothing hangs."""

    async def go() -> None:
        async with KafkaAppender(kafka, PARTITIONS, timeout=3) as appender:
            await appender.append([Entry("ann", b"before")])
            broker.kill()
            with pytest.raises(Away):
                await _without_end(appender)
            broker.start()
            await asyncio.to_thread(broker.wait)
            while not appender.is_ready:  # noqa: ASYNC110 - what it is asked by the collector's probe
                await asyncio.sleep(0.05)
            await appender.append([Entry("ann", b"after")])

    asyncio.run(asyncio.wait_for(go(), 60))
    values = [r.value for p in range(PARTITIONS) for records in read(kafka, EVENTS, p) for r in records]
    assert {b"before", b"after"} <= set(values)
