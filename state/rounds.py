"""Rounds: everybody is written into their shard's journal anew, little by little, so that what is old in it can go.

When a round ends, what was written since it began is all there is to keep.
"""

from typing import Final

from state.packing import Packing

ROUND: Final = 360
"""So many snapshots after a round, an hour at one in ten seconds, the next one begins; it takes as many at most."""

SLACK: Final = 10_000
"""A round begins at once when the journal holds so many entries more than there are people."""

EARLY: Final = 100
"""So many people at least make a chunk of the journal between two snapshots: each takes a write of its own."""

_OVERGROWN: Final = 8
"""A journal of so many entries for each person is written anew at once: its worker restarts too often to end a round."""

_PLAIN: Final = 1
"""The largest first byte of somebody who is not compressed."""


class Rounds:
    """When a shard's journal is written anew, and to whom the round has still to come.

    Where nothing of it stands in a journal, `is_journaled` is false, and the next round is over at once.
    """

    def __init__(self) -> None:
        self.is_journaled = True
        self._left: list[str] | None = None
        self._snapshots = self._entries = 0
        self._rewritten: dict[str, bytes] = {}

    def count(self, entries: int) -> None:
        """Count entries of the journal, as they are read or written."""
        self._entries += entries

    def resume(self, people: int, *, is_journaled: bool) -> None:
        """Go on with the journal that was read; with a new one if it holds nothing of all this, or far too much."""
        self.is_journaled = is_journaled and self._entries <= _OVERGROWN * people + SLACK

    def rewrite(self, people: dict[str, bytes]) -> None:
        """Have people written with the next changes."""
        self._rewritten |= people

    def forget(self, key: str) -> None:
        """Have somebody not written who is gone."""
        self._rewritten.pop(key, None)

    def begin(self, packed: dict[str, bytes], people: int) -> bool:
        """Begin a round where it is time for one, and the journal holds anything that is old: an idle shard rests."""
        is_crowded = self._entries > people + SLACK
        is_old = self._snapshots >= ROUND and self._entries > people
        if self.is_journaled and (self._left is not None or not (is_crowded or is_old)):
            return False
        self._left, self._snapshots, self._entries = list(packed), 0, 0
        return True

    def share(self, people: int) -> int:
        """Say how many people of a round go with one snapshot."""
        return people // ROUND + 1 if self.is_journaled else people

    def go(self, people: int, packed: dict[str, bytes], packing: Packing, now: int) -> None:
        """Have so many further people written, and compress those who have gone cold by log time `now`."""
        if not self._left or people <= 0:
            return
        rewritten, cold_before = self._rewritten, packing.cold_before(now)
        for key in self._left[-people:]:
            entry = packed.get(key)
            if entry is None:  # they are touched, and among the changes anyway, or gone
                continue
            if entry[1:4] < cold_before and entry[0] <= _PLAIN:
                entry = packed[key] = packing.compressed(entry)
            rewritten[key] = entry
        del self._left[-people:]

    @property
    def has_many(self) -> bool:
        """Tell whether so many are to be written that a chunk of the journal before the next snapshot is worth it."""
        return len(self._rewritten) >= EARLY and self.is_journaled

    def take(self) -> dict[str, bytes]:
        """Take out who is to be written now."""
        people, self._rewritten = self._rewritten, {}
        return people

    def snapshotted(self) -> bool:
        """Count a snapshot, which wrote who was left; tell whether it ends a round."""
        self.is_journaled = True
        self._snapshots += 1
        ends = self._left is not None and not self._left
        if ends:
            self._left = None
        return ends
