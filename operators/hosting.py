"""The fold as a Bytewax step: the only file here that knows the engine."""

from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

from bytewax.operators import StatefulBatchLogic

from operators.fold import ChurnOver, Fold, Limits
from state.outputs import Outputs
from state.records import Batch
from state.shard import Shard


class Watch(Protocol):
    """Whoever wants to know how the fold fares: telemetry."""

    def folded(self, outputs: Outputs, shard: Shard) -> None:
        """Hear of a batch."""

    def snapshotted(self, partition: int, size: int, seconds: float) -> None:
        """Hear of a snapshot."""


class Flooded(Exception):
    """So many records are bad that something upstream is broken: better to stop than to drain the log."""


class ShardLogic(StatefulBatchLogic[Batch, Outputs, bytes]):
    """One partition's fold, keyed by partition.

    Stops the worker when more than `flood_share` of the last 2,000 records were rejected.
    """

    def __init__(self, fold: Fold, flood_share: float, watch: Watch) -> None:
        self._fold, self._flood_share, self._watcher = fold, flood_share, watch
        self._recent: deque[tuple[int, int]] = deque()

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[Outputs], bool]:
        """Fold the batches in."""
        outputs = [self._fold.apply(batch) for batch in values]
        for output in outputs:
            self._watch(output.records, len(output.dead_letters))
            self._watcher.folded(output, self._fold.shard)
        return outputs, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Write the shard down; bytes, since the engine pickles them later and elsewhere."""
        began = perf_counter()
        data = self._fold.shard.snapshot()
        self._watcher.snapshotted(self._fold.shard.partition, len(data), perf_counter() - began)
        return data

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
    limits: Limits, flood_share: float, watch: Watch, churn_over: ChurnOver | None = None
) -> Callable[[bytes | None], ShardLogic]:
    """Make the builder that Bytewax calls for each partition, with its snapshot on resume.

    A new shard learns its partition from its first batch.
    """

    def build(snapshot: bytes | None) -> ShardLogic:
        shard = Shard(-1) if snapshot is None else Shard.restore(snapshot)
        return ShardLogic(Fold(shard, limits, churn_over), flood_share, watch)

    return build
