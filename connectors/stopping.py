"""How a process ends: asked by a signal, every source ends its input and the final snapshot is written; or by a failure."""

import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TypeVar

from bytewax.operators import StatefulBatchLogic

_PR_SET_PDEATHSIG: Final = 1
_Logic = TypeVar("_Logic", bound=StatefulBatchLogic[Any, Any, Any])


class Stop:
    """Whether a stop was requested, and the first failure; shared by the steps of one process.

    In a cluster the engine forgets what a step raised, and says only that a thread panicked.
    """

    def __init__(self) -> None:
        self.requested = False
        self.failure: Exception | None = None

    def on_signals(self) -> "Stop":
        """Let SIGTERM and SIGINT ask for the stop. Only from the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        return self

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Remember what fails inside."""
        try:
            yield
        except Exception as error:
            self.failure = self.failure or error
            raise

    def noted(self, build: Callable[[Any], _Logic]) -> Callable[[Any], _Logic]:
        """Let a builder make logics whose failures are remembered."""

        def noting(snapshot: Any) -> _Logic:
            with self.noting():
                logic = build(snapshot)
            on_batch, snapshot = logic.on_batch, logic.snapshot

            def on_batch_noting(values: list[Any]) -> Any:
                with self.noting():
                    return on_batch(values)

            def snapshot_noting() -> Any:
                with self.noting():
                    return snapshot()

            logic.on_batch, logic.snapshot = on_batch_noting, snapshot_noting  # type: ignore[method-assign]
            return logic

        return noting

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal protocol
        self.requested = True


def end_with_parent() -> None:
    """Let the kernel ask this process to stop when its parent has died. Linux only; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
