"""Replay: the very fold of production over a log file, with no broker and no clock."""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Raw

from operators.fold import Fold, Limits, Outputs
from state.campaigns import Campaign, encode
from state.records import Batch, Record, partition_of
from state.shard import Shard
from state.wire import CampaignsInForce, encoder


class Campaigns(NamedTuple):
    """Definitions to replay with instead of those in the log."""

    tenant: str
    definitions: list[Campaign]


def replay(
    records: Iterable[tuple[int, Record]],
    partitions: int,
    limits: Limits,
    *,
    feed_back: bool,
    read_to: int = 0,
    instead: Campaigns | None = None,
) -> Iterator[Outputs]:
    """Fold a log, record by record, and yield what each record led to.

    Args:
        records: (partition, record); in order of append time within a partition, and overall if `feed_back`.
        partitions: P of the log.
        limits: what the production fold is told.
        feed_back: whether links and forwards must be fed back (a raw log), or are among the records (an exported one).
        read_to: the time up to which the log is known to be complete; what was due before it happens.
        instead: campaign definitions to use; those in the log are then passed over.
    """
    folds = [Fold(Shard(partition), limits) for partition in range(partitions)]
    if instead is not None:
        digest, body = encode(instead.definitions)
        for partition, fold in enumerate(folds):
            value = CampaignsInForce(tenant=instead.tenant, digest=digest, campaigns=Raw(body))
            yield fold.apply(Batch(partition, [Record("campaigns", 0, encoder.encode(value))], 0))
    fed = 0
    pending: list[tuple[int, int, int, Record]] = []

    def take(partition: int, record: Record) -> Iterator[Outputs]:
        nonlocal fed
        outputs = folds[partition].apply(Batch(partition, [record], 0))
        for feedback in outputs.feedback if feed_back else []:
            fed += 1
            back = Record(f"fed-back-{fed}", record.log_time, encoder.encode(feedback.record))
            heapq.heappush(pending, (record.log_time, fed, partition_of(feedback.key, partitions), back))
        yield outputs
        while pending:
            _, _, target, back = heapq.heappop(pending)
            yield from take(target, back)

    for partition, record in records:
        if instead is None or b'"type":"campaigns"' not in record.value[:64]:
            yield from take(partition, record)
    for partition, fold in enumerate(folds):
        yield fold.apply(Batch(partition, [], read_to))
