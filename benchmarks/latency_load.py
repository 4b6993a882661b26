"""The load beside which latency is measured, a process of its own: `python -m benchmarks.latency_load KIND WHERE RATE USERS`.

KIND is redis, kafka or collector, and says what WHERE is. People are drawn by Zipf's law. Events are sent a hundredth of a
second's at a time, and what was late is made up for. Ends at SIGTERM; then says what it sent, and how late it was at most.
"""

import asyncio
import base64
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import uvloop

from benchmarks.growth import message
from benchmarks.job_log import piped
from benchmarks.zipf import drawn
from connectors.kafka_client import Kafka
from connectors.redis_streams import connect
from connectors.topics import EVENTS
from state.records import partition_of

PARTITIONS: Final = 4
KEY: Final = "write-key-of-the-bench"
AUTHORIZATION: Final = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
_STEP_SECONDS: Final = 0.01
_CONNECTIONS: Final = 32
_NAMES: Final = ("Product Viewed", "Product Viewed", "Product Added", "Products Searched")

Send = Callable[[list[tuple[str, bytes]]], None]
"""Sends messages, each with its person."""


class Load(NamedTuple):
    """What was sent, for how long, and how late an event was at most; seconds."""

    sent: int
    seconds: float
    behind: float


class _Asked:
    """Whether SIGTERM came."""

    def __init__(self) -> None:
        self.to_end = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self.to_end = True


class _Traffic:
    """Says what is due."""

    def __init__(self, rate: int, users: int) -> None:
        self._rate, self._random = rate, random.Random(rate)
        self._users = drawn(self._random, range(users), at_once=100)
        self._began, self._sent, self._behind = time.time(), 0, 0.0

    def due(self) -> list[tuple[str, bytes]]:
        """Write what has become due since."""
        now, rnd = time.time(), self._random
        owed = int((now - self._began) * self._rate) - self._sent
        self._behind = max(self._behind, owed / self._rate - _STEP_SECONDS)
        found = []
        for number in range(self._sent, self._sent + owed):
            user = next(self._users)
            found.append((f"user-{user}", message(rnd.choice(_NAMES), user, int(now * 1e6), number)))
        self._sent += owed
        return found

    def rest(self, since: float) -> float:
        """Say for how long nothing is due; since when the last was sent, is told."""
        return max(0.0, _STEP_SECONDS - (time.time() - since))

    def said(self) -> Load:
        """Say what came of it."""
        return Load(self._sent, time.time() - self._began, self._behind)


def into_redis(url: str) -> Send:
    """Append to Redis Streams."""
    client = connect(url)
    connection = client.connection_pool.get_connection()
    return lambda messages: piped(connection, [(partition_of(user, PARTITIONS), value) for user, value in messages])


def into_kafka(where: str) -> Send:
    """Append to the topics under a prefix: `bootstrap/prefix`."""
    bootstrap, _, prefix = where.partition("/")
    kafka = Kafka(prefix, {"bootstrap.servers": bootstrap})
    producer: Any = kafka.producer()
    topic = kafka.topic(EVENTS)

    def send(messages: list[tuple[str, bytes]]) -> None:
        for user, value in messages:
            producer.produce(topic, value, user, partition_of(user, PARTITIONS))
        producer.poll(0)

    return send


class _Client(asyncio.Protocol):
    """One connection to the collector; requests follow each other without waiting for answers."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.count(b"HTTP/1.1") != data.count(b"HTTP/1.1 200"):
            sys.exit(f"the collector says {data.decode()[:500]}")


async def _into_collector(url: str, traffic: _Traffic, asked: _Asked) -> None:
    """Send every event in a request of its own, as browsers do."""
    loop, place = asyncio.get_running_loop(), urlsplit(url)
    host, port = place.hostname or "", place.port or 80
    clients = [(await loop.create_connection(_Client, host, port))[1] for _ in range(_CONNECTIONS)]
    number = 0
    while not asked.to_end:
        began = time.time()
        for _, value in traffic.due():
            number += 1
            clients[number % _CONNECTIONS].transport.write(
                f"POST /v1/track HTTP/1.1\r\nhost: bench\r\nauthorization: {AUTHORIZATION}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(value)}\r\n\r\n".encode()
                + value
            )
        await asyncio.sleep(traffic.rest(began))


def main(kind: str, where: str, rate: int, users: int) -> None:
    """Send until SIGTERM."""
    asked = _Asked()
    if kind == "collector":
        traffic = _Traffic(rate, users)
        uvloop.run(_into_collector(where, traffic, asked))
    else:
        send = {"redis": into_redis, "kafka": into_kafka}[kind](where)
        traffic = _Traffic(rate, users)
        while not asked.to_end:
            began = time.time()
            send(traffic.due())
            time.sleep(traffic.rest(began))
    print(json.dumps(traffic.said()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
