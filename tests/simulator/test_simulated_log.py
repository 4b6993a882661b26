"""The simulated shop's log file: what a transport would have written, down to its positions."""

from collections import defaultdict
from pathlib import Path

import pytest

from connectors import logfile
from simulator.logs import write_log
from simulator.shop import Shop, visits
from state import campaigns as definitions
from state import wire
from state.campaigns import Campaign, Selector
from state.clock import HOUR, MILLISECOND, SECOND
from state.events import decode, parse_time
from state.records import Record, partition_of

START = parse_time("2026-03-02T09:00:00Z")
SHOP = Shop(pace=0.05, rate=2_000, malformed=0.01)
CART = Campaign(
    id="cart", template_id="cart-1", opened_by=(Selector("Product Added"),), wait=5 * SECOND, expires_after=HOUR
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that is not there yet."""
    return tmp_path / "log.jsonl"


def test_a_written_log_reads_back_as_the_stream_it_was_made_from(path: Path) -> None:
    """Broken records too, to the byte; and its header promises that nothing comes before what it holds."""
    header = write_log(path, SHOP, 7, partitions=4, events=5_000, campaigns=None, start=START)
    sent = list(visits(SHOP, 7, START, events=5_000))
    found = list(logfile.read(path))
    assert [(partition, record.log_time, record.value) for partition, record in found] == [
        (partition_of(each.key, 4), each.log_time, each.value) for each in sent
    ]
    assert logfile.read_header(path) == header
    assert header == logfile.Header(1, 4, fed_back=False, read_to=sent[-1].log_time + MILLISECOND)


def test_positions_are_stream_ids_that_grow_within_each_partition(path: Path) -> None:
    """At 2,000 records a second many share a millisecond: the number after the dash tells them apart."""
    write_log(path, SHOP, 7, partitions=2, events=5_000, campaigns=[CART], start=START)
    positions: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for partition, record in logfile.read(path):
        millisecond, number = map(int, record.position.split("-"))
        assert millisecond * MILLISECOND == record.log_time
        positions[partition].append((millisecond, number))
    assert set(positions) == {0, 1}
    for each in positions.values():
        assert each == sorted(set(each))
    assert max(number for each in positions.values() for _, number in each) > 0


def test_campaigns_are_in_force_from_the_first_record_of_every_partition(path: Path) -> None:
    """Were they missing in one partition, its people would get no campaign at all in a replay."""
    write_log(path, SHOP, 7, partitions=3, events=500, campaigns=[CART], start=START)
    first: dict[int, Record] = {}
    for partition, record in logfile.read(path):
        first.setdefault(partition, record)
    assert set(first) == {0, 1, 2}
    for record in first.values():
        control = decode(record.value, record.log_time)
        assert isinstance(control, wire.CampaignsInForce)
        assert control.digest == definitions.encode([CART])[0]
        assert definitions.decode(control.campaigns) == [CART]
    assert sum(1 for _ in logfile.read(path)) == 503


def test_the_same_arguments_write_the_same_file(path: Path) -> None:
    """A log named by its seed need not be kept; and an older, longer file under that name leaves nothing behind."""
    write_log(path, SHOP, 7, partitions=4, events=900, campaigns=[CART], start=START)
    longer = path.read_bytes()
    write_log(path, SHOP, 7, partitions=4, events=800, campaigns=[CART], start=START)
    shorter = path.read_bytes()
    write_log(path, SHOP, 7, partitions=4, events=900, campaigns=[CART], start=START)
    assert path.read_bytes() == longer
    assert len(shorter) < len(longer)


def test_a_log_of_nobody_or_of_no_time_is_refused_and_no_file_made(path: Path) -> None:
    """A start in seconds instead of microseconds is the usual mistake."""
    with pytest.raises(ValueError, match="microseconds"):
        write_log(path, SHOP, 7, partitions=4, events=10, campaigns=None, start=START // SECOND)
    with pytest.raises(ValueError, match="partition"):
        write_log(path, SHOP, 7, partitions=0, events=10, campaigns=None, start=START)
    assert not path.exists()
