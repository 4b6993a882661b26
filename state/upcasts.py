"""Snapshots of earlier versions, brought to the current one step at a time."""

from collections.abc import Callable
from typing import Final

import msgspec

VERSION: Final = 1

UPCASTS: Final[dict[int, Callable[[bytes], bytes]]] = {}
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
