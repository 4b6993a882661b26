"""How a shard is written down: a head, and chunks of people."""

from typing import NamedTuple

import msgspec

from state.wire import Model


class Chunk(msgspec.Struct, array_like=True):
    """People as they are now, those who are gone before them, and all dictionaries where a new one, or a round, begins."""

    people: dict[str, bytes] = {}
    gone: list[str] = []
    dictionaries: list[bytes] = []


class Snapshot(msgspec.Struct, array_like=True):
    """The storage form of a shard. Append fields with defaults; a change of meaning takes a new version and an upcast.

    `looked_day` is the last of the calendar at which people were looked at; `chunk` is empty where a journal holds the people.
    """

    version: int
    partition: int
    log_time: int
    campaigns: dict[str, tuple[str, bytes]]
    models: dict[str, Model]
    carts_open: int
    looked_day: int
    chunk: Chunk


class Changes(NamedTuple):
    """What a journal adds at a snapshot: a head that replaces the last one, and a chunk that comes after those before.

    When a round ends, everything is in the chunks since the one that began it. A chunk may do both, or be empty. From
    `samples`, where there are any, a dictionary is to be learned beside the worker, for the shard to take in.
    """

    partition: int
    head: bytes
    chunk: bytes | None
    begins_round: bool
    ends_round: bool
    samples: list[bytes] = []  # noqa: RUF012 - never changed
