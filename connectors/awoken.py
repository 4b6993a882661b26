"""A sink whose every partition is snapshotted in every epoch, whether anything was written or not.

The engine snapshots what an epoch awoke, under the number of the epoch. After a crash a new run counts on from the last that
all had ended, so it takes numbers again that the dead run had used, and deletes nothing of it. A key that sleeps through such
an epoch would keep the dead run's row: a position behind entries that the next resume has to read back, and they were written
twice; a fold ahead of its source, and triggers were lost. So each partition's source emits in every epoch, if need be an empty
batch, and its fold and sinks are awoken by it.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

_Item = TypeVar("_Item")


class Awoken(FixedPartitionedSink[Sequence[_Item], Any]):
    """Hands on what a batch led to, all of it at once; nothing, where it led to nothing."""

    def __init__(self, sink: FixedPartitionedSink[_Item, Any]) -> None:
        self._sink = sink

    def list_parts(self) -> list[str]:
        """Name the sink's partitions."""
        return self._sink.list_parts()

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in."""
        return self._sink.part_fn(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "_AwokenPartition[_Item]":
        """Open one partition of the sink."""
        return _AwokenPartition(self._sink.build_part(step_id, for_part, resume_state))


class _AwokenPartition(StatefulSinkPartition[Sequence[_Item], Any]):
    def __init__(self, part: StatefulSinkPartition[_Item, Any]) -> None:
        self._part = part

    def write_batch(self, values: list[Sequence[_Item]]) -> None:
        items = list(chain.from_iterable(values))
        if items:
            self._part.write_batch(items)

    def snapshot(self) -> Any:
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()
