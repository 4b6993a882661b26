"""Where the engine sends a partition: asked of the engine itself."""

import threading
from collections import defaultdict
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.run import cli_main

from connectors.routing import part_names, routed_keys

Places = dict[int, list[int]]


class _Part(StatefulSourcePartition[tuple[str, int], None]):
    def __init__(self, key: str, partition: int, places: Places) -> None:
        self._item, self._places, self._sent = (key, partition), places, False

    def next_batch(self) -> list[tuple[str, int]]:
        if self._sent:
            raise StopIteration
        self._sent = True
        self._places[self._item[1]].append(threading.get_ident())
        return [self._item]

    def snapshot(self) -> None:
        return None


class _Source(FixedPartitionedSource[tuple[str, int], None]):
    def __init__(self, keys: list[str], places: Places) -> None:
        self._keys, self._places = keys, places

    def list_parts(self) -> list[str]:
        return part_names(len(self._keys))

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Part:  # noqa: ARG002 - theirs
        return _Part(self._keys[int(for_part)], int(for_part), self._places)


class _Logic(StatefulBatchLogic[int, int, bytes]):
    def __init__(self, places: Places) -> None:
        self._places = places

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        self._places[values[0]].append(threading.get_ident())
        return values, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return b""


class _Written(StatefulSinkPartition[int, None]):
    def __init__(self, places: Places) -> None:
        self._places = places

    def write_batch(self, values: list[int]) -> None:
        self._places[values[0]].append(threading.get_ident())

    def snapshot(self) -> None:
        return None


class _Sink(FixedPartitionedSink[int, None]):
    def __init__(self, keys: list[str], places: Places) -> None:
        self._keys, self._places = keys, places

    def list_parts(self) -> list[str]:
        return part_names(len(self._keys))

    def part_fn(self, item_key: str) -> int:
        return self._keys.index(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Written:  # noqa: ARG002 - theirs
        return _Written(self._places)


@pytest.mark.parametrize(("partitions", "workers"), [(4, 2), (12, 3), (12, 4), (16, 8)])
def test_a_partition_is_folded_and_written_by_the_worker_that_reads_it(partitions: int, workers: int) -> None:
    """With the plain numbers as keys, both of two workers read, and one of them did all the work."""
    keys, places = routed_keys(partitions), defaultdict[int, list[int]](list)
    flow = Dataflow("routing")
    read: Any = op.input("read", flow, _Source(keys, places))
    folded = op.stateful_batch("fold", read, lambda _: _Logic(places))
    op.output("write", folded, _Sink(keys, places))
    cli_main(flow, workers_per_process=workers)  # type: ignore[no-untyped-call] # the engine's entry points have no types
    assert len(places) == partitions
    assert all(len(visited) == 3 and len(set(visited)) == 1 for visited in places.values())
    shares = [sum(visited[0] == worker for visited in places.values()) for worker in {v[0] for v in places.values()}]
    assert shares == [partitions // workers] * workers


def test_the_keys_are_a_schema_of_the_recovery_store() -> None:
    """Changed, they would leave every shard's state behind without an error."""
    assert routed_keys(4) == ["0.6", "1.6", "2.0", "3.6"]
    assert part_names(2) == ["0000", "0001"]
    assert routed_keys(64)[:4] == ["0.38", "1.16", "2.2", "3.44"]
