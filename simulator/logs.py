"""The simulated shop's records as a log file: what its log would hold, positions and campaigns included."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from connectors import logfile
from simulator.shop import Shop, visits
from state import campaigns as definitions
from state import wire
from state.campaigns import Campaign
from state.clock import MILLISECOND
from state.records import Record, partition_of

_FIRST: Final = 10**15
_LAST: Final = 10**16 - 1
"""Times with as many digits as each other, so that a header can be written over in place."""


def write_log(
    path: Path, shop: Shop, seed: int, *, partitions: int, events: int, campaigns: list[Campaign] | None, start: int
) -> logfile.Header:
    """Write what a shop's visitors do as a log file, ready for replay; return its header.

    The log is as shoppers made it, without the links and forwards that a running shard appends. If campaigns are given,
    they are in force from the first record of every partition on. The same arguments write the same bytes.

    Args:
        path: the file; overwritten.
        shop: what kind of traffic.
        seed: which of its many histories.
        partitions: how many partitions the log has.
        events: how many records, besides those that say which campaigns are in force.
        campaigns: what is in force; None says nothing of it.
        start: log time of the first records; microseconds UTC, from 2001-09-09 to 2286-11-20, else a ValueError.
    """
    if not _FIRST <= start <= _LAST:
        raise ValueError("a simulated log starts between 2001-09-09 and 2286-11-20, in microseconds since 1970")
    if partitions < 1:
        raise ValueError("a log has at least one partition")
    start -= start % MILLISECOND
    read_to = start
    positions = _Positions()

    def records() -> Iterator[tuple[int, Record]]:
        nonlocal read_to
        if campaigns is not None:
            control = _in_force(campaigns)
            for partition in range(partitions):
                yield partition, Record(positions.next(partition, start), start, control)
        for sent in visits(shop, seed, start, events=events):
            partition = partition_of(sent.key, partitions)
            yield partition, Record(positions.next(partition, sent.log_time), sent.log_time, sent.value)
            read_to = sent.log_time

    with path.open("wb") as file:
        logfile.write(file, logfile.Header(logfile.VERSION, partitions, fed_back=False, read_to=_FIRST), records())
        header = logfile.Header(logfile.VERSION, partitions, fed_back=False, read_to=read_to + MILLISECOND)
        # How far the log reaches is known once it is written, and takes as many digits as what was put in its place.
        file.seek(0)
        logfile.write(file, header, ())
    return header


def _in_force(campaigns: list[Campaign]) -> bytes:
    digest, body = definitions.encode(campaigns)
    return wire.encoder.encode(wire.CampaignsInForce(digest=digest, campaigns=msgspec.Raw(body)))


class _Positions:
    """Gives records the ids that a Redis stream would: the millisecond, and a number among its fellows."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}

    def next(self, partition: int, log_time: int) -> str:
        millisecond = log_time // MILLISECOND
        before, number = self._last.get(partition, (0, 0))
        number = number + 1 if millisecond == before else 0
        self._last[partition] = millisecond, number
        return f"{millisecond}-{number}"
