"""Profiles in Redis: one hash per user, `profile:{tenant}:{user_id}`, for whoever composes an email."""

import time
from functools import lru_cache
from typing import Any

import redis
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.recorder import Metrics
from connectors.redis_streams import connect
from state.clock import SECOND
from state.outputs import ProfileUpdate


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

    def write_batch(self, items: list[ProfileUpdate]) -> None:
        buffer, answers = bytearray(), 0
        for update in items:
            key = profile_key(update.tenant, update.user_id)
            if update.fields is None:
                buffer += _command("DEL", key)
            else:
                buffer += _hset(key, update.fields)
                if self._ttl:
                    buffer += _command("EXPIRE", key, str(self._ttl))
                    answers += 1
            answers += 1
        self._connection.send_packed_command([bytes(buffer)])
        failures = [answer for _ in range(answers) if isinstance(answer := self._answer(), Exception)]
        if failures:
            raise failures[0]
        now = time.time()
        self._metrics.profile_latency(now - update.log_time / SECOND for update in items)

    def _answer(self) -> object:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error

    def close(self) -> None:
        self._client.connection_pool.release(self._connection)
        self._client.close()


def profile_key(tenant: str, user_id: str) -> str:
    """Name a user's profile."""
    return f"profile:{tenant}:{user_id}"


def _command(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded)


def _hset(key: str, fields: dict[str, str | int | float]) -> bytes:
    """Encode an HSET as one text: redis-py's own encoding takes six times as long."""
    names, texts = _named(tuple(fields)), map(str, fields.values())
    parts = [f"*{2 + 2 * len(fields)}\r\n$4\r\nHSET\r\n${len(key)}\r\n{key}\r\n"]
    parts += [f"{name}{len(text)}\r\n{text}\r\n" for name, text in zip(names, texts, strict=True)]
    command = "".join(parts)
    if command.isascii():
        return command.encode()
    return _command("HSET", key, *[part for name, value in fields.items() for part in (name, str(value))])


@lru_cache(maxsize=256)
def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"${len(name.encode())}\r\n{name}\r\n$" for name in names)
