"""Dispatch: every open case on its way to its outcome. What to do is the docket's to say; here it is done, and written down."""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from msgspec import structs

from connectors.appending import Away
from connectors.delivery_log import Journal
from connectors.esp.lane import Lane, Queued, where
from connectors.looks import Seen
from connectors.recorder import Metrics
from operators.docket import Case, Docket, Stage
from operators.intake import decode, outcome, outcome_of_cancel, take_in
from operators.last_look import Stale
from operators.pacing import next_try
from state.clock import SECOND, from_iso
from state.deliveries import Attempt, Deferral, Outcome, Status
from state.letters import Answer, Letter, Unfit, Verdict
from state.outputs import Trigger

_PROFILE_TIME: Final = 5 * SECOND
"""A profile may be written a moment after the trigger; for so long, one that is missing is waited for."""

_SWEEP: Final = 1 * SECOND
_AT_ONCE: Final = 500
"""So many that expire together are written together: after an outage they are very many, and calls must go on meanwhile."""
_log: Final = logging.getLogger("waxmark.delivery")
_ENDS: Final = {
    Verdict.ACCEPTED: Status.ACCEPTED,
    Verdict.DUPLICATE: Status.DUPLICATE,
    Verdict.REJECTED: Status.REJECTED,
    Verdict.AMBIGUOUS: Status.AMBIGUOUS,
}


class Desk(Protocol):
    """Makes letters of triggers, with a last look at the person and the shop."""

    async def letter(self, trigger: Trigger, *, with_email: bool) -> Letter | None:
        """Make a letter; None where the person's profile is not there. Raises Stale, Unfit, or Away."""


class Partition(NamedTuple):
    """One partition of the triggers and its deliveries."""

    number: int
    docket: Docket
    journal: Journal


class Dispatcher:
    """All partitions and lanes of one process.

    Args:
        partitions: by number.
        lanes: by the name of the provider.
        lane_of: names the provider of a campaign.
        desk: makes the letters.
        metrics: hears of outcomes.
        clock: gives the time in microseconds UTC.
    """

    def __init__(
        self,
        partitions: Mapping[int, Partition],
        lanes: Mapping[str, Lane],
        lane_of: Callable[[str], str],
        desk: Desk,
        metrics: Metrics,
        clock: Callable[[], int],
    ) -> None:
        self._partitions, self._lanes, self._lane_of = partitions, lanes, lane_of
        self._desk, self._metrics, self._clock = desk, metrics, clock
        metrics.delivers_to(lanes)
        self._later: list[tuple[int, int, Queued]] = []
        self._number = itertools.count()
        self._closing = asyncio.Event()

    @property
    def open(self) -> int:
        """Count the cases without an outcome."""
        return sum(partition.docket.open for partition in self._partitions.values())

    async def take(self, number: int, seen: Iterable[Seen]) -> None:
        """Take in what was read of one partition; what ends at once is durable when this returns."""
        partition, now = self._partitions[number], self._clock()
        opened: list[Case] = []
        ended: list[Outcome] = []
        for entry in seen:
            case, outcomes = take_in(partition.docket, entry.value, entry.after, entry.log_time, number, now)
            ended += outcomes
            if case is not None:
                opened.append(case)
        await self._end(partition, ended)
        for case in opened:
            self._schedule(Queued(number, case), now)

    async def run(self) -> None:
        """Serve all lanes until closed; calls under way are finished."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_time())
            for lane in self._lanes.values():
                for _ in range(lane.pace.concurrency):
                    tasks.create_task(self._serve(lane))

    def close(self) -> None:
        """Let `run` end."""
        self._closing.set()
        for lane in self._lanes.values():
            lane.close()

    def _schedule(self, queued: Queued, now: int) -> None:
        if queued.case.due <= now:
            self._lanes[self._lane_of(queued.case.campaign_id)].put(queued)
        else:
            heapq.heappush(self._later, (queued.case.due, next(self._number), queued))

    async def _keep_time(self) -> None:
        """Queue what has become due, and end what no provider was ready for in time."""
        swept = 0
        while not self._closing.is_set():
            now = self._clock()
            while self._later and self._later[0][0] <= now:
                self._schedule(heapq.heappop(self._later)[2], now)
            if abs(now - swept) >= _SWEEP:  # the clock may be set back
                swept = now
                for partition in self._partitions.values():
                    await self._expire(partition, now)
            await asyncio.sleep(0.01)

    async def _expire(self, partition: Partition, now: int) -> None:
        late = [case for case in partition.docket if case.expires_at <= now and case.stage is Stage.WAITING]
        for start in range(0, len(late), _AT_ONCE):
            ended: list[Outcome] = []
            for case in late[start : start + _AT_ONCE]:
                if case.stage is Stage.WAITING:  # still: others were being written
                    ended += _ended(decode(case.value), case, *_unsent(case), now)
            await self._end(partition, ended)

    async def _serve(self, lane: Lane) -> None:
        while (queued := await lane.next()) is not None:
            partition, case = self._partitions[queued.partition], queued.case
            if case.stage is not Stage.ENDED:
                await self._deliver(lane, partition, case)

    async def _deliver(self, lane: Lane, partition: Partition, case: Case) -> None:
        trigger, now = decode(case.value), self._clock()
        if case.is_in_doubt:
            forgotten = now - case.first_at >= lane.provider.remembers * SECOND
            if forgotten or case.provider != lane.name or case.expires_at <= now:
                await self._close(
                    partition, trigger, case, Status.AMBIGUOUS, "a call was made, and its answer was lost"
                )
                return
        elif case.cancelled_by or case.expires_at <= now:
            await self._close(partition, trigger, case, *_unsent(case))
            return
        letter = await self._letter(lane, partition, trigger, case)
        if letter is None:
            return
        case.attempts += 1
        case.provider, case.first_at = lane.name, case.first_at or now
        await partition.journal.write(Attempt(case.trigger_id, lane.name, case.attempts, now))
        await self._heard(lane, partition, trigger, case, await lane.send(letter))

    async def _letter(self, lane: Lane, partition: Partition, trigger: Trigger, case: Case) -> Letter | None:
        """Make the letter; None where there is none to be made, or not yet. The case is under way from here on."""
        stage, case.stage = case.stage, Stage.UNDER_WAY
        now = self._clock()
        try:
            letter = await self._desk.letter(trigger, with_email=not lane.provider.renders)
        except Away:
            self._put_back(partition, case, stage, now + SECOND)
            return None
        except (Stale, Unfit) as error:
            ends, reason = Status.CANCELLED if isinstance(error, Stale) else Status.REJECTED, str(error)
        except Exception as error:  # noqa: BLE001 - one trigger that nobody thought of must not stop all others, for ever
            ends, reason = Status.REJECTED, f"no letter can be made: {type(error).__name__}"
            _log.error("no letter can be made", extra={"campaign": case.campaign_id} | where(error))
        else:
            ends, reason = self._unsendable(lane, case, letter)
            if letter is not None and not reason:
                return letter
            if letter is None and not case.cancelled_by and now < from_iso(trigger.decided_at) + _PROFILE_TIME:
                self._put_back(partition, case, stage, now + SECOND // 4)
                return None
        if case.is_in_doubt:
            ends = Status.AMBIGUOUS
        await self._close(partition, trigger, case, ends, reason)
        return None

    def _unsendable(self, lane: Lane, case: Case, letter: Letter | None) -> tuple[Status, str]:
        """Say why a letter cannot go; an empty reason where it can."""
        if case.cancelled_by:  # while the letter was made
            return Status.CANCELLED, f"taken back: {case.cancelled_by}"
        if letter is None:
            return Status.CANCELLED, "the person is not known any more"
        return Status.REJECTED, "" if letter.to or lane.provider.renders else "the person has no address"

    async def _heard(self, lane: Lane, partition: Partition, trigger: Trigger, case: Case, answer: Answer) -> None:
        now = self._clock()
        due = next_try(case.trigger_id, case.attempts, now, answer.retry_after)
        case.is_in_doubt |= answer.verdict is Verdict.AMBIGUOUS
        if case.is_in_doubt and answer.verdict in {Verdict.AMBIGUOUS, Verdict.RETRY}:
            if due < min(case.first_at + lane.provider.remembers * SECOND, case.expires_at):
                self._put_back(partition, case, Stage.UNDER_WAY, due)  # the key makes it safe to ask again
            else:
                await self._close(partition, trigger, case, Status.AMBIGUOUS, answer.reason)
        elif answer.verdict is not Verdict.RETRY:
            status = _ENDS[answer.verdict]
            await self._close(partition, trigger, case, status, answer.reason, answer.provider_id)
        elif case.cancelled_by:
            await self._close(partition, trigger, case, *_unsent(case))
        elif due >= case.first_at + lane.pace.give_up_after * SECOND:
            reason = f"given up after {case.attempts} attempts: {answer.reason}"
            await self._close(partition, trigger, case, Status.REJECTED, reason)
        else:
            await partition.journal.write(Deferral(case.trigger_id, lane.name, case.attempts, now, due, answer.reason))
            self._metrics.deferred(lane.name)
            self._put_back(partition, case, Stage.WAITING, due)

    def _put_back(self, partition: Partition, case: Case, stage: Stage, due: int) -> None:
        case.stage, case.due = stage, due
        self._schedule(Queued(partition.number, case), self._clock())

    async def _close(
        self, partition: Partition, trigger: Trigger, case: Case, status: Status, reason: str, provider_id: str = ""
    ) -> None:
        await self._end(partition, _ended(trigger, case, status, reason, self._clock(), provider_id))

    async def _end(self, partition: Partition, ended: list[Outcome]) -> None:
        if not ended:
            return
        await partition.journal.write(*ended)
        for each in ended:
            partition.docket.end(each.trigger_id, partition.journal.position)
            if each.kind == "send":
                taken = (each.at - from_iso(each.decided_at)) / SECOND if each.decided_at else 0.0
                self._metrics.delivered(each.provider, each.status, taken)


def _unsent(case: Case) -> tuple[Status, str]:
    """Say how a case ends that was taken back, or else has expired, and that surely nobody has accepted."""
    if case.cancelled_by:
        return Status.CANCELLED, f"taken back: {case.cancelled_by}"
    return Status.EXPIRED, "no call was accepted in time"


def _ended(trigger: Trigger, case: Case, status: Status, reason: str, now: int, provider_id: str = "") -> list[Outcome]:
    """End a case, and the `cancel` that waited for it: nobody may begin a call while that is being written."""
    case.stage = Stage.ENDED
    ended = [outcome(trigger, case, status, reason, now, provider_id)]
    if case.cancelled_by:
        cancel = structs.replace(trigger, trigger_id=case.cancelled_by, kind="cancel")
        ended.append(outcome_of_cancel(cancel, now, stopped=status is Status.CANCELLED))
    return ended
