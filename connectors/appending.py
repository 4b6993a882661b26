"""What the collector asks of a log, whichever transport it is on: append a batch, and say when it is kept."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One record to append: the person whose it is, its bytes, and the W3C trace context that it came with."""

    key: str
    value: bytes
    traceparent: str | None = None


class Place(NamedTuple):
    """Where in the log a record stands."""

    partition: int
    position: str


class Unavailable(Exception):
    """Nothing can be appended now; the sender keeps what it has and comes back after `retry_after` seconds."""

    retry_after = 1


class Away(Unavailable):
    """The log cannot be reached, or does not answer in time. What was under way may have been appended or not."""


class Full(Unavailable):
    """More waits to be appended than memory was set aside for."""


def admitted(entries: Sequence[Entry], *, reachable: bool, waiting: int, limit: int) -> int:
    """Let a batch in, and return its bytes. Raises Away, or Full where `waiting` bytes and these are more than `limit`."""
    if not reachable:
        raise Away("the log cannot be reached")
    size = sum(len(entry.value) for entry in entries)
    if waiting + size > limit:
        raise Full(f"{waiting} bytes wait to be appended")
    return size


class Appender(Protocol):
    """A log that can be appended to from one event loop by many at once."""

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        """Append records in their order, and return their places once the log has acknowledged all of them.

        A batch is not atomic: when this raises, any part of it may be in the log. Senders repeat it with the same message
        ids, which the fold takes once. Raises Unavailable, at once where that is known already.
        """

    @property
    def is_ready(self) -> bool:
        """Tell whether the log answered last time, and there is room."""

    async def close(self) -> None:
        """Append what waits, then let go of the log."""
