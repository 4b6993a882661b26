"""Running delivery in a test: real Redis, providers whose answers the test chooses, until every trigger has its outcome."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from connectors.delivery_log import Checkpoints, DeliveryLog, RedisDeliveryLog
from connectors.esp.lane import Lane, Pace
from connectors.recorder import Metrics
from connectors.redis_streams import connect, scan, stream
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from connectors.topics import DELIVERIES, TRIGGERS
from dataflows.delivery import delivery
from state.deliveries import Delivery, Outcome, Status, decode
from state.outputs import Trigger
from state.records import partition_of
from tests.delivery.lettering import OpenDesk, Provider, written

PARTITIONS = 2
FAST = Pace(rate=1000, burst=1000, concurrency=4, give_up_after=3600)


def decided(redis_url: str, *triggers: Trigger) -> None:
    """Write triggers to their topic, as personalization does."""
    with connect(redis_url) as client:
        for each in triggers:
            name = stream(TRIGGERS, partition_of(each.user_id, PARTITIONS))
            client.xadd(name, {"id": each.trigger_id, "v": written(each)})


def told(redis_url: str) -> list[Delivery]:
    """Read the deliveries."""
    with connect(redis_url) as client:
        return [
            decode(fields[b"v"]) for partition in range(PARTITIONS) for _, fields in scan(client, DELIVERIES, partition)
        ]


def outcomes(redis_url: str) -> dict[str, Outcome]:
    """Read the outcomes by user; a trigger with two of them fails the test."""
    found = [record for record in told(redis_url) if isinstance(record, Outcome)]
    assert len({each.trigger_id for each in found}) == len(found)
    return {each.user_id: each for each in found}


def answered(redis_url: str) -> dict[str, Status]:
    """Say how each trigger and each `cancel` ended, by its id."""
    return {record.trigger_id: record.status for record in told(redis_url) if isinstance(record, Outcome)}


def statuses(redis_url: str) -> dict[str, Status]:
    """Say how each user's trigger ended."""
    return {user_id: each.status for user_id, each in outcomes(redis_url).items()}


class Process:
    """One delivery process, as a task."""

    def __init__(
        self,
        redis_url: str,
        providers: Mapping[str, Provider],
        desk: OpenDesk | None = None,
        *,
        name: str = "run-1",
        pace: Pace = FAST,
        lane_of: Callable[[str], str] = lambda _: "mail",
        log: DeliveryLog | None = None,
    ) -> None:
        self.stop = Stop()
        self._url, self._providers, self._desk = redis_url, providers, desk or OpenDesk()
        self._name, self._pace, self._lane_of, self._log = name, pace, lane_of, log
        self.task: asyncio.Task[None] | None = None

    def start(self) -> "Process":
        """Start it."""
        clock = lambda: time.time_ns() // 1000  # noqa: E731
        lanes = {name: Lane(name, provider, self._pace, clock) for name, provider in self._providers.items()}
        checkpoints = Checkpoints(self._url)
        log = self._log or RedisDeliveryLog(self._url, PARTITIONS, Metrics())
        self.task = asyncio.create_task(
            delivery(
                log,
                checkpoints,
                PARTITIONS,
                lanes,
                self._lane_of,
                self._desk,
                Telemetry(),
                self.stop,
                run_id=self._name,
                clock=clock,
            )
        )
        return self

    async def until(self, done: Callable[[], Any], seconds: float = 15) -> None:
        """Let it run until something holds."""
        assert self.task is not None
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(done):
            assert time.monotonic() < deadline, "it did not come to this in time"
            if self.task.done():
                self.task.result()
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Stop it gracefully."""
        assert self.task is not None
        self.stop.requested = True
        await asyncio.wait_for(self.task, 15)

    async def die(self) -> None:
        """Cut it off in the middle of whatever it does; nothing is written down any more."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def delivered(process: Process, redis_url: str, count: int) -> None:
    """Run a process until so many triggers have an outcome, and stop it."""

    async def run() -> None:
        process.start()
        await process.until(lambda: len(outcomes(redis_url)) >= count)
        await process.end()

    asyncio.run(run())


def within(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's own sequence of events."""

    async def run() -> None:
        await work()

    asyncio.run(run())
