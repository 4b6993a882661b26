"""What is written exactly once to a real Redis, and what of it is forgotten."""

import time
from typing import Any

from connectors.recorder import Metrics
from connectors.redis_outputs import OnceSink
from connectors.redis_streams import stream
from connectors.topics import DECISIONS, Buried
from state.clock import DAY, MILLISECOND

DECIDED = stream(DECISIONS, 0)


def fill(client: Any, count: int, *, age: int) -> list[str]:
    """Write entries of an age, a millisecond apart, and return their positions."""
    start = (time.time_ns() // 1000 - age) // MILLISECOND
    positions = [f"{start + n}-0" for n in range(count)]
    pipe = client.pipeline(transaction=False)
    for position in positions:
        pipe.xadd(DECIDED, {"id": position, "v": "{}"}, id=position)
    pipe.execute()
    return positions


def open_sink(redis_url: str, resume: str | None, *, retention: int = DAY) -> Any:
    """Open partition 0 where a snapshot left it."""
    sink = OnceSink(redis_url, 1, DECISIONS, Metrics(enabled=False), retention=retention)
    return sink.build_part("decisions", "0", resume)


def test_what_is_old_is_forgotten_and_the_next_entry_is_still_taken(redis_url: str, client: Any) -> None:
    """The last entry stays: by it the writer knows that nobody else has written."""
    positions = fill(client, 3000, age=3 * DAY)
    part = open_sink(redis_url, positions[-1])
    for _ in range(3):
        assert part.snapshot() == positions[-1]
    assert client.xlen(DECIDED) <= 200
    part.write_batch([Buried("new", b"{}")])
    entries = client.xrange(DECIDED)
    assert [fields[b"id"] for _, fields in entries[-2:]] == [positions[-1].encode(), b"new"]
    part.close()


def test_what_a_resume_may_still_read_back_is_kept_however_old(redis_url: str, client: Any) -> None:
    """Two crashes in a row: the replay has not brought again what was written after the snapshot."""
    positions = fill(client, 2000, age=3 * DAY)
    part = open_sink(redis_url, positions[499])
    for _ in range(5):
        part.snapshot()
    assert [p.decode() for p, _ in client.xrange(DECIDED)][-1500:] == positions[500:]
    part.close()


def test_what_is_young_is_kept_and_without_a_retention_all_is(redis_url: str, client: Any) -> None:
    """Somebody else trims the triggers: delivery, which knows what it still needs."""
    fill(client, 1000, age=DAY // 2)
    young = open_sink(redis_url, None)
    for _ in range(5):
        young.snapshot()
    young.close()
    assert client.xlen(DECIDED) == 1000
    client.flushall()
    positions = fill(client, 1000, age=40 * DAY)
    endless = open_sink(redis_url, positions[-1], retention=0)
    for _ in range(5):
        endless.snapshot()
    endless.close()
    assert client.xlen(DECIDED) == 1000
