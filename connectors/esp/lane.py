"""One provider's lane: its queue, its pace and its breaker. A provider that is dead or slow holds up its own lane alone."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

from connectors.esp.protocol import Esp
from operators.docket import Case, Stage
from operators.pacing import LONGEST_PAUSE, Breaker, TokenBucket
from state.clock import SECOND
from state.letters import Answer, Letter, Verdict

_LOOK: Final = SECOND // 10
_FRAMES: Final = 6
_log: Final = logging.getLogger("waxmark.delivery")


class Pace(NamedTuple):
    """How a provider may be called: calls a second, at once after a rest, under way at a time; when to give up, in seconds.

    `give_up_after` counts from the first attempt. It ends before the provider forgets the keys that make repeating safe.
    """

    rate: float = 50.0
    burst: float = 50.0
    concurrency: int = 16
    give_up_after: float = 4 * 3600.0


class Queued(NamedTuple):
    """A case whose time has come, and its partition."""

    partition: int
    case: Case


class Lane:
    """Cases for one provider. `clock` gives the time in microseconds UTC."""

    def __init__(self, name: str, provider: Esp, pace: Pace, clock: Callable[[], int]) -> None:
        self.name, self.provider, self.pace = name, provider, pace
        self._clock = clock
        self._bucket, self._breaker = TokenBucket(pace.rate, pace.burst), Breaker()
        self._queue: asyncio.Queue[Queued | None] = asyncio.Queue()
        self._rests_until = 0
        self._closing = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Tell whether the breaker holds calls back."""
        return self._breaker.is_open

    def put(self, queued: Queued) -> None:
        """Queue a case."""
        self._queue.put_nowait(queued)

    @property
    def rests_until(self) -> int:
        """Say from when on the provider may be called, by its own word; never long, though the clock be put right meanwhile."""
        self._rests_until = min(self._rests_until, self._clock() + LONGEST_PAUSE)
        return self._rests_until

    async def next(self) -> Queued | None:
        """Wait for a case that is still open, and until it may be called for; None when the lane closes."""
        while not self._closing.is_set():
            queued = await self._queue.get()
            if queued is None or queued.case.stage is Stage.ENDED:
                continue
            await self._until(max(self._bucket.take(self._clock()), self.rests_until))
            while (allowed := self._breaker.allows(now := self._clock())) > now and not self._closing.is_set():
                await self._until(min(allowed, now + _LOOK))  # the breaker may close before
            if not self._closing.is_set():
                return queued
        return None

    async def send(self, letter: Letter) -> Answer:
        """Call the provider, and let the breaker hear of it."""
        try:
            answer = await self.provider.send(letter)
        except Exception as error:  # noqa: BLE001 - a bug in one connector must not stop the others; it is logged
            _log.error("a provider's connector failed", extra={"provider": self.name} | where(error))
            answer = Answer(Verdict.AMBIGUOUS, f"the connector failed: {type(error).__name__}")
        was_held, now = self.is_held, self._clock()
        if answer.retry_after is not None:  # what it says of one call holds for all
            self._rests_until = max(self._rests_until, now + min(int(answer.retry_after * SECOND), LONGEST_PAUSE))
        self._breaker.heard(now, well=answer.verdict not in {Verdict.RETRY, Verdict.AMBIGUOUS})
        if self.is_held != was_held:
            told = "a provider is held back" if self.is_held else "a provider is back"
            _log.warning(told, extra={"provider": self.name, "reason": answer.reason})
        return answer

    def close(self) -> None:
        """Let whoever waits for a case go; what is queued stays open for the next process."""
        self._closing.set()
        for _ in range(self.pace.concurrency):
            self._queue.put_nowait(None)

    async def _until(self, when: int) -> None:
        wait = (when - self._clock()) / SECOND
        if wait > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), wait)


def where(error: Exception) -> dict[str, str]:
    """Say what a bug was and where, for a log; not what it said, which may be of a person."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "at": " < ".join(f"{f.filename}:{f.lineno}" for f in frames[:-_FRAMES:-1])}
