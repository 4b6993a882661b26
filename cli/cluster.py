"""The processes of one dataflow on this host: started, stopped, and after a crash restarted together.

The engine's processes share one fate: where one dies the others cannot go on, and one that is stopped alone leaves the
others waiting for ever.
"""

import logging
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from types import FrameType
from typing import Final

from connectors.redis_server import free_port
from connectors.settings import Settings
from connectors.stopping import end_with_parent

FINAL: Final = 4
"""The exit code of a process that says: it makes no sense to start me again as I am."""

_FIRST_PAUSE, _STEADY_SECONDS = 0.5, 60.0
_STOPPED: Final = frozenset({0, -signal.SIGTERM})
"""What a stop may end with: the signal kills a process only before it has begun."""

_LAST_WORDS_SECONDS: Final = 2.0
"""For how long the others may say why they end, when one has ended."""

_log: Final = logging.getLogger("waxmark.cluster")


class ClusterFailed(Exception):
    """The processes ended, and starting them again would not help; what they said stands above."""


class Cluster:
    """N single-worker processes over loopback. Metrics are on `metrics_port`, and the ports after it."""

    def __init__(self, command: list[str], workers: int, settings: Settings, environment: Mapping[str, str]) -> None:
        self._command, self._workers, self._settings, self._environment = command, workers, settings, environment
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stopping = False

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises ClusterFailed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        pause = first = min(_FIRST_PAUSE, self._settings.restart_seconds)
        while not self._stopping:
            began = time.monotonic()
            self._start()
            if self._asked_before_an_end():
                break
            codes = self._end()
            if FINAL in codes:
                raise ClusterFailed("the processes ended for a reason that a restart does not mend; it stands above")
            if time.monotonic() - began > _STEADY_SECONDS:
                pause = first
            _log.error("a process ended; all restart", extra={"codes": str(codes), "pause_seconds": pause})
            self._pause(pause)
            pause = min(2 * pause, self._settings.restart_seconds)
        self._stop()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal protocol
        self._stopping = True

    def _start(self) -> None:
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(self._workers))
        ours = {"WAXMARK_ADDRESSES": addresses, "WAXMARK_RUN_ID": uuid.uuid4().hex}
        for number in range(self._workers):
            own = {"WAXMARK_PROCESS_ID": str(number)}
            if self._settings.metrics_port:
                own["WAXMARK_METRICS_PORT"] = str(self._settings.metrics_port + number)
            self._processes.append(
                subprocess.Popen(  # noqa: S603 - ourselves
                    self._command,
                    env={**self._environment, **ours, **own},
                    preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads run here
                    start_new_session=True,  # Ctrl-C is for the supervisor, who stops all of them together
                )
            )
        _log.info("started", extra={"workers": self._workers, "pids": str([p.pid for p in self._processes])})

    def _asked_before_an_end(self) -> bool:
        while not self._stopping and all(process.poll() is None for process in self._processes):
            time.sleep(0.05)
        return self._stopping

    def _end(self) -> list[int]:
        """Let the others say why they end too, then kill what is left; return the exit codes."""
        self._join(_LAST_WORDS_SECONDS)
        return self._killed()

    def _stop(self) -> None:
        for process in self._processes:
            process.terminate()
        self._join(self._settings.stop_seconds, together=True)
        codes = self._killed()
        if any(code not in _STOPPED for code in codes):
            raise ClusterFailed(f"the processes did not stop gracefully (exit codes {codes}); they resume without loss")
        _log.info("stopped together")

    def _join(self, seconds: float, *, together: bool = False) -> None:
        """Wait for all; `together`, no longer than for last words once one has failed, as the others then wait for it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and None in (codes := [process.poll() for process in self._processes]):
            if together and any(codes):
                end = min(end, time.monotonic() + _LAST_WORDS_SECONDS)
                together = False
            time.sleep(0.02)

    def _killed(self) -> list[int]:
        for process in self._processes:
            process.kill()
        codes = [process.wait() for process in self._processes]
        self._processes.clear()
        return codes

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.05)
