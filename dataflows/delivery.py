"""Delivery: triggers in, letters out to providers, and what became of each into the `deliveries` topic.

Run it by `waxmark run delivery`. It is no Bytewax dataflow: a call to a provider takes as long as it takes, and in an engine of
epochs the slowest would hold up all (docs/decisions.md). Its state is its own output, read back at the start.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from connectors.appending import Away
from connectors.delivery_log import Checkpoint, Checkpoints, DeliveryLog, Journal, recalled
from connectors.esp.dispatch import Desk, Dispatcher, Partition
from connectors.esp.lane import Lane
from connectors.looks import Look, Seen
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from connectors.topics import DELIVERIES, TRIGGERS
from operators.docket import Docket
from state.deliveries import Opened

MOST_OPEN: Final = 200_000
"""Triggers without an outcome at which reading pauses; two kilobytes each."""

_IDLE_SECONDS: Final = 0.02
_CHECKPOINT_SECONDS: Final = 5.0
_TRIM_SECONDS: Final = 600.0
_log: Final = logging.getLogger("waxmark.delivery")

Clock = Callable[[], int]


async def delivery(
    log: DeliveryLog,
    checkpoints: Checkpoints,
    partitions: int,
    lanes: Mapping[str, Lane],
    lane_of: Callable[[str], str],
    desk: Desk,
    telemetry: Telemetry,
    stop: Stop,
    *,
    run_id: str,
    clock: Clock,
) -> None:
    """Deliver until a stop is asked for; calls under way then are finished and written down.

    Raises Fenced where another process has taken over, and whatever breaks the log.
    """
    opened = await asyncio.gather(
        *(
            asyncio.to_thread(_open, log, checkpoints.read(number), number, f"{run_id}/{number}", clock())
            for number in range(partitions)
        )
    )
    parts = {partition.number: partition for partition, _ in opened}
    looks = {partition.number: look for partition, look in opened}
    dispatcher = Dispatcher(parts, lanes, lane_of, desk, telemetry.metrics, clock)
    for number in parts:
        telemetry.health.opened(number)

    async with asyncio.TaskGroup() as journals:
        for partition in parts.values():
            journals.create_task(partition.journal.run())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(dispatcher.run())
            keeping = tasks.create_task(_keep(log, parts, lanes, checkpoints, telemetry))
            await _read(looks, dispatcher, telemetry, stop, clock)
            telemetry.health.ending()
            keeping.cancel()
            dispatcher.close()
        for partition in parts.values():
            partition.journal.close()
    _kept(checkpoints, {number: Checkpoint(*partition.docket.resumes) for number, partition in parts.items()})
    for look in looks.values():
        look.close()
    _log.info("stopped", extra={"open": dispatcher.open})


def _open(log: DeliveryLog, checkpoint: Checkpoint, number: int, run_id: str, now: int) -> tuple[Partition, Look]:
    """Take over a partition, and recall what earlier processes wrote."""
    writer = log.writer(number)
    journal = Journal(writer)
    journal.write_now(Opened(run_id, now))
    look = log.look(DELIVERIES, number, checkpoint.deliveries)
    docket = Docket(checkpoint.triggers, checkpoint.deliveries, now)
    for seen, record in recalled(look, run_id):
        docket.recall(record, seen.after)
        docket.took_over(seen.log_time)
    look.close()
    return Partition(number, docket, journal), log.look(TRIGGERS, number, checkpoint.triggers)


async def _read(
    looks: Mapping[int, Look], dispatcher: Dispatcher, telemetry: Telemetry, stop: Stop, clock: Clock
) -> None:
    """Read all partitions in turn until a stop is asked for."""
    while not stop.requested:
        now = clock()
        telemetry.health.moved(now)
        if dispatcher.open > MOST_OPEN:
            await asyncio.sleep(1)
            continue
        found = await asyncio.to_thread(partial(_next, looks))
        for number, seen in found.items():
            read_to = seen[-1].log_time if seen else now
            telemetry.metrics.looked(number, now=now, log_time=read_to, at_end=not seen)
            await dispatcher.take(number, seen)
            await asyncio.sleep(0)  # a backlog is read for minutes: calls go on meanwhile
        if not any(found.values()):
            await asyncio.sleep(_IDLE_SECONDS)


def _next(looks: Mapping[int, Look]) -> dict[int, list[Seen]]:
    return {number: look.next() for number, look in looks.items()}


async def _keep(
    log: DeliveryLog,
    parts: Mapping[int, Partition],
    lanes: Mapping[str, Lane],
    checkpoints: Checkpoints,
    telemetry: Telemetry,
) -> None:
    """Keep checkpoints and gauges up to date, and the log from growing for ever."""
    kept: dict[int, Checkpoint] = {}
    kept_at = time.monotonic()
    trimmed_at = kept_at
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(1)
            open_ = {number: partition.docket.open for number, partition in parts.items()}
            telemetry.metrics.delivering(open_, {name: lane.is_held for name, lane in lanes.items()})
            if time.monotonic() - kept_at < _CHECKPOINT_SECONDS:
                continue
            kept_at = time.monotonic()
            now = {number: Checkpoint(*partition.docket.resumes) for number, partition in parts.items()}
            if not await asyncio.to_thread(_kept, checkpoints, {n: c for n, c in now.items() if kept.get(n) != c}):
                continue
            kept = now
            if time.monotonic() - trimmed_at >= _TRIM_SECONDS:
                trimmed_at = time.monotonic()
                with contextlib.suppress(Away):  # there is time
                    for number, checkpoint in kept.items():
                        await asyncio.to_thread(log.trim, number, checkpoint)


def _kept(checkpoints: Checkpoints, now: Mapping[int, Checkpoint]) -> bool:
    """Keep checkpoints if that is possible: without them the next start reads more, and that is all."""
    try:
        checkpoints.keep(now)
    except Away as away:
        _log.warning("no checkpoint", extra={"reason": str(away)})
        return False
    return True
