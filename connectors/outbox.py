"""The outbox: what the steps of a worker have to say to Redis of one turn of the engine, in one round trip.

With `appendfsync always` Redis forces its file before it answers, once for all that it has read by then. A step that waits
for its own answer waits for a force of its own; several steps that wait together share one.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

import hiredis
import redis

from connectors.redis_streams import connect

AT_ONCE: Final = 64 * 1024
"""So many bytes go to Redis, which works on them while the next are put together."""

Hear = Callable[[list[Any]], None]
"""Told the answers to its commands, an exception where Redis refused one. Raises what that means to the step."""


def refuse(answers: list[Any]) -> None:
    """Raise the first refusal among some answers."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


class Outbox:
    """Commands on one connection, in their order, and who hears the answers.

    What is `put` waits for `settle`; what is sent `now` is on its way before that, and so before all that waits.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._connection: Any = None
        self._reader = hiredis.Reader(replyError=redis.ResponseError)
        self._waiting: list[tuple[bytes, int, Hear]] = []
        self._hearers: list[tuple[int, Hear]] = []

    def put(self, commands: bytes, answers: int, hear: Hear = refuse) -> None:
        """Leave commands, to which so many answers come."""
        self._waiting.append((commands, answers, hear))

    def now(self, commands: bytes, answers: int, hear: Hear = refuse) -> None:
        """Send commands at once, and wait for nothing."""
        self._hearers.append((answers, hear))
        self._send(commands)

    def settle(self) -> None:
        """Send what waits, read all answers, and let them be heard in order.

        Raises redis.ConnectionError where Redis does not answer all, else what the first hearer raises who does.
        """
        waiting = self._waiting
        if waiting:
            self._waiting = []
            self._hearers += [(answers, hear) for _, answers, hear in waiting]
            self._send(b"".join([commands for commands, _, _ in waiting]))
        hearers = self._hearers
        if not hearers:
            return
        self._hearers = []
        answers = self._answers(sum([number for number, _ in hearers]))
        start = 0
        for number, hear in hearers:
            hear(answers[start : start + number])
            start += number

    def close(self) -> None:
        """Hang up. What was not settled may be done or not."""
        client, self._client = self._client, None
        if client is not None:
            client.connection_pool.release(self._connection)
            client.close()
        self._connection = None

    def _send(self, commands: bytes) -> None:
        if self._connection is None:
            self._client = connect(self._url)
            self._connection = self._client.connection_pool.get_connection()
        self._connection.send_packed_command([commands])

    def _answers(self, expected: int) -> list[Any]:
        # redis-py's own loop takes a microsecond an answer, which is as much as writing a third of a profile.
        receive, reader = self._connection._sock.recv, self._reader  # noqa: SLF001 - it lends its socket to nobody
        answers: list[Any] = []
        while len(answers) < expected:
            try:
                received = receive(AT_ONCE)
            except OSError as error:
                raise redis.ConnectionError(f"no answer from Redis to what was written: {error}") from error
            if not received:
                raise redis.ConnectionError("Redis hung up before it answered to what was written")
            reader.feed(received)
            while (answer := reader.gets()) is not False:
                if not isinstance(answer, hiredis.PushNotification):
                    answers.append(answer)
        return answers


class Outboxes(threading.local):
    """One outbox for each worker, which is a thread. The last of its steps settles it."""

    def __init__(self, url: str) -> None:
        self.own = Outbox(url)
