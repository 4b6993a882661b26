"""The fold as a Bytewax step: the only file here that knows the engine."""

from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

from bytewax.operators import StatefulBatchLogic

from operators.fold import ChurnOver, Fold, Limits
from state.outputs import Outputs
from state.records import Batch
from state.shard import MOST_LIVE, Shard
from state.snapshots import Changes


class Watch(Protocol):
    """Whoever wants to know how the fold fares: telemetry."""

    def folded(self, outputs: Outputs, shard: Shard) -> None:
        """Hear of a batch."""

    def snapshotted(self, partition: int, size: int, journal: int, seconds: float) -> None:
        """Hear of a snapshot: how many bytes it wrote, and its journal has now."""


class Journal(Protocol):
    """Where a shard is written down, change by change."""

    @property
    def size(self) -> int:
        """Say how many bytes a resume would read."""

    def read(self) -> tuple[bytes, Iterable[bytes]] | None:
        """Read the head and the chunks that the engine's snapshot speaks of; None where there was none."""

    def write(self, changes: Changes) -> bytes:
        """Add changes durably; return the engine's snapshot, which says where they are."""


class Flooded(Exception):
    """So many records are bad that something upstream is broken: better to stop than to drain the log."""


class ShardLogic(StatefulBatchLogic[Batch, Outputs, bytes]):
    """One partition's fold, keyed by partition.

    Stops the worker when more than `flood_share` of the last 2,000 records were rejected.
    """

    def __init__(self, fold: Fold, flood_share: float, watch: Watch, journal: Journal) -> None:
        self._fold, self._flood_share, self._watcher, self._journal = fold, flood_share, watch, journal
        self._recent: deque[tuple[int, int]] = deque()

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[Outputs], bool]:
        """Fold the batches in."""
        outputs = [self._fold.apply(batch) for batch in values]
        for output in outputs:
            self._watch(output.records, len(output.dead_letters))
            self._watcher.folded(output, self._fold.shard)
            self._fold.shard.settle()
        return outputs, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Write down what changed; the engine pickles what is returned later and elsewhere, so it is bytes."""
        began = perf_counter()
        changes = self._fold.shard.changes()
        place = self._journal.write(changes)
        size = len(place) + len(changes.chunk or b"")
        self._watcher.snapshotted(changes.partition, size, self._journal.size, perf_counter() - began)
        return place

    def _watch(self, records: int, rejected: int) -> None:
        self._recent.append((records, rejected))
        total, bad = (sum(column) for column in zip(*self._recent, strict=True))
        if total >= 2000 and bad > self._flood_share * total:  # noqa: PLR2004 - said above
            raise Flooded(
                f"{bad} of the last {total} records were rejected; look at the dead letters, or raise the limit"
            )
        while total - self._recent[0][0] >= 2000:  # noqa: PLR2004 - said above
            total -= self._recent.popleft()[0]


def hosted(
    limits: Limits,
    flood_share: float,
    watch: Watch,
    journal: Callable[[bytes | None], Journal],
    churn_over: ChurnOver | None = None,
) -> Callable[[bytes | None], ShardLogic]:
    """Make the builder that Bytewax calls for each partition, with its snapshot on resume.

    A new shard learns its partition from its first batch. Those of one process share the room for people who are unpacked.
    """
    shards: list[Shard] = []

    def build(snapshot: bytes | None) -> ShardLogic:
        opened = journal(snapshot)
        saved = opened.read()
        shards.append(Shard(-1) if saved is None else Shard.restore(*saved))
        for each in shards:
            each.most_live = MOST_LIVE // len(shards)
        return ShardLogic(Fold(shards[-1], limits, churn_over), flood_share, watch, opened)

    return build
