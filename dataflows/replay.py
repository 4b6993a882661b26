"""Replay: the very fold of production over a log file, with no broker and no clock."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from operators.fold import ChurnOver, Fold, Limits
from state.campaigns import Campaign, encode
from state.outputs import Outputs
from state.records import Batch, Record, partition_of
from state.shard import Shard
from state.wire import CampaignsInForce, Tenant, encoder

BATCH: Final = 500

Records = Iterable[tuple[int, Record]]
"""Records with their partitions; in order of append time within a partition."""


class Campaigns(NamedTuple):
    """Definitions to replay with instead of those in the log: of one tenant, or with None of every tenant."""

    definitions: list[Campaign]
    tenant: str | None = None


def replay(
    records: Records,
    partitions: int,
    limits: Limits,
    *,
    feed_back: bool,
    read_to: int = 0,
    instead: Campaigns | None = None,
    churn_over: ChurnOver | None = None,
) -> Iterator[Outputs]:
    """Fold a log, and yield what came of it.

    Args:
        records: in order of append time overall if `feed_back`.
        partitions: P of the log.
        limits: what the production fold is told.
        feed_back: whether links and forwards must be fed back (a raw log), or are among the records (an exported one).
        read_to: the time up to which the log is known to be complete; what was due before it happens. The last append time
            if that is later.
        instead: campaign definitions to use; those in the log are then passed over.
        churn_over: the churn machine of production, with which the log was folded.
    """
    folds = [Fold(Shard(partition), limits, churn_over) for partition in range(partitions)]
    if instead is not None:
        records = _with(instead, records)
    for outputs, last in _fed_back(folds, records) if feed_back else _batched(folds, records):
        read_to = max(read_to, last)
        yield outputs
    for partition, fold in enumerate(folds):
        yield fold.apply(Batch(partition, [], read_to))


def _batched(folds: list[Fold], records: Records) -> Iterator[tuple[Outputs, int]]:
    for partition, run in groupby(records, itemgetter(0)):
        while batch := [record for _, record in islice(run, BATCH)]:
            yield folds[partition].apply(Batch(partition, batch, 0)), batch[-1].log_time


def _fed_back(folds: list[Fold], records: Records) -> Iterator[tuple[Outputs, int]]:
    """Fold record by record, so that what is fed back comes before what was appended later."""
    fed = 0
    for entry in records:
        following = deque([entry])
        while following:
            partition, record = following.popleft()
            outputs = folds[partition].apply(Batch(partition, [record], 0))
            yield outputs, record.log_time
            for feedback in outputs.feedback:
                fed += 1
                back = Record(f"fed-back-{fed}", record.log_time, encoder.encode(feedback.record))
                following.append((partition_of(feedback.key, len(folds)), back))


class _Addressed(msgspec.Struct):
    type: str
    tenant: Tenant = "default"


_addressed: Final = msgspec.json.Decoder(_Addressed)


def _with(instead: Campaigns, records: Records) -> Iterator[tuple[int, Record]]:
    """Put definitions in force before a tenant's first record in each partition, and leave out those in the log."""
    digest, body = encode(instead.definitions)
    ready: set[tuple[int, str]] = set()
    for partition, record in records:
        try:
            to = _addressed.decode(record.value)
        except (ValueError, RecursionError):
            yield partition, record  # the fold says what is wrong with it
            continue
        if instead.tenant in {None, to.tenant}:
            if (partition, to.tenant) not in ready:
                ready.add((partition, to.tenant))
                value = CampaignsInForce(tenant=to.tenant, digest=digest, campaigns=Raw(body))
                yield partition, Record("campaigns", record.log_time, encoder.encode(value))
            if to.type == "campaigns":
                continue
        yield partition, record
