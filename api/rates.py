"""Rate limits: a token bucket for each key."""

from typing import Final

SECOND: Final = 1_000_000


class Bucket:
    """Lets `rate` through a second on average, and `burst` at once; `rate` 0 lets everything through."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0

    def take(self, count: int, now: int) -> float:
        """Take `count` at `now` (microseconds) and return 0; or take none, and return the seconds to wait.

        What is larger than `burst` passes when the bucket is full, and is paid for afterwards.
        """
        if not self._rate:
            return 0.0
        self._left = min(self._burst, self._left + max(now - self._at, 0) / SECOND * self._rate)
        self._at = now
        missing = min(count, self._burst) - self._left
        if missing > 0:
            return missing / self._rate
        self._left -= count
        return 0.0
