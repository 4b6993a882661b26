"""Retention: on which midnight to look whether somebody may be forgotten."""

from collections.abc import Iterable
from typing import Final

from state.clock import DAY

NEVER: Final = 2**62 * DAY
"""A midnight that does not come."""


class Calendar:
    """The people of a shard by the day on which to look at them again.

    `looked_day` is the last one that was looked at: a restored shard goes on after it.
    """

    def __init__(self, looked_day: int = 0) -> None:
        self.looked_day = looked_day
        self.next_midnight = NEVER
        self._days: dict[int, list[str]] = {}

    def enter(self, at: int, keys: Iterable[str]) -> None:
        """Put people down for the first midnight after `at`, and after those that were looked at."""
        day = max(at // DAY, self.looked_day) + 1
        self._days.setdefault(day, []).extend(keys)
        self.next_midnight = min(self.next_midnight, day * DAY)

    def take(self) -> list[str]:
        """Take out the people of the next midnight, in order of their keys, whatever restarts there were."""
        self.looked_day = self.next_midnight // DAY
        keys = self._days.pop(self.looked_day)
        self._find_next()
        return sorted(keys)

    def strike(self, key: str) -> None:
        """Forget that somebody was entered, which takes a look at everybody."""
        self._days = {day: kept for day, keys in self._days.items() if (kept := [k for k in keys if k != key])}
        self._find_next()

    def _find_next(self) -> None:
        self.next_midnight = min(self._days) * DAY if self._days else NEVER
