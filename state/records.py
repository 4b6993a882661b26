"""Records of the log: what a source hands to the fold."""

import zlib
from typing import NamedTuple

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of one partition, as it stands in the log.

    `position` is the transport's own coordinate (a stream id, an offset), opaque to the fold and unique in its partition.
    `log_time` is the append time in microseconds UTC and never falls within a partition.
    `value` is untouched bytes. `traceparent` is the W3C trace context that the record carried, or None.
    """

    position: str
    log_time: int
    value: bytes
    traceparent: str | None = None


class Batch(NamedTuple):
    """What a source saw of one partition in one look.

    `read_to` is a promise: no record with an append time below it will ever follow this batch. It is 0 where the source
    cannot tell, and lets timers fire on an idle log. Microseconds UTC. `at_end` says that there was nothing more to take.
    """

    partition: int
    records: list[Record]
    read_to: int
    at_end: bool = False


def partition_of(key: str, partitions: int) -> int:
    """Say which partition a person's records are in: CRC-32 of the user id (else the anonymous id), modulo `partitions`."""
    return zlib.crc32(key.encode()) % partitions
