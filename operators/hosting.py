"""The fold as a Bytewax step: the only file here that knows the engine."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from functools import partial
from time import perf_counter, sleep
from typing import Final, Protocol

from bytewax.operators import StatefulBatchLogic

from operators.fold import ChurnOver, Fold, Limits
from state.outputs import Outputs
from state.packing import learned
from state.records import Batch
from state.shard import Shard
from state.snapshots import Changes

_BREATH_SECONDS: Final = 0.002


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

    def add(self, partition: int, chunk: bytes) -> None:
        """Add a chunk, which need not be durable before the next `write`."""

    def write(self, changes: Changes) -> bytes:
        """Add changes durably, and what was added before; return the engine's snapshot, which says where they are."""


def _breathe() -> None:
    """Leave the interpreter to the worker: what is done beside it takes a fifth of the time at most."""
    sleep(_BREATH_SECONDS)


Meanwhile = Callable[[Callable[[], None]], None]
"""Takes what can be done a little later, while others wait for what came of a batch to be written."""


class Flooded(Exception):
    """So many records are bad that something upstream is broken: better to stop than to drain the log."""


class ShardLogic(StatefulBatchLogic[Batch, Outputs, bytes]):
    """One partition's fold, keyed by partition.

    Stops the worker when more than `flood_share` of the last 2,000 records were rejected.
    """

    def __init__(
        self, fold: Fold, flood_share: float, watch: Watch, journal: Journal, beside: Executor, meanwhile: Meanwhile
    ) -> None:
        self._fold, self._flood_share, self._watcher, self._journal = fold, flood_share, watch, journal
        self._beside, self._meanwhile = beside, meanwhile
        self._learning: Future[bytes | None] | None = None
        self._recent: deque[tuple[int, int]] = deque()
        self._early = 0

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[Outputs], bool]:
        """Fold the batches in."""
        outputs = [self._fold.apply(batch) for batch in values]
        for output in outputs:
            self._watch(output.records, len(output.dead_letters))
            self._watcher.folded(output, self._fold.shard)
        for batch in values:
            self._meanwhile(partial(self._settle, batch))
        return outputs, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Write down what changed; the engine pickles what is returned later and elsewhere, so it is bytes."""
        began = perf_counter()
        self._take_in_dictionary()
        changes = self._fold.shard.changes()
        place = self._journal.write(changes)
        if changes.samples and self._learning is None:
            self._learning = self._beside.submit(learned, changes.samples, _breathe)
        size, self._early = self._early + len(place) + len(changes.chunk or b""), 0
        self._watcher.snapshotted(changes.partition, size, self._journal.size, perf_counter() - began)
        return place

    def _take_in_dictionary(self) -> None:
        if self._learning is not None and self._learning.done():
            dictionary, self._learning = self._learning.result(), None
            if dictionary is not None:
                self._fold.shard.learn(dictionary)

    def _settle(self, batch: Batch) -> None:
        chunk = self._fold.shard.settle(is_at_end=batch.at_end)
        if chunk is not None:
            self._journal.add(batch.partition, chunk)
            self._early += len(chunk)

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
    beside: Executor,
    meanwhile: Meanwhile,
    churn_over: ChurnOver | None = None,
) -> Callable[[bytes | None], ShardLogic]:
    """Make the builder that Bytewax calls for each partition, with its snapshot on resume.

    A new shard learns its partition from its first batch. Those of one process share the room for people who are unpacked.
    Dictionaries are learned `beside` the worker: nothing but the size of what is written depends on when that is done.
    """
    shards: list[Shard] = []

    def build(snapshot: bytes | None) -> ShardLogic:
        opened = journal(snapshot)
        saved = opened.read()
        shards.append(Shard(-1) if saved is None else Shard.restore(*saved))
        for each in shards:
            each.share_room(len(shards))
        return ShardLogic(Fold(shards[-1], limits, churn_over), flood_share, watch, opened, beside, meanwhile)

    return build
