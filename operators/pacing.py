"""How fast a provider is called, when again, and when not at all. Pure: `now` is an argument, microseconds UTC.

Jitter is drawn from the trigger's id, not from chance: the same trigger waits equally long every time, and different ones
do not come back all at once.
"""

from hashlib import blake2b
from typing import Final

from state.clock import MINUTE, SECOND

FIRST_PAUSE: Final = 1 * SECOND
LONGEST_PAUSE: Final = 10 * MINUTE
_SET_BACK: Final = 1 * MINUTE
"""A clock that goes back by more was wrong before; one that goes back by less is waited for."""


def next_try(trigger_id: str, number: int, now: int, retry_after: float | None = None) -> int:
    """Say when a letter may be tried again after its `number`-th attempt: twice as late each time, less up to half of it.

    A provider that names a time is taken at its word, up to LONGEST_PAUSE.
    """
    pause = min(FIRST_PAUSE << min(number - 1, 20), LONGEST_PAUSE)
    drawn = int.from_bytes(blake2b(f"{trigger_id}/{number}".encode(), digest_size=4).digest(), "big") / 2**32
    pause -= int(pause * drawn / 2)
    if retry_after is not None:
        pause = max(pause, min(int(retry_after * SECOND), LONGEST_PAUSE))
    return now + pause


class TokenBucket:
    """At most `rate` calls a second, and `burst` at once after a rest."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, max(burst, 1.0)
        self._tokens, self._at = self._burst, 0

    def take(self, now: int) -> int:
        """Take a token, and return from when on it is good: now, or later where it had to be borrowed."""
        if now < self._at - _SET_BACK:
            self._at = now
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate / SECOND)
            self._at = now
        self._tokens -= 1.0
        return self._at if self._tokens >= 0 else self._at + int(-self._tokens * SECOND / self._rate)


class Breaker:
    """Opens after `failures` in a row, then lets one call through now and then, until one succeeds.

    It rests for `rest` at first and twice as long after each call that failed, up to `longest`.
    """

    def __init__(self, failures: int = 10, rest: int = 1 * SECOND, longest: int = 30 * SECOND) -> None:
        self._limit, self._rest, self._longest = failures, rest, longest
        self._failed = 0
        self._resting = rest
        self._rests_until = 0
        self._looks = False

    @property
    def is_open(self) -> bool:
        """Tell whether calls are held back."""
        return self._failed >= self._limit

    def allows(self, now: int) -> int:
        """Say from when on a call may be made, and if that is now, count it as the one that looks whether all is well."""
        if not self.is_open:
            return now
        self._rests_until = min(self._rests_until, now + self._resting)  # the clock may have been set back
        if now < self._rests_until:
            return self._rests_until
        self._rests_until, self._looks = now + self._resting, True
        return now

    def heard(self, now: int, *, well: bool) -> None:
        """Take note of how a call went: an answer of any kind is well, unless the provider could not take letters."""
        if well:
            self._failed, self._resting = 0, self._rest
            return
        self._failed += 1
        if self._failed == self._limit:
            self._rests_until = now + self._resting
        elif self._looks:
            self._resting = min(self._resting * 2, self._longest)
            self._rests_until = now + self._resting
        self._looks = False
