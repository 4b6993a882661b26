"""What a resumed writer finds written already: ids to skip when the replay brings them, and from where the next resume reads.

A replay brings what it brings in the order in which it was written. Until it has brought all, a snapshot must not say that
all is behind it: after a second crash the next resume would know nothing of what was still to come, and write it twice.
"""

from typing import Generic, TypeVar

Place = TypeVar("Place", int, str)


class ReadBack(Generic[Place]):
    """The entries after a snapshot, oldest first."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._places: list[Place] = []
        self._brought = 0

    def found(self, id_: bytes, place: Place) -> None:
        """Take note of an entry, and of the place from which reading on finds it first."""
        self._number[id_] = len(self._places)
        self._places.append(place)

    def brings(self, id_: bytes) -> bool:
        """Tell whether what is brought stands there already; all that was written before it has been brought, or never will."""
        number = self._number.get(id_)
        if number is None:
            return False
        self._brought = max(self._brought, number + 1)
        return True

    def safe(self, end: Place) -> Place:
        """Say from where the next resume must read: before the first entry still to come, else from `end`."""
        return self._places[self._brought] if self._brought < len(self._places) else end
