"""Executors whose time a test tells: what a worker has done beside it is done at once, or when the test says so."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class AtOnce(Executor):
    """Does everything before it returns."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it now."""
        future = Future[Any]()
        _do(future, work, *args, **kwargs)
        return future


class Later(Executor):
    """Does nothing until it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Put it aside."""
        future = Future[Any]()
        self.waiting.append(lambda: _do(future, work, *args, **kwargs))
        return future

    def go(self) -> None:
        """Do all that waits."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()


def _do(future: "Future[Any]", work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    try:
        future.set_result(work(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - a future is how it is told
        future.set_exception(error)
