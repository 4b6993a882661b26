"""A source that tells health of every round of the worker's loop; otherwise it is the source that it wraps."""

import time
from datetime import datetime
from typing import Any, Final, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.health import Health

_Item = TypeVar("_Item")


class Felt(FixedPartitionedSource[_Item, Any]):
    """A source whose pulse is felt. The engine asks it for a batch in each round, whether or not there is anything.

    Its partitions are named by their numbers.
    """

    def __init__(self, source: FixedPartitionedSource[_Item, Any], health: Health) -> None:
        self._source, self._health = source, health

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return self._source.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "_FeltPartition[_Item]":
        """Open one partition where the snapshot left it."""
        partition = self._source.build_part(step_id, for_part, resume_state)
        self._health.opened(int(for_part))
        return _FeltPartition(partition, self._health)


class _FeltPartition(StatefulSourcePartition[_Item, Any]):
    def __init__(self, partition: StatefulSourcePartition[_Item, Any], health: Health) -> None:
        self._partition: Final = partition
        self._health: Final = health

    def next_batch(self) -> Any:
        self._health.moved(time.time_ns() // 1000)
        try:
            return self._partition.next_batch()
        except StopIteration:
            self._health.ending()
            raise

    def next_awake(self) -> datetime | None:
        return self._partition.next_awake()

    def snapshot(self) -> Any:
        return self._partition.snapshot()

    def close(self) -> None:
        self._partition.close()
