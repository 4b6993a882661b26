"""A shard: everything known of one partition's people, what is due for them, and how that becomes bytes.

People are packed bytes until a record or a timer touches them, and are packed again at the next snapshot: the live state and
the restored one are the same by construction, and a person who is not there costs no decoding.
"""

import heapq
from collections.abc import Iterator
from typing import Final

import msgspec

from state import upcasts
from state.clock import DAY
from state.people import Person
from state.wire import Model

_encode: Final = msgspec.msgpack.Encoder().encode
_person: Final = msgspec.msgpack.Decoder(Person)


class Snapshot(msgspec.Struct, array_like=True):
    """The storage form of a shard. Append fields with defaults; a change of meaning takes a new version and an upcast."""

    version: int
    partition: int
    log_time: int
    people: dict[str, bytes]
    wakes: dict[str, int]
    calendar: dict[int, list[str]]
    campaigns: dict[str, tuple[str, bytes]]
    models: dict[str, Model]
    carts_open: int


_snapshot: Final = msgspec.msgpack.Decoder(Snapshot)


class Shard:
    """The state of the fold over one partition.

    `log_time` is the append time of the last record. `wakes` says of each person with something due when to look at them
    next: at the latest at that time, maybe in vain. The heap behind it may hold outdated entries, which are skipped, and
    rebuilt away when they outnumber the valid ones. `live` holds the people who were touched since the last snapshot, for a
    look that costs no call; `find` knows all.
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.log_time = 0
        self.campaigns: dict[str, tuple[str, bytes]] = {}
        self.models: dict[str, Model] = {}
        self.carts_open = 0
        self._packed: dict[str, bytes] = {}
        self.live: dict[str, Person] = {}
        self.wakes: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._calendar: dict[int, list[str]] = {}
        self._next_day = 2**62

    def __len__(self) -> int:
        return len(self._packed) + len(self.live)

    @property
    def timers(self) -> int:
        """Count the people for whom something is due."""
        return len(self.wakes)

    def find(self, key: str) -> Person | None:
        """Look a person up, unpacking them if they were not touched since the last snapshot."""
        person = self.live.get(key)
        if person is None:
            packed = self._packed.pop(key, None)
            if packed is None:
                return None
            person = self.live[key] = _person.decode(packed)
        return person

    def add(self, key: str, person: Person, look_again: int) -> None:
        """Remember a person, and look on the day of `look_again` whether they may be forgotten."""
        self.live[key] = person
        self.look_again(key, look_again)

    def look_again(self, key: str, at: int) -> None:
        """Put a person into the calendar for the first midnight after `at`."""
        day = at // DAY + 1
        self._calendar.setdefault(day, []).append(key)
        self._next_day = min(self._next_day, day)

    def forget(self, key: str) -> None:
        """Forget a person and what was due for them; their place in the calendar lapses by itself."""
        self.live.pop(key, None)
        self._packed.pop(key, None)
        self.wakes.pop(key, None)

    def erase(self, key: str) -> None:
        """Forget a person and their place in the calendar, which takes a look at all of it."""
        self.forget(key)
        self._calendar = {day: kept for day, keys in self._calendar.items() if (kept := [k for k in keys if k != key])}
        self._next_day = min(self._calendar, default=2**62)

    def wake(self, key: str, due: int | None) -> None:
        """Say when something is next due for a person; None when nothing is."""
        known = self.wakes.get(key)
        if due is None:
            if known is not None:
                del self.wakes[key]
        elif known is None or due < known:
            self.wakes[key] = due
            heapq.heappush(self._heap, (due, key))
            if len(self._heap) > 2 * len(self.wakes) + 1000:
                self._heap = [(at, k) for k, at in self.wakes.items()]
                heapq.heapify(self._heap)

    def is_due(self, key: str) -> bool:
        """Tell whether anything is still to come for a person."""
        return key in self.wakes

    def is_idle_before(self, horizon: int) -> bool:
        """Tell, at the cost of two comparisons, that nothing is due before a time."""
        return self._next_day * DAY >= horizon and (not self._heap or self._heap[0][0] >= horizon)

    def due_before(self, horizon: int) -> Iterator[tuple[int, str | None]]:
        """Yield what is due before `horizon`, in order of time, then key: (time, person), or (midnight, None).

        A person is yielded at the time that was noted first, and must be woken anew; a later time set meanwhile makes that
        an empty look. Anything added while iterating takes its turn.
        """
        while True:
            while self._heap and self.wakes.get(self._heap[0][1]) != self._heap[0][0]:
                heapq.heappop(self._heap)
            midnight = self._next_day * DAY
            at = self._heap[0][0] if self._heap else 2**62
            if min(at, midnight) >= horizon:
                return
            if midnight <= at:
                yield midnight, None
            else:
                _, key = heapq.heappop(self._heap)
                del self.wakes[key]
                yield at, key

    def keys_of_the_day(self) -> list[str]:
        """Take the calendar's first day: those to look at again."""
        keys = self._calendar.pop(self._next_day)
        self._next_day = min(self._calendar, default=2**62)
        return keys

    def snapshot(self) -> bytes:
        """Write the shard down, and pack everybody."""
        for key, person in self.live.items():
            self._packed[key] = _encode(person)
        self.live.clear()
        return _encode(
            Snapshot(
                upcasts.VERSION,
                self.partition,
                self.log_time,
                self._packed,
                self.wakes,
                self._calendar,
                self.campaigns,
                self.models,
                self.carts_open,
            )
        )

    @classmethod
    def restore(cls, data: bytes) -> "Shard":
        """Read a snapshot of this or any earlier version. Raises upcasts.UnknownVersion for a later one."""
        saved = _snapshot.decode(upcasts.to_current(data))
        shard = cls(saved.partition)
        shard.log_time = saved.log_time
        shard.campaigns, shard.models, shard.carts_open = saved.campaigns, saved.models, saved.carts_open
        shard._packed, shard.wakes, shard._calendar = saved.people, saved.wakes, saved.calendar
        shard._heap = [(at, key) for key, at in saved.wakes.items()]
        heapq.heapify(shard._heap)
        shard._next_day = min(saved.calendar, default=2**62)
        return shard
