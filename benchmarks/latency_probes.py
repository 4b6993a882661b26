"""Probes: events of new people, sent when they are due whatever is slow; then their profile and trigger are waited for."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from threading import Event, Thread
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from confluent_kafka import OFFSET_END, TopicPartition
from redis.asyncio import Redis

from benchmarks.latency_load import AUTHORIZATION, PARTITIONS
from connectors.kafka_client import Kafka
from connectors.redis_profiles import profile_key
from connectors.redis_streams import stream
from connectors.topics import EVENTS, TRIGGERS
from state.records import partition_of

A_SECOND: Final = 50
_PATIENCE: Final = 30.0
_LOOK_SECONDS: Final = 0.0005
_AT_ONCE: Final = 100
_FIRST: Final = "probe-first"


class Found(NamedTuple):
    """Seconds from when each probe was due until its profile and its trigger could be read; how many never came."""

    profiles: list[float]
    triggers: list[float]
    missing: int


class Way(NamedTuple):
    """How probes are sent, and when each person's trigger was first seen; None where triggers are not waited for."""

    send: Callable[[str], Awaitable[None]]
    seen: dict[str, float] | None


def probed(url: str, way: Callable[[Any], Any], seconds: int) -> Found:
    """Send probes for so long; `way`, given a client of that Redis, is a context of a Way."""
    return asyncio.run(_probed(url, way, seconds))


async def _probed(url: str, way: Callable[[Any], Any], seconds: int) -> Found:
    async with Redis.from_url(url) as client, way(client) as (send, seen):
        profiles, due, waiting, sending = dict[str, float](), dict[str, float](), dict[str, float](), []
        all_sent = asyncio.Event()
        watching = asyncio.create_task(_watch(client, waiting, profiles, all_sent))
        began = time.time()
        for number in range(A_SECOND * seconds):
            user_id, at = f"probe-{number}", began + number / A_SECOND
            await asyncio.sleep(max(0.0, at - time.time()))
            due[user_id] = waiting[user_id] = at
            sending.append(asyncio.create_task(send(user_id)))
        await asyncio.gather(*sending)
        all_sent.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(watching, _PATIENCE)
        await asyncio.sleep(1)
        triggers = [at - due[user_id] for user_id, at in (seen or {}).items() if user_id in due]
    missing = len(waiting) + (0 if seen is None else len(due) - len(triggers))
    return Found([*profiles.values()], triggers, missing)


async def _watch(client: Any, waiting: dict[str, float], profiles: dict[str, float], all_sent: asyncio.Event) -> None:
    """Look whether what is waited for, the oldest first, can be read, and take it from `waiting` then."""
    while waiting or not all_sent.is_set():
        asked = [*islice(waiting, _AT_ONCE)]
        pipe = client.pipeline(transaction=False)
        for user_id in asked:
            pipe.exists(profile_key("default", user_id))
        found = await pipe.execute() if asked else []
        now = time.time()
        for user_id, exists in zip(asked, found, strict=True):
            if exists:
                profiles[user_id] = now - waiting.pop(user_id)
        await asyncio.sleep(_LOOK_SECONDS)


def _message(user_id: str) -> bytes:
    return msgspec.json.encode({"type": "track", "messageId": user_id, "userId": user_id, "event": "Probed"})


def over_redis(url: str) -> Callable[[Any], Any]:
    """Append to the log, and follow the triggers."""

    @asynccontextmanager
    async def way(client: Any) -> AsyncIterator[Way]:
        seen: dict[str, float] = {}

        async def send(user_id: str) -> None:
            await client.xadd(stream(EVENTS, partition_of(user_id, PARTITIONS)), {"v": _message(user_id)})

        async with Redis.from_url(url, socket_timeout=None) as following:
            follower = asyncio.create_task(_follow(following, seen))
            try:
                yield Way(send, seen)
            finally:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)

    return way


async def _follow(client: Any, seen: dict[str, float]) -> None:
    after = {stream(TRIGGERS, partition): "0-0" for partition in range(PARTITIONS)}
    while True:
        for name, entries in await client.xread(after, block=1000) or ():
            now = time.time()
            for position, fields in entries:
                after[name.decode()] = position.decode()
                seen.setdefault(msgspec.json.decode(fields[b"v"])["user_id"], now)


def over_kafka(kafka: Kafka) -> Callable[[Any], Any]:
    """Append to the topic, and follow the triggers as a reader with read_committed sees them."""

    @asynccontextmanager
    async def way(client: Any) -> AsyncIterator[Way]:  # noqa: ARG001 - profiles are looked up by whoever probes
        seen: dict[str, float] = {}
        producer: Any = kafka.producer(**{"linger.ms": 0})
        ending = Event()
        follower = Thread(target=_consume, args=(kafka, seen, ending), daemon=True)
        follower.start()

        async def send(user_id: str) -> None:
            producer.produce(kafka.topic(EVENTS), _message(user_id), user_id, partition_of(user_id, PARTITIONS))
            producer.poll(0)

        try:
            await send(_FIRST)
            end = time.monotonic() + _PATIENCE
            while (
                _FIRST not in seen and time.monotonic() < end
            ):  # clients learn where a topic is when they first use it
                await asyncio.sleep(_LOOK_SECONDS)
                producer.poll(0)
            yield Way(send, seen)
        finally:
            ending.set()
            follower.join()
            producer.flush(10)

    return way


def _consume(kafka: Kafka, seen: dict[str, float], ending: Event) -> None:
    consumer: Any = kafka.consumer(**{"group.id": f"{kafka.prefix}.bench", "fetch.wait.max.ms": 10})
    topic = kafka.topic(TRIGGERS)
    consumer.assign([TopicPartition(topic, partition, OFFSET_END) for partition in range(PARTITIONS)])
    try:
        while not ending.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                seen.setdefault(msgspec.json.decode(message.value())["user_id"], time.time())
    finally:
        consumer.close()


def over_collector(address: str) -> Callable[[Any], Any]:
    """Send to a collector, as a client does; triggers are not waited for."""

    @asynccontextmanager
    async def way(client: Any) -> AsyncIterator[Way]:  # noqa: ARG001 - same
        headers = {"authorization": AUTHORIZATION, "content-type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def send(user_id: str) -> None:
                async with session.post(f"{address}/v1/track", data=_message(user_id)) as answer:
                    await answer.read()
                    answer.raise_for_status()

            yield Way(send, None)

    return way
