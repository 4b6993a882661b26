"""The outbox: what the steps of a worker have to say to Redis of one turn of the engine, in one round trip.

With `appendfsync always` Redis forces its file before it answers, once for all that it has read by then. A step that waits
for its own answer waits for a force of its own; several steps that wait together share one.
"""

import threading
from collections.abc import Callable
from typing import Any

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.redis_line import Line, accepted
from connectors.redis_streams import connect
from connectors.stopping import Stop

Hear = Callable[[list[Any]], object]
"""Told the answers to its commands, an exception where Redis refused one. Raises what that means to the step."""


class Outbox:
    """Commands on one connection, in their order, and who hears the answers.

    What is `put` waits for `settle`; what is sent `now` is on its way before that, and so before all that waits.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._line: Line | None = None
        self._waiting: list[tuple[bytes, int, Hear]] = []
        self._hearers: list[tuple[int, Hear]] = []
        self._meanwhile: list[Callable[[], None]] = []

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Leave work to do while Redis is at work."""
        self._meanwhile.append(work)

    def put(self, commands: bytes, answers: int, hear: Hear = accepted) -> None:
        """Leave commands, to which so many answers come."""
        self._waiting.append((commands, answers, hear))

    def now(self, commands: bytes, answers: int, hear: Hear = accepted) -> None:
        """Send commands at once, and wait for nothing."""
        self._hearers.append((answers, hear))
        self._send(commands)

    def settle(self) -> None:
        """Send what waits, do meanwhile what can be done, read all answers, and let them be heard in order.

        Raises redis.ConnectionError where Redis does not answer all, else what the first raises who works or hears.
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._hearers += [(answers, hear) for _, answers, hear in waiting]
            self._send(b"".join([commands for commands, _, _ in waiting]))
        works, self._meanwhile = self._meanwhile, []
        for work in works:
            work()
        hearers, self._hearers = self._hearers, []
        if self._line is None or not hearers:
            return
        answers = self._line.answers(sum([number for number, _ in hearers]))
        start = 0
        for number, hear in hearers:
            hear(answers[start : start + number])
            start += number

    def close(self) -> None:
        """Hang up. What was not settled may be done or not."""
        if self._line is not None:
            self._line.close()
            self._client.close()
        self._line = self._client = None

    def _send(self, commands: bytes) -> None:
        if self._line is None:
            self._client = connect(self._url)
            self._line = Line(self._client)
        self._line.send(commands)


class Outboxes(threading.local):
    """One outbox for each worker, which is a thread."""

    def __init__(self, url: str, stop: Stop) -> None:
        self.own = Outbox(url)
        self._stop = stop

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Leave work to do while Redis is at work."""
        self.own.meanwhile(work)

    def settle(self) -> None:
        """Settle the worker's outbox, as `Outbox.settle`."""
        with self._stop.noting():
            self.own.settle()


class Settling(DynamicSink[Any]):
    """The last step of a flow, for whatever came of each batch: settles what the steps before it have said."""

    def __init__(self, outboxes: Outboxes) -> None:
        self._outboxes = outboxes

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Settling":  # noqa: ARG002 - theirs
        """Take this worker's outbox."""
        return _Settling(self._outboxes)


class _Settling(StatelessSinkPartition[Any]):
    def __init__(self, outboxes: Outboxes) -> None:
        self._outboxes = outboxes

    def write_batch(self, items: list[Any]) -> None:  # noqa: ARG002 - what they are is for the others
        self._outboxes.settle()
