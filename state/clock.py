"""Times as integers: microseconds since 1970, UTC. No function here reads a clock."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

NEVER: Final = 2**62
"""A due time that no log reaches; small enough to add a duration to and stay in 64 bits."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = _EPOCH.replace(tzinfo=None)


def to_micros(moment: datetime) -> int:
    """Convert an aware datetime to microseconds UTC, exactly (no float on the way).

    A naive datetime is read as UTC, as Segment's libraries that omit the zone mean it.
    """
    since = moment - (_NAIVE_EPOCH if moment.tzinfo is None else _EPOCH)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def to_iso(micros: int) -> str:
    """Write microseconds UTC as ISO 8601 with milliseconds and a Z, the form that Segment and ESPs use."""
    second = micros // SECOND
    return f"{_minute(second // 60)}{_SECONDS[second % 60]}{_FRACTIONS[micros // MILLISECOND % 1000]}"


def to_datetime(micros: int) -> datetime:
    """Convert microseconds UTC to an aware datetime."""
    return _EPOCH + timedelta(microseconds=micros)


def from_iso(text: str) -> int:
    """Read what `to_iso` wrote. Raises ValueError."""
    return to_micros(datetime.fromisoformat(text))


_SECONDS: Final = tuple(f"{second:02d}" for second in range(60))
_FRACTIONS: Final = tuple(f".{fraction:03d}Z" for fraction in range(1000))


@lru_cache(maxsize=16_384)  # eleven days: what is written lies in the last hours, or some days ahead
def _minute(minute: int) -> str:
    return (_NAIVE_EPOCH + timedelta(minutes=minute)).isoformat()[:-2]
