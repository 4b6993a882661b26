"""How long a source rests once its log is read to the end."""

from datetime import UTC, datetime, timedelta
from typing import Final

SHORTEST: Final = timedelta(milliseconds=1)
LONGEST: Final = timedelta(milliseconds=10)
_EACH: Final = timedelta(microseconds=125)


class Idling:
    """The rest between two looks at an idle partition, shared by all that one process reads.

    A look at nothing costs some microseconds, so eight partitions are looked at every millisecond, more of them less often.
    """

    def __init__(self) -> None:
        self._partitions = 0
        self._rest = SHORTEST

    def opened(self) -> None:
        """Take one more partition into account."""
        self._partitions += 1
        self._rest = min(max(self._partitions * _EACH, SHORTEST), LONGEST)

    def until(self) -> datetime:
        """Say when to look again."""
        return datetime.now(tz=UTC) + self._rest
