"""The docket: what one partition of the triggers still has to deliver, as its log and the record of deliveries tell.

Pure: it is told of triggers in their order and of what became of them, and says what to do next. Times are microseconds UTC.
"""

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from itertools import islice
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from state.clock import SECOND, from_iso
from state.deliveries import Attempt, Deferral, Delivery, Outcome
from state.outputs import Trigger

REMEMBERED: Final = 50_000
"""So many outcomes a partition are remembered, over restarts too, to tell a repeated trigger by; a hundred bytes each."""

_SKEW: Final = 60 * SECOND
"""How far the clocks of the brokers of triggers and of deliveries are apart at most."""

_number: Final = attrgetter("number")


class Stage(Enum):
    """Where a trigger stands."""

    WAITING = auto()
    UNDER_WAY = auto()
    """A call was made, or was about to be when the process died."""
    ENDED = auto()


class _Entry(NamedTuple):
    """Where something that has no outcome yet stands in the triggers.

    Args:
        number: counts what was read.
        before: from where a reader goes on that finds it first.
        since: how many outcomes there were before any record about it, or about a later one, could be written.
    """

    number: int
    before: str | None
    since: int


class Case(msgspec.Struct, eq=False):
    """One trigger that has no outcome yet. Its bytes are decoded when they are needed: there may be very many."""

    trigger_id: str
    value: bytes
    due: int
    expires_at: int
    campaign_id: str
    stage: Stage = Stage.WAITING
    attempts: int = 0
    first_at: int = 0
    provider: str = ""
    cancelled_by: str = ""
    """The id of a `cancel` that came while a call was under way."""
    is_in_doubt: bool = False
    """A call may have been accepted, for its answer was lost. That the provider is busy now says nothing of it."""
    entry: _Entry = _Entry(0, None, 0)


class _Told(NamedTuple):
    """What an earlier process wrote last of a trigger that has no outcome."""

    stage: Stage
    attempts: int
    first_at: int
    not_before: int
    provider: str


class _Mark(NamedTuple):
    """Where the deliveries stood after so many outcomes."""

    outcomes: int
    place: str | None


class Docket:
    """The open cases of one partition, in the order of their triggers.

    Args:
        after: from where the triggers are read.
        recalled_from: from where the deliveries are recalled.
        opened_at: when this process took over, by the log's clock; what was appended well after it, no earlier one has seen.
        remembered: how many outcomes to remember.
    """

    def __init__(
        self, after: str | None, recalled_from: str | None, opened_at: int, remembered: int = REMEMBERED
    ) -> None:
        self._after, self._opened_at, self._remembered = after, opened_at, remembered
        self._read = 0
        self._cases: dict[str, Case] = {}
        self._owed: dict[str, _Entry] = {}
        self._recalled: set[str] = set()
        self._ended: dict[str, None] = {}
        self._told: dict[str, _Told] = {}
        self._caught_up = False  # with what earlier processes have read
        self._outcomes = 0
        self._marks = deque([_Mark(0, recalled_from)])

    @property
    def resumes(self) -> tuple[str | None, str | None]:
        """Say from where triggers and deliveries must be read by whoever goes on.

        The triggers: after the last one up to which all have outcomes that are durable. The deliveries: so that whatever was
        written of the others is among them, and so are the outcomes to remember.
        """
        oldest = _Entry(self._read, self._after, self._outcomes)
        for entry in (*(case.entry for case in islice(self._cases.values(), 1)), *islice(self._owed.values(), 1)):
            oldest = min(oldest, entry, key=_number)
        needed = min(oldest.since, self._outcomes - self._remembered) if self._caught_up else 0
        while len(self._marks) > 1 and self._marks[1].outcomes <= needed:
            self._marks.popleft()
        return oldest.before, self._marks[0].place

    @property
    def open(self) -> int:
        """Count the cases without an outcome."""
        return len(self._cases)

    def took_over(self, at: int) -> None:
        """Correct when this process took over: its own clock may differ from the log's by hours."""
        self._opened_at = at

    def find(self, trigger_id: str) -> Case | None:
        """Find an open case."""
        return self._cases.get(trigger_id)

    def recall(self, record: Delivery, place: str) -> None:
        """Take in what an earlier process wrote, oldest first, before any trigger is added; `place` is the place after it."""
        match record:
            case Attempt(id_, provider, number, at):
                first = self._told[id_].first_at if id_ in self._told else at
                self._told[id_] = _Told(Stage.UNDER_WAY, number, first, 0, provider)
            case Deferral(id_, provider, number, at, not_before):
                first = self._told[id_].first_at if id_ in self._told else at
                self._told[id_] = _Told(Stage.WAITING, number, first, not_before, provider)
            case Outcome():
                self._told.pop(record.trigger_id, None)
                # Kept apart: an outcome whose trigger is still to be read again must not be forgotten for newer ones.
                self._recalled.add(record.trigger_id)
                self._count(place)

    def add(self, trigger: Trigger, value: bytes, after: str, log_time: int) -> Case | None:
        """Open a case for a trigger that was read; None for one that is open or has its outcome already."""
        id_ = trigger.trigger_id
        due, expires_at = from_iso(trigger.send_at), from_iso(trigger.expires_at)
        self._caught_up = self._caught_up or log_time > self._opened_at + _SKEW
        entry = self._entered(after)
        if self.has_ended(id_) or id_ in self._cases:
            return None
        case = Case(id_, value, due, expires_at, trigger.campaign_id, entry=entry)
        told = self._told.pop(id_, None)
        if told is not None:
            case.stage, case.attempts, case.first_at, not_before, case.provider = told
            case.due = max(case.due, not_before)
            case.is_in_doubt = case.stage is Stage.UNDER_WAY
        self._cases[id_] = case
        return case

    def owe(self, id_: str, after: str) -> bool:
        """Pass over an entry that opens no case; tell whether its outcome is still to be written."""
        entry = self._entered(after)
        if self.has_ended(id_) or id_ in self._owed:
            return False
        self._owed[id_] = entry
        return True

    def has_ended(self, id_: str) -> bool:
        """Tell whether a trigger, or a `cancel`, has its outcome."""
        return id_ in self._ended or id_ in self._recalled

    def end(self, id_: str, place: str) -> None:
        """Close a case, or that of a `cancel`; its outcome is durable, and `place` is after it."""
        self._owed.pop(id_, None)
        case = self._cases.pop(id_, None)
        if case is not None:
            case.stage, case.value = Stage.ENDED, b""
        self._ended[id_] = None
        if len(self._ended) > self._remembered:
            del self._ended[next(iter(self._ended))]
        self._count(place)

    def __iter__(self) -> Iterator[Case]:
        """Go through the open cases, oldest first."""
        return iter(tuple(self._cases.values()))

    def _entered(self, after: str) -> _Entry:
        entry = _Entry(self._read, self._after, self._outcomes if self._caught_up else 0)
        self._read, self._after = self._read + 1, after
        return entry

    def _count(self, place: str) -> None:
        self._outcomes += 1
        if self._outcomes % max(1, self._remembered // 50) == 0:
            self._marks.append(_Mark(self._outcomes, place))
