"""The outbox: what the steps of a worker have to say to Redis of one turn of the engine, in one round trip.

With `appendfsync always` Redis forces its file before it answers, once for all that it has read by then. A step that waits
for its own answer waits for a force of its own; several steps that wait together share one.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import redis
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.redis_line import Line, accepted
from connectors.redis_streams import connect
from connectors.stopping import Stop

Hear = Callable[[list[Any]], object]
"""Told the answers to its commands, an exception where Redis refused one. Raises what that means to the step."""


class Outbox:
    """Commands on one connection, in their order, and who hears the answers.

    What is `put` waits for `settle`; what is sent `now` is on its way before that, and so before all that waits. A refusal
    stops the worker when all that was said with it is done. Where an answer did not come, nothing more can be said: it would
    be taken for the answer to something else.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._line: Any = None  # a Line, while it is open
        self._waiting: list[tuple[bytes, int, Hear]] = []
        self._hearers: list[tuple[int, Hear]] = []
        self._meanwhile: list[Callable[[], None]] = []
        self._broken: Exception | None = None

    def open(self) -> None:
        """Connect. Raises UnsafeRedis, or redis.RedisError when Redis cannot be reached."""
        if self._line is None:
            self._client = connect(self._url)
            self._line = Line(self._client)

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Leave work to do while Redis is at work."""
        self._meanwhile.append(work)

    def put(self, commands: bytes, answers: int, hear: Hear = accepted) -> None:
        """Leave commands, to which so many answers come."""
        self._waiting.append((commands, answers, hear))

    def now(self, commands: bytes, answers: int, hear: Hear = accepted) -> None:
        """Send commands at once, and wait for nothing. Raises redis.ConnectionError."""
        self._send(commands)
        self._hearers.append((answers, hear))

    def settle(self) -> None:
        """Send what waits, do meanwhile what can be done, read all answers, and let them be heard in order.

        Raises redis.ConnectionError where Redis does not answer all, else what the first raises who works or hears.
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._send(b"".join([commands for commands, _, _ in waiting]))
            self._hearers += [(answers, hear) for _, answers, hear in waiting]
        works, self._meanwhile = self._meanwhile, []
        for work in works:
            work()
        if self._hearers:
            answers = self._answers(sum([number for number, _ in self._hearers]))
            hearers, self._hearers = self._hearers, []
            start = 0
            for number, hear in hearers:
                hear(answers[start : start + number])
                start += number

    def close(self) -> None:
        """Hang up, until something is said again. What was not settled may be done or not."""
        if self._hearers:
            self._broken = redis.ConnectionError("hung up on Redis before it answered")
        line, self._line = self._line, None
        if line is not None:
            line.close()
            self._client.close()

    def _send(self, commands: bytes) -> None:
        with self._breaking():
            if self._line is not None and not self._hearers and self._line.is_answering():
                self.close()  # nothing is due, so it is the end: Redis, or something on the way, hangs up on who is idle
            self.open()
            self._line.send(commands)

    def _answers(self, number: int) -> list[Any]:
        with self._breaking():
            answers: list[Any] = self._line.answers(number)
        return answers

    @contextlib.contextmanager
    def _breaking(self) -> Iterator[None]:
        if self._broken is not None:
            raise self._broken
        try:
            yield
        except redis.ConnectionError as error:
            self._broken = error
            raise


class Outboxes:
    """One outbox for each worker of a process, which is a thread. Only its `Settling` hangs up."""

    def __init__(self, url: str, stop: Stop) -> None:
        self._url, self._stop = url, stop
        self._by_thread: dict[int, Outbox] = {}

    @property
    def own(self) -> Outbox:
        """Find the outbox of this worker."""
        # Not threading.local: in a cluster a worker is a thread of the engine's, whose Python side is new at each call.
        thread = threading.get_ident()
        outbox = self._by_thread.get(thread)
        if outbox is None:
            outbox = self._by_thread[thread] = Outbox(self._url)
        return outbox

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

    def close(self) -> None:
        self._outboxes.own.close()
