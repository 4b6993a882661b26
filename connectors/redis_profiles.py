"""Profiles in Redis: one hash per user, `profile:{tenant}:{user_id}`, for whoever composes an email."""

import time
from collections import deque
from itertools import chain
from typing import Any, Final

import hiredis
import redis
from bytewax.outputs import FixedPartitionedSink

from connectors.awoken import Answered
from connectors.recorder import Metrics
from connectors.redis_streams import connect
from state.clock import SECOND
from state.outputs import ProfileUpdate

AT_ONCE: Final = 64 * 1024
"""So many bytes go to Redis, which writes them while the next are put together."""

KEPT: Final = 1024
"""Heads of longer values are made anew each time."""


AHEAD: Final = 10_000
"""So many commands may be on their way to Redis, their answers not heard yet."""

_QUIET: Final = 0.02
_PATIENCE: Final = 0.005
"""Seconds since the last write after which nothing else presses, and for which an answer is then waited for."""


class ProfileSink:
    """Where profiles are written.

    `ttl` is in seconds and renewed at each write; 0 keeps profiles until the user is forgotten. It is 0 or more than the
    fold's `WHOLE_AFTER`, since what is written is the fields that changed.
    """

    def __init__(self, url: str, ttl: int, metrics: Metrics) -> None:
        self._url, self._ttl, self._metrics = url, ttl, metrics

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "ProfileWriter":  # noqa: ARG002 - as the engine's
        """Open a connection."""
        return ProfileWriter(connect(self._url), self._ttl, self._metrics)


class ProfilePartitions(FixedPartitionedSink[ProfileUpdate, None]):
    """Profiles by partition, as the sink `like` has them, over one connection of this process.

    A snapshot waits until what came before it is written, so an epoch that the engine counts as done has left no profile
    behind. After a crash a profile may step back until the replay has caught up.
    """

    def __init__(self, sink: ProfileSink, like: FixedPartitionedSink[Any, Any]) -> None:
        self._sink, self._like = sink, like
        self._writer: ProfileWriter | None = None

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return self._like.list_parts()

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in."""
        return self._like.part_fn(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_ProfilePartition":  # noqa: ARG002 - theirs
        """Open one partition, and with the first of them the connection."""
        self._writer = self._writer or self._sink.build(step_id, 0, 1)
        return _ProfilePartition(self._writer)

    def settle(self) -> None:
        """Wait until everything that this process sent is written. Raises what Redis refused."""
        if self._writer is not None:
            self._writer.settle()


class _ProfilePartition(Answered[ProfileUpdate]):
    def __init__(self, writer: "ProfileWriter") -> None:
        self._writer = writer

    def write_batch(self, values: list[ProfileUpdate]) -> None:
        self._writer.write_batch(values)

    def listen(self) -> None:
        self._writer.listen()

    def snapshot(self) -> None:
        self._writer.settle()

    def close(self) -> None:
        self._writer.close()


class ProfileWriter:
    """Writes each batch in one pipeline, and waits for the answers at `settle` only.

    A Redis that is forcing its file to the disk, or writing it anew, answers late: the worker folds meanwhile.
    """

    def __init__(self, client: Any, ttl: int, metrics: Metrics) -> None:
        self._client, self._ttl, self._metrics = client, ttl, metrics
        self._connection = client.connection_pool.get_connection()
        self._reader = hiredis.Reader(replyError=redis.ResponseError)
        self._sent = self._heard = 0
        self._timed: deque[tuple[int, list[int]]] = deque()
        self._wrote_at = 0.0

    def write_batch(self, items: list[ProfileUpdate]) -> None:
        """Send updates; raises what Redis refused of these or earlier ones, as far as it has answered."""
        before, self._wrote_at = self._wrote_at, time.monotonic()
        self._send(items)
        self._hear(_PATIENCE if self._wrote_at - before > _QUIET else 0, AHEAD)

    def listen(self) -> None:
        """Take in the answers that are there."""
        self._hear(0, AHEAD)

    def settle(self) -> None:
        """Wait until all that was sent is written. Raises what Redis refused."""
        self._hear(0, 0)

    def close(self) -> None:
        """Hang up, whatever is still to come."""
        self._client.connection_pool.disconnect()
        self._client.close()

    def _send(self, items: list[ProfileUpdate]) -> None:
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
        self._sent += answers
        if self._metrics.enabled:
            self._timed.append((self._sent, [update.log_time for update in items]))

    def _hear(self, patience: float, ahead: int) -> None:
        """Read the answers that are there, or come within `patience` seconds, and wait while more than `ahead` are missing.

        Each is a number; raise the first that is an error, once what is there is read.
        """
        if self._heard == self._sent:
            return
        # redis-py's own loop takes a microsecond an answer, which is as much as writing a third of a profile.
        receive, reader = self._connection._sock.recv, self._reader  # noqa: SLF001 - it lends its socket to nobody
        failure: Exception | None = None
        while self._heard < self._sent:
            try:
                if self._sent - self._heard <= ahead and not self._connection.can_read(timeout=patience):
                    break
                received = receive(AT_ONCE)
            except (OSError, redis.ConnectionError) as error:
                raise redis.ConnectionError(f"no answer from Redis to profiles: {error}") from error
            if not received:
                raise redis.ConnectionError("Redis hung up while profiles were written")
            reader.feed(received)
            while (answer := reader.gets()) is not False:
                if type(answer) is int:
                    self._heard += 1
                elif isinstance(answer, Exception):
                    failure = failure or answer
                    self._heard += 1
        self._note_latency()
        if failure is not None:
            raise failure

    def _note_latency(self) -> None:
        now = time.time()
        while self._timed and self._timed[0][0] <= self._heard:
            _, times = self._timed.popleft()
            self._metrics.profile_latency([now - log_time / SECOND for log_time in times])


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
