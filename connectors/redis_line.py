"""A line to Redis: commands go out as the bytes they are, and answers are taken as they come.

redis-py checks, packs and unpacks each command by itself, for ten to forty microseconds; what a worker says in every turn of
the engine is known but for a position or a value. It connects, and that is all that is left to it: a line that broke stays
broken, for what was said on it may be done or not.
"""

from select import POLLIN, poll
from typing import Any, Final

import hiredis
import redis

AT_ONCE: Final = 64 * 1024
"""So many bytes are sent or received at once."""


def packed(*parts: str | float | bytes) -> bytes:
    """Write a command as Redis reads it."""
    command: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type] # its stub says a tuple of one
    return command


def accepted(answers: list[Any]) -> list[Any]:
    """Return answers, or raise the first that is a refusal."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


class Line:
    """One connection of a client's pool. A refusal is an answer like others, an exception; what Redis pushes is skipped."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._connection = client.connection_pool.get_connection()
        self._socket = self._connection._sock  # noqa: SLF001 - redis-py lends its socket to nobody
        self._reader = hiredis.Reader(replyError=redis.ResponseError)
        self._coming = poll()
        self._coming.register(self._socket, POLLIN)

    def send(self, commands: bytes) -> None:
        """Send commands. Raises redis.ConnectionError."""
        try:
            self._socket.sendall(commands)
        except OSError as error:
            raise redis.ConnectionError(f"Redis does not take what is sent: {error}") from error

    def is_answering(self) -> bool:
        """Tell, without waiting, whether something has begun to come: an answer, or where none is due, the end."""
        return bool(self._coming.poll(0))

    def answers(self, expected: int) -> list[Any]:
        """Wait for so many answers. Raises redis.ConnectionError where they do not come."""
        # redis-py's own loop takes a microsecond an answer, which is as much as writing a third of a profile.
        receive, reader = self._socket.recv, self._reader
        answers: list[Any] = []
        while True:
            while (answer := reader.gets()) is not False:
                if not isinstance(answer, hiredis.PushNotification):
                    answers.append(answer)
            if len(answers) >= expected:
                return answers
            try:
                received = receive(AT_ONCE)
            except OSError as error:
                raise redis.ConnectionError(f"no answer from Redis: {error}") from error
            if not received:
                raise redis.ConnectionError("Redis hung up before it answered")
            reader.feed(received)

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()
        self._client.connection_pool.release(self._connection)
