"""The event source on a real Redis: what it trims from the log, and what it must not."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.determinism import PARTITIONS, simulated
from benchmarks.worker import Worker, read, replayed
from connectors import redis_log, redis_server
from connectors.recorder import Metrics
from connectors.redis_streams import BATCH, EventSource, UnsafeRedis, stream
from connectors.stopping import Stop
from connectors.topics import EVENTS, TRIGGERS
from state.clock import DAY, HOUR, MILLISECOND
from state.records import Batch, Record

LOG = stream(EVENTS, 0)
NODE = 100
"""Entries; Redis drops whole nodes of a stream, so up to this many stay that could go."""


def fill(client: Any, count: int, *, age: int) -> list[str]:
    """Append records of an age, a millisecond apart, and return their positions."""
    start = time.time_ns() // 1000 - age
    positions = [f"{start // MILLISECOND + n}-0" for n in range(count)]
    pipe = client.pipeline(transaction=False)
    for position in positions:
        pipe.xadd(LOG, {"v": "{}"}, id=position)
    pipe.execute()
    return positions


def kept(client: Any) -> list[str]:
    """List the positions that the log still holds."""
    return [position.decode() for position, _ in client.xrange(LOG)]


Source = Callable[..., Any]


@pytest.fixture
def source(redis_url: str) -> Any:
    """Open partition 0 of a log whose records are kept for a day; closed at the end."""
    opened = []

    def build(resume: str | None = None) -> Any:
        part = EventSource(redis_url, 1, Stop(), DAY, Metrics(enabled=False)).build_part("events", "0", resume)
        opened.append(part)
        return part

    yield build
    for part in opened:
        part.close()


def look(part: Any) -> list[str]:
    """Take one batch, and return the positions in it."""
    return [record.position for _, batch in part.next_batch() for record in batch.records]


def test_what_is_old_and_covered_by_the_third_last_snapshot_is_trimmed(source: Source, client: Any) -> None:
    """A crash may lose the last two snapshots, for they may not be durable yet; the one before them is."""
    positions = fill(client, 5000, age=3 * DAY)
    part = source()
    covered = ["0-0"]
    while batch := look(part):
        assert part.snapshot() == batch[-1]
        covered.append(batch[-1])
        third_last = covered[-3] if len(covered) > 2 else "0-0"
        left = kept(client)
        needed = [p for p in positions if p > third_last]
        assert left[-len(needed) :] == needed
        assert len(left) <= len(needed) + NODE
    assert len(covered) > 5
    assert len(kept(client)) < 1500


def test_what_was_not_read_is_kept_however_old(source: Source, client: Any) -> None:
    """After an outage longer than the retention, the backlog is read, not thrown away."""
    positions = fill(client, 2000, age=40 * DAY)
    part = source()
    for _ in range(5):
        part.snapshot()
    assert kept(client) == positions
    first = look(part)
    for _ in range(5):
        part.snapshot()
    assert set(positions) - set(kept(client)) <= set(first)


def test_what_is_young_is_kept_though_it_was_read(source: Source, client: Any) -> None:
    """The log is the history that replays, exports and new dataflows read, for as long as the retention says."""
    fill(client, 1000, age=3 * DAY)
    young = fill(client, 1000, age=23 * HOUR)
    part = source()
    while look(part):
        part.snapshot()
    for _ in range(3):
        part.snapshot()
    assert kept(client)[-1000:] == young
    assert len(kept(client)) <= 1000 + NODE


def test_a_resumed_source_trims_nothing_after_the_snapshot_it_resumed_from(source: Source, client: Any) -> None:
    """That snapshot is the only one that is surely durable, until two more were made."""
    positions = fill(client, 3000, age=3 * DAY)
    part = source(positions[999])
    assert look(part)[0] == positions[1000]
    part.snapshot()
    look(part)
    part.snapshot()
    assert kept(client)[-2000:] == positions[1000:]
    part.snapshot()
    assert kept(client)[0] > positions[999]


def test_however_much_is_old_it_is_trimmed_at_once(source: Source, client: Any) -> None:
    """Redis drops 10,000 entries at most unless told otherwise: with a snapshot every 10 s, a busy log grew for ever."""
    positions = fill(client, 30_000, age=3 * DAY)
    part = source(positions[-1])
    part.snapshot()
    part.snapshot()
    assert len(kept(client)) <= NODE


def test_a_source_refuses_to_go_on_where_the_log_is_gone(source: Source, client: Any) -> None:
    """An old backup of the recovery store is put back: what was appended since and trimmed would be left out in silence."""
    positions = fill(client, 1000, age=3 * DAY)
    client.xtrim(LOG, minid=positions[600], approximate=False)
    with pytest.raises(UnsafeRedis, match=f"{LOG} no longer holds {positions[400]}"):
        source(positions[400])
    assert look(source(positions[600]))[0] == positions[601]


def test_a_backlog_is_not_at_its_end_until_a_look_brings_less_than_it_may(source: Source, client: Any) -> None:
    """At the end a pause is what everybody waits for, so people are written early; in a backlog that would be wasted."""
    fill(client, BATCH + 1, age=HOUR)
    part = source()
    told = [batch for _ in range(2) for _, batch in part.next_batch()]
    assert [(len(batch.records), batch.at_end, bool(batch.read_to)) for batch in told] == [
        (BATCH, False, False),
        (1, True, True),
    ]


def wait(part: Any, seconds: float = 5.0) -> Batch:
    """Look until there is something to tell."""
    end = time.monotonic() + seconds
    while not (told := part.next_batch()):
        assert time.monotonic() < end, "nothing was told"
        time.sleep(0.001)
    ((_, batch),) = told
    return batch  # type: ignore[no-any-return] # the part is of no public class


def test_an_idle_source_tells_the_time_though_nothing_comes(source: Source) -> None:
    """Timers fire on an idle log, since the source says how late it is; a few times a second, not at every look."""
    part = source()
    assert not wait(part).records
    began, told = time.monotonic(), [wait(part).read_to for _ in range(5)]
    assert told == sorted(set(told))
    assert 0.5 < time.monotonic() - began < 4.0
    assert abs(told[-1] - time.time_ns() // 1000) < 5_000_000


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_comes_to_an_idle_log_is_read_at_once_and_whole(redis_url: str, client: Any, protocol: int) -> None:
    """Redis says that something came with its first record; those behind it, and traces, come in the same batch."""
    url = f"{redis_url}?protocol={protocol}"
    part = EventSource(url, 1, Stop(), DAY, Metrics(enabled=False)).build_part("events", "0", None)
    for number in range(3):
        wait(part)
        assert part.next_batch() == []
        pipe = client.pipeline(transaction=True)
        pipe.xadd(LOG, {"v": b"\xff\r\n"}, id=f"{number + 5}-1")
        pipe.xadd(LOG, {"v": "b", "traceparent": "00-trace"}, id=f"{number + 5}-2")
        pipe.xadd(LOG, {"traceparent": "00-trace"}, id=f"{number + 5}-3")
        pipe.execute()
        time_ = (number + 5) * MILLISECOND
        assert wait(part).records == [
            Record(f"{number + 5}-1", time_, b"\xff\r\n"),
            Record(f"{number + 5}-2", time_, b"b", "00-trace"),
            Record(f"{number + 5}-3", time_, b"", "00-trace"),
        ]
    assert part.snapshot() == "7-3"
    part.close()


def test_a_source_that_waits_for_more_lets_itself_be_stopped(redis_url: str) -> None:
    """A question that Redis has not answered yet holds up neither the stop nor the closing."""
    stop = Stop()
    part = EventSource(redis_url, 1, stop, DAY, Metrics(enabled=False)).build_part("events", "0", None)
    wait(part)
    stop.requested = True
    began = time.monotonic()
    with pytest.raises(StopIteration):
        part.next_batch()
    part.close()
    assert time.monotonic() - began < 0.15


def test_a_redis_that_goes_away_while_a_source_waits_stops_the_worker(tmp_path: Path) -> None:
    """Otherwise it would look healthy and read nothing for ever."""
    with redis_server.running(tmp_path) as url:
        part = EventSource(url, 1, Stop(), DAY, Metrics(enabled=False)).build_part("events", "0", None)
        wait(part)
    with pytest.raises(redis.ConnectionError):
        wait(part)
    part.close()


def test_an_old_log_that_is_trimmed_while_it_is_read_survives_five_kills(
    redis_url: str, client: Any, tmp_path: Path
) -> None:
    """Were a record trimmed that a resume still needs, its triggers would be missing or different."""
    raw = simulated(tmp_path / "raw.jsonl", known_only=True, events=20_000, age=3 * DAY)
    redis_log.load(client, raw)
    worker = Worker(redis_url, tmp_path, PARTITIONS)
    rng = random.Random(7)
    try:
        for _ in range(5):
            worker.start(WAXMARK_RETENTION_DAYS="1")
            worker.wait_until_reading()
            time.sleep(rng.uniform(0.1, 0.8))
            worker.kill()
        worker.start(WAXMARK_RETENTION_DAYS="1")
        worker.wait_until_quiet(client)
        assert worker.stop() == 0, worker.log()
    finally:
        worker.kill()
    assert sorted(read(client, TRIGGERS, PARTITIONS)) == replayed(raw, time.time_ns() // 1000)
    assert len(read(client, EVENTS, PARTITIONS)) < 5000
