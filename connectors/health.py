"""Whether a worker lives and is ready, as `/healthz` and `/readyz` beside the metrics say it.

Live: its loop moves. An orchestrator restarts what does not live, so a broker that is away is no reason: a restart would not
bring it back. Ready: every partition has been resumed, and what was read last is younger than the limit.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from connectors.metrics import LAG, LAST_LOOK
from connectors.recorder import Metrics
from state.clock import SECOND

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Verdict(NamedTuple):
    """An answer and its reason, for the person who reads the probe's output."""

    holds: bool
    reason: str


class Health:
    """What one process knows of its own health. The worker's thread reports, others ask; times are microseconds UTC.

    Args:
        metrics: the recorder in which the source says where reading stands.
        stall: for how long the loop may stand still; longer than the longest snapshot takes.
        lag: how old the last record read may be, where more waits in the log.
    """

    def __init__(self, metrics: Metrics, stall: int = 60 * SECOND, lag: int = 120 * SECOND) -> None:
        self._metrics, self._stall, self._lag = metrics, stall, lag
        self._partitions: set[str] = set()
        self._moved: int | None = None
        self._ending = False

    def opened(self, partition: int) -> None:
        """Report that a partition was given to this process, with its state as the last snapshot has it."""
        # A new set, as another thread may be going through the old one.
        self._partitions = self._partitions | {str(partition)}

    def moved(self, now: int) -> None:
        """Report that the loop has come round."""
        self._moved = now

    def ending(self) -> None:
        """Report that a stop was asked for: the loop rests while the last snapshot is written."""
        self._ending = True

    def live(self, now: int) -> Verdict:
        """Tell whether the loop moves."""
        if self._ending:
            return Verdict(holds=True, reason="stopping")
        if self._moved is None:
            return Verdict(holds=False, reason="resuming: the loop has not come round yet")
        still = max(now - self._moved, 0)
        moves = still <= self._stall
        return Verdict(moves, "the loop moves" if moves else f"the loop stands still for {still // SECOND} s")

    def ready(self, now: int) -> Verdict:
        """Tell whether every partition is resumed and read to within the limit. A partition not looked at only ages."""
        if self._ending:
            return Verdict(holds=False, reason="stopping")
        looks, lags = self._by_partition(LAST_LOOK), self._by_partition(LAG)
        waiting = sorted(self._partitions - looks.keys())
        if waiting or not self._partitions:
            return Verdict(holds=False, reason=f"resuming: not read yet: {', '.join(waiting) or 'any partition'}")
        ages = {part: lags[part] + max(now / SECOND - looks[part], 0) for part in self._partitions}
        worst = max(ages, key=lambda part: ages[part])
        said = f"partition {worst} is {ages[worst]:.0f} s behind"
        return Verdict(ages[worst] * SECOND <= self._lag, said)

    def _by_partition(self, instrument: Any) -> dict[str, float]:
        return {labels[0]: value for labels, value in self._metrics.values(instrument)}


def answering(rest: Wsgi, health: Health, clock: Callable[[], int]) -> Wsgi:
    """Answer `/healthz` and `/readyz` with 200 or 503 and the reason, and leave other paths to `rest`."""
    answers: Final = {"/healthz": health.live, "/readyz": health.ready}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        ask = answers.get(environ["PATH_INFO"])
        if ask is None:
            return rest(environ, start_response)
        verdict = ask(clock())
        start_response(_OK if verdict.holds else _UNAVAILABLE, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{verdict.reason}\n".encode()]

    return answer
