"""Timers: whom to look at next, and when.

Those of the quarters of an hour that have begun stand in a heap, in order of their times; those of a later one in a plain
list, which is sorted into the heap when its quarter begins. Most timers are days away, and a list's place takes a tenth of
the memory that one in the heap does, and is never moved. Times are log time, microseconds UTC.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from state.packing import QUARTER, due

_NEVER: Final = 2**62
_FEW: Final = 64
"""A list or heap of fewer is not looked through for what is outdated."""


class Timers:
    """When something is due for the people of one shard. `due_of` says it of each as of now, 0 for nothing.

    Whatever else stands here is outdated, and passed over: somebody's time may have changed, or they are gone. An entry is
    added whenever a time becomes an earlier one, and removed by nobody; so lists and heap are cleared when they have doubled.
    """

    def __init__(self, due_of: Callable[[str], int]) -> None:
        self._due_of = due_of
        self._heap: list[tuple[int, str]] = []
        self._heap_most = _FEW
        self._later: dict[int, list[str]] = {}
        self._most: dict[int, int] = {}
        self._next = _NEVER
        self._begun = 0

    @property
    def idle_until(self) -> int:
        """Say up to when certainly nothing is due."""
        return min(self._heap[0][0], self._next) if self._heap else self._next

    def add(self, key: str, at: int) -> int:
        """Note that somebody's time is earlier than before; return up to when certainly nothing of it is due."""
        quarter = at // QUARTER
        if quarter < self._begun:
            heapq.heappush(self._heap, (at, key))
            if len(self._heap) > self._heap_most:
                self._clear_heap()
            return at
        self._append(quarter, key)
        return quarter * QUARTER

    def fill(self, people: dict[str, bytes]) -> int:
        """Note the times of all who are packed, after a restart; return how many of them have one."""
        later = defaultdict(list, self._later)
        for key, packed in people.items():
            if at := due(packed):
                later[at // QUARTER].append(key)
        self._later = dict(later)
        self._find_next()
        return sum(map(len, later.values()))

    def take(self, horizon: int) -> tuple[int, str] | None:
        """Take out who is due first before `horizon`, by time, then key; begin the quarters before it."""
        heap = self._heap
        while True:
            if self._next < horizon and (not heap or self._next <= heap[0][0]):
                self._begin()
            elif not heap or heap[0][0] >= horizon:
                return None
            else:
                first = heapq.heappop(heap)
                if self._due_of(first[1]) == first[0]:
                    return first

    def _begin(self) -> None:
        quarter = self._next // QUARTER
        self._begun = quarter + 1
        self._most.pop(quarter, None)
        self._heap += [(self._due_of(key), key) for key in self._valid(quarter, self._later.pop(quarter))]
        heapq.heapify(self._heap)
        self._heap_most = max(self._heap_most, 2 * len(self._heap))
        self._find_next()

    def _find_next(self) -> None:
        self._next = min(self._later) * QUARTER if self._later else _NEVER

    def _append(self, quarter: int, key: str) -> None:
        keys = self._later.get(quarter)
        if keys is None:
            self._later[quarter] = [key]
            self._next = min(self._next, quarter * QUARTER)
            return
        keys.append(key)
        if len(keys) > _FEW and len(keys) > self._most.get(quarter, _FEW):
            self._later[quarter] = self._valid(quarter, keys)
            self._most[quarter] = 2 * len(self._later[quarter])

    def _valid(self, quarter: int, keys: list[str]) -> list[str]:
        due_of = self._due_of
        return [key for key in dict.fromkeys(keys) if due_of(key) // QUARTER == quarter]

    def _clear_heap(self) -> None:
        self._heap[:] = sorted({entry for entry in self._heap if self._due_of(entry[1]) == entry[0]})
        self._heap_most = max(_FEW, 2 * len(self._heap))
