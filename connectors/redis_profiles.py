"""Profiles in Redis: one hash per user, `profile:{tenant}:{user_id}`, for whoever composes an email."""

import time
from itertools import chain
from typing import Any, Final

import hiredis
import redis
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.recorder import Metrics
from connectors.redis_streams import connect
from state.clock import SECOND
from state.outputs import ProfileUpdate

AT_ONCE: Final = 64 * 1024
"""So many bytes go to Redis, which writes them while the next are put together."""

KEPT: Final = 1024
"""Heads of longer values are made anew each time."""


class ProfileSink(DynamicSink[ProfileUpdate]):
    """Writes each batch in one pipeline. After a crash a profile may step back until the replay has caught up.

    `ttl` is in seconds and renewed at each write; 0 keeps profiles until the user is forgotten. It is 0 or more than the
    fold's `WHOLE_AFTER`, since what is written is the fields that changed.
    """

    def __init__(self, url: str, ttl: int, metrics: Metrics) -> None:
        self._url, self._ttl, self._metrics = url, ttl, metrics

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_ProfileWriter":  # noqa: ARG002 - theirs
        """Open this worker's connection."""
        return _ProfileWriter(connect(self._url), self._ttl, self._metrics)


class _ProfileWriter(StatelessSinkPartition[ProfileUpdate]):
    def __init__(self, client: Any, ttl: int, metrics: Metrics) -> None:
        self._client, self._ttl, self._metrics = client, ttl, metrics
        self._connection = client.connection_pool.get_connection()
        self._reader = hiredis.Reader(replyError=redis.ResponseError)

    def write_batch(self, items: list[ProfileUpdate]) -> None:
        send, ttl = self._connection.send_packed_command, str(self._ttl)
        commands: list[bytes] = []
        answers = size = 0
        for tenant, user_id, fields, _ in items:
            key = profile_key(tenant, user_id)
            command = _packed("DEL", key) if fields is None else _hset(key, fields)
            if self._ttl and fields is not None:
                command += _packed("EXPIRE", key, ttl)
                answers += 1
            answers += 1
            commands.append(command)
            size += len(command)
            if size >= AT_ONCE:
                send([b"".join(commands)])
                commands.clear()
                size = 0
        send([b"".join(commands)])
        self._hear(answers)
        if self._metrics.enabled:
            now = time.time()
            self._metrics.profile_latency([now - update.log_time / SECOND for update in items])

    def _hear(self, answers: int) -> None:
        """Read the answers to what was sent, each a number; raise the first that is an error, once all are read."""
        # redis-py's own loop takes a microsecond an answer, which is as much as writing a third of a profile.
        receive, reader = self._connection._sock.recv, self._reader  # noqa: SLF001 - it lends its socket to nobody
        failure: Exception | None = None
        while answers:
            try:
                received = receive(AT_ONCE)
            except OSError as error:
                raise redis.ConnectionError(f"no answer from Redis to profiles: {error}") from error
            if not received:
                raise redis.ConnectionError("Redis hung up while profiles were written")
            reader.feed(received)
            while (answer := reader.gets()) is not False:
                if type(answer) is int:
                    answers -= 1
                elif isinstance(answer, Exception):
                    failure = failure or answer
                    answers -= 1
        if failure is not None:
            raise failure

    def close(self) -> None:
        self._client.connection_pool.release(self._connection)
        self._client.close()


def profile_key(tenant: str, user_id: str) -> str:
    """Name a user's profile."""
    return f"profile:{tenant}:{user_id}"


class _Heads(dict[int, str]):
    """What stands before a field's value in a command, by the value's length."""

    def __init__(self, name: str) -> None:
        self._name = f"\r\n${len(name)}\r\n{name}\r\n$"

    def __missing__(self, length: int) -> str:
        head = f"{self._name}{length}\r\n"
        if length < KEPT:
            self[length] = head
        return head


class _Fields(dict[str, _Heads]):
    """The heads of each field; there are as many fields as profiles know."""

    def __missing__(self, name: str) -> _Heads:
        heads = self[name] = _Heads(name)
        return heads


_fields: Final = _Fields()


def _hset(key: str, fields: dict[str, str | int | float]) -> bytes:
    """Encode an HSET as one text, which is for ASCII, where a text is as long as its bytes; the rest is for hiredis."""
    pieces = [f"*{2 + 2 * len(fields)}\r\n$4\r\nHSET\r\n${len(key)}\r\n{key}"]
    add, heads = pieces.append, _fields
    for name, value in fields.items():
        text = str(value)
        add(heads[name][len(text)])
        add(text)
    add("\r\n")
    command = "".join(pieces)
    if command.isascii():
        return command.encode()
    return _packed("HSET", key, *chain.from_iterable(fields.items()))


def _packed(*parts: str | float) -> bytes:
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type] # its stub says a tuple of one
    return packed
