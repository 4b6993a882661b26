"""Profiles in Redis: one hash per user, `profile:{tenant}:{user_id}`, for whoever composes an email."""

import time
from functools import partial
from itertools import chain
from typing import Any, Final

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.outbox import Outbox, Outboxes
from connectors.recorder import Metrics
from connectors.redis_line import AT_ONCE, accepted, packed
from state.clock import SECOND
from state.outputs import ProfileUpdate

KEPT: Final = 1024
"""Heads of longer values are made anew each time."""


class ProfileSink(DynamicSink[ProfileUpdate]):
    """Sends profiles to Redis at once; they are surely written when the worker's outbox is settled.

    After a crash a profile may step back until the replay has caught up. `ttl` is in seconds and renewed at each write; 0
    keeps profiles until the user is forgotten. It is 0 or more than the fold's `WHOLE_AFTER`, since what is written is the
    fields that changed.
    """

    def __init__(self, outboxes: Outboxes, ttl: int, metrics: Metrics) -> None:
        self._outboxes, self._ttl, self._metrics = outboxes, ttl, metrics

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_ProfileWriter":  # noqa: ARG002 - theirs
        """Open this worker's outbox."""
        outbox = self._outboxes.own
        outbox.open()
        return _ProfileWriter(outbox, self._ttl, self._metrics)


class _ProfileWriter(StatelessSinkPartition[ProfileUpdate]):
    def __init__(self, outbox: Outbox, ttl: int, metrics: Metrics) -> None:
        self._outbox, self._ttl, self._metrics = outbox, ttl, metrics

    def write_batch(self, items: list[ProfileUpdate]) -> None:
        now, ttl = self._outbox.now, str(self._ttl)
        commands: list[bytes] = []
        answers = size = 0
        for tenant, user_id, fields, _ in items:
            key = profile_key(tenant, user_id)
            command = packed("DEL", key) if fields is None else _hset(key, fields)
            if self._ttl and fields is not None:
                command += packed("EXPIRE", key, ttl)
                answers += 1
            answers += 1
            commands.append(command)
            size += len(command)
            if size >= AT_ONCE:
                now(b"".join(commands), answers)
                commands.clear()
                answers = size = 0
        now(b"".join(commands), answers, partial(self._heard, items))

    def _heard(self, items: list[ProfileUpdate], answers: list[Any]) -> None:
        accepted(answers)
        if self._metrics.enabled:
            now = time.time()
            self._metrics.profile_latency([now - update.log_time / SECOND for update in items])


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
    return packed("HSET", key, *chain.from_iterable(fields.items()))
