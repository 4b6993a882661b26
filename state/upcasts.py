"""Snapshots of earlier versions, brought to the current one step at a time."""

import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

VERSION: Final = 2


def _with_chunk(data: bytes) -> bytes:
    """Version 2 has people in a chunk, each behind a head with their time, and no calendar: it follows from the heads."""
    old: list[Any] = msgspec.msgpack.decode(data)
    _, partition, log_time, people, wakes, calendar, campaigns, models, carts_open = old
    chunk = [{key: _headed(packed, wakes.get(key, 0)) for key, packed in people.items()}, [], []]
    looked_day = min(calendar, default=1) - 1
    return msgspec.msgpack.encode([2, partition, log_time, campaigns, models, carts_open, looked_day, chunk])


def _headed(packed: bytes, due: int) -> bytes:
    person: list[Any] = msgspec.msgpack.decode(packed)
    tag, touched = int(person[0]), int(person[3])
    return struct.pack(">IQ", tag << 24 | touched // 900_000_000, due) + packed


UPCASTS: Final[dict[int, Callable[[bytes], bytes]]] = {1: _with_chunk}
"""From a version to the function that rewrites its bytes as the next version's."""


class _Versioned(msgspec.Struct, array_like=True):
    version: int


_version: Final = msgspec.msgpack.Decoder(_Versioned)


class UnknownVersion(Exception):
    """A snapshot that this version cannot read: it was written by a later one."""


def to_current(data: bytes) -> bytes:
    """Rewrite a snapshot as the current version's, through every version between."""
    version = _version.decode(data).version
    while version != VERSION:
        upcast = UPCASTS.get(version)
        if upcast is None:
            raise UnknownVersion(
                f"snapshot version {version}; this is version {VERSION}: run the version that wrote it"
            )
        data = upcast(data)
        version += 1
    return data
