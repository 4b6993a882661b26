"""The peers' benchmark compares like with like: one traffic, one job, the same counts from whoever does it."""

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.peers.floor import count
from benchmarks.peers.job import Counts
from benchmarks.peers.measuring import Measured, measured
from benchmarks.peers.ours import ReducedFold, _Logic
from benchmarks.peers.report import Row, Unequal
from benchmarks.peers.traffic import STEP_MS, Traffic, records, written
from connectors.stopping import Stop
from state.records import Batch, Record
from state.shard import Shard

ROOT = Path(__file__).parents[2]
TRAFFIC = Traffic(events=5000, users=500, malformed=0.05)


def _ours(folder: Path, partitions: int) -> Measured:
    files = written(folder, TRAFFIC, partitions)
    command = [sys.executable, "-m", "benchmarks.peers.ours", "--events", "5000", "--partitions", str(partitions)]
    return measured([*command, "--files", *map(str, files)], ROOT, os.environ)


def test_ours_and_the_floor_count_the_same(tmp_path: Path) -> None:
    """Two seconds of disorder, broken records of every kind and repeats are in the traffic, and none of it divides them."""
    counts = count(records(TRAFFIC))

    assert _ours(tmp_path, 1).counts == msgspec.to_builtins(counts)
    assert min(msgspec.structs.astuple(counts)) > 20  # no count is equal for want of cases


def test_two_processes_of_ours_count_the_same_as_two_floors(tmp_path: Path) -> None:
    """Each partition is a log of its own, with twice the time between its records."""
    floors = [count(records(TRAFFIC, partition, 2), STEP_MS * 2) for partition in (0, 1)]

    total = {name: sum(getattr(floor, name) for floor in floors) for name in Counts.__struct_fields__}
    assert _ours(tmp_path, 2).counts == total


def test_ours_tells_its_counts_once() -> None:
    """Until it stops, the source of Kafka emits empty batches; one that came after the end made it tell its counts twice."""
    logic = _Logic(ReducedFold(Shard(0)), 1, Stop())
    batch, nothing = Batch(0, [Record("0", 1, next(iter(records(TRAFFIC))))], 0), Batch(0, [], 0)

    told = [list(logic.on_batch([each])[0]) for each in (nothing, batch, nothing)]

    assert list(map(len, told)) == [0, 1, 0]


def test_the_traffic_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    """Runs of different days are compared."""
    again, other = list(records(TRAFFIC)), list(records(TRAFFIC._replace(seed=8)))

    assert list(records(TRAFFIC)) == again != other


def test_the_traffic_is_as_it_says() -> None:
    """About 430 bytes to a record, shares as asked, each late by less than two seconds, no user in two partitions."""
    parts = [list(records(TRAFFIC._replace(events=20_000), partition, 2)) for partition in (0, 1)]
    every = [record for part in parts for record in part]
    sound = [[_read(record) for record in part] for part in parts]

    assert 400 < sum(map(len, every)) / len(every) < 480
    assert not {m["userId"] for m in sound[0] if m} & {m["userId"] for m in sound[1] if m} - {""}
    assert all(m["timestamp"] <= m["receivedAt"] for part in sound for m in part if m)
    rejected = sum(count(part, STEP_MS * 2).rejects for part in parts)
    assert rejected / len(every) == pytest.approx(TRAFFIC.malformed, rel=0.2)


def test_an_abandonment_waits_for_the_log_and_an_order_in_time_forestalls_it() -> None:
    """An order that is appended exactly an hour after the last addition is in time; 50 ms later it is too late."""
    hour = 3600 * 1000 // STEP_MS
    other = [_message("Product Viewed", n, "someone") for n in range(hour + 1)]
    added, ordered = _message("Product Added", 0, "buyer"), _message("Order Completed", hour, "buyer")

    in_time = count([added, *other[1:hour], ordered])
    too_late = count([added, *other[1 : hour + 1], ordered])

    assert (in_time.abandonments, too_late.abandonments) == (0, 1)


def test_contenders_that_count_differently_are_found_out() -> None:
    """A peer that is fast because it does another job must not get into the table."""
    row = Row("peer", "a peer", 10, 1, kafka=False)
    row.take("ours", whole=True, run=Measured(1.0, 1.0, 9.0, {"sessions": 2}), load=0)

    with pytest.raises(Unequal, match="theirs counted"):
        row.take("theirs", whole=True, run=Measured(1.0, 1.0, 9.0, {"sessions": 3}), load=0)


def test_what_a_process_tree_used_is_all_of_it() -> None:
    """A contender that lets a child do the work, and leaves a grandchild behind, is charged for both."""
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}]).wait()\n{burn}"
    result = measured([sys.executable, "-c", child], ROOT, os.environ)

    assert 0.6 <= result.cpu < 1.2
    assert result.peak_mb > 5


def _read(record: bytes) -> dict[str, str] | None:
    try:
        message = json.loads(record)
    except ValueError:
        return None
    return message if message["timestamp"].startswith("202") else None


def _message(event: str, number: int, user: str) -> bytes:
    properties = '{"product_id":"p","order_id":"o"}'
    return (
        f'{{"type":"track","messageId":"{event}-{number}","userId":"{user}","event":"{event}",'
        f'"timestamp":"2026-01-01T00:00:00.000Z","properties":{properties}}}'
    ).encode()
