"""The job of JOB.md for one person, for contenders written in Python. Needs msgspec alone: peers run it in venvs of their own.

Times are milliseconds. `take` does first what fell due before the record, so that it is right with and without timers.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

START: Final = 1_767_225_600_000
STEP: Final = 50
GAP: Final = 30 * 60_000
CLOSES: Final = GAP + 60_000
WAIT: Final = 60 * 60_000
FUTURE: Final = 60 * 60_000
REMEMBERED: Final = 128
NEVER: Final = 1 << 62

ADDED: Final = "Product Added"
ORDERED: Final = "Order Completed"
VIEWED: Final = "Product Viewed"


class Properties(msgspec.Struct, gc=False):
    """The two properties that are looked at."""

    product_id: str | None = None
    order_id: str | None = None


class Message(msgspec.Struct, rename="camel", gc=False):
    """What the job reads of a message."""

    type: Literal["track"]
    message_id: Annotated[str, Meta(min_length=1, max_length=100)]
    user_id: Annotated[str, Meta(min_length=1, max_length=255)]
    event: Annotated[str, Meta(min_length=1, max_length=255)]
    timestamp: Annotated[datetime, Meta(tz=True)]
    properties: Properties


_decode: Final = msgspec.json.Decoder(Message).decode


def read(value: bytes | str, now: int) -> tuple[Message, int] | None:
    """Read a record that was appended at `now`; None if it is to be rejected. Returns the message and its event time."""
    try:
        message = _decode(value)
    except ValueError:
        return None
    time = round(message.timestamp.timestamp() * 1000)
    event, properties = message.event, message.properties
    needed = properties.order_id if event == ORDERED else properties.product_id if event in {ADDED, VIEWED} else "-"
    return (message, time) if needed and time <= now + FUTURE else None


class Counts(msgspec.Struct):
    """The four figures that all contenders must agree in."""

    sessions: int = 0
    abandonments: int = 0
    duplicates: int = 0
    rejects: int = 0


class Person:
    """One person's state.

    `open` holds sessions as [start, end, last arrival, events]; `due` is the time of a cart's abandonment, NEVER without one.
    """

    __slots__ = ("added_at", "due", "open", "ordered_at", "seen")

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        self.open: list[list[int]] = []
        self.due, self.added_at, self.ordered_at = NEVER, 0, 0

    def take(self, counts: Counts, message_id: str, event: str, time: int, now: int) -> None:
        """Take in an event that was appended at `now`."""
        self.wake(counts, now)
        seen = self.seen
        if message_id in seen:
            counts.duplicates += 1
            return
        seen[message_id] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        self.visit(time, now)
        if event == ADDED:
            self.added(time, now + WAIT)
        elif event == ORDERED:
            self.ordered(time)

    def added(self, time: int, due: int) -> None:
        """Open a cart, or put its abandonment off; one that was ordered since is not opened."""
        if self.due != NEVER:
            self.due, self.added_at = due, max(self.added_at, time)
        elif time > self.ordered_at:
            self.due, self.added_at = due, time

    def ordered(self, time: int) -> None:
        """Buy what was added up to the order."""
        self.ordered_at = max(self.ordered_at, time)
        if self.added_at <= time:
            self.due = NEVER

    def visit(self, time: int, now: int) -> None:
        """Extend, join or open a session."""
        near = [s for s in self.open if s[0] - GAP <= time <= s[1] + GAP]
        if not near:
            self.open.append([time, time, now, 1])
            return
        first = near[0]
        first[:] = [min(first[0], time), max(first[1], time), now, first[3] + 1]
        for other in near[1:]:
            first[:] = [min(first[0], other[0]), max(first[1], other[1]), now, first[3] + other[3]]
            self.open.remove(other)

    def wake(self, counts: Counts, now: int) -> None:
        """Do what is due before `now`."""
        if self.due < now:
            self.due = NEVER
            counts.abandonments += 1
        for session in [s for s in self.open if s[2] + CLOSES < now]:
            self.open.remove(session)
            counts.sessions += 1

    def next(self) -> int:
        """Say when something is due next; NEVER if nothing is."""
        return min([self.due, *(s[2] + CLOSES for s in self.open)])

    def packed(self) -> list[Any]:
        """Write the state down as plain lists."""
        return [list(self.seen), self.open, self.due, self.added_at, self.ordered_at]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> "Person":
        """Read what `packed` wrote."""
        person = cls()
        seen, person.open, person.due, person.added_at, person.ordered_at = packed
        person.seen = dict.fromkeys(seen)
        return person
