"""A graceful stop: a signal asks, every source ends its input, the final snapshot is written, rc is 0."""

import signal
from types import FrameType


class Stop:
    """Whether a stop was requested; shared by the sources of one process."""

    def __init__(self) -> None:
        self.requested = False

    def on_signals(self) -> "Stop":
        """Let SIGTERM and SIGINT ask for the stop. Only from the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal protocol
        self.requested = True
