"""What is written exactly once to a real Redis, and what of it is forgotten."""

import time
from typing import Any

import pytest
import redis

from connectors.recorder import Metrics
from connectors.redis_outputs import FeedbackSink, OnceSink
from connectors.redis_streams import stream
from connectors.topics import DECISIONS, EVENTS, Buried, Fenced
from state.clock import DAY, MILLISECOND
from state.outputs import Feedback
from state.wire import Link, encoder

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
    part.snapshot()
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


def test_a_batch_is_sent_without_waiting_and_the_next_one_comes_behind_it(redis_url: str, client: Any) -> None:
    """An append says which entry it believes to be the last, so it needs the answer to the one before; nobody else does."""
    heard: list[str] = []
    sink = OnceSink(
        redis_url, 1, DECISIONS, Metrics(enabled=False), lambda _, items: heard.extend(each.id for each in items)
    )
    part = sink.build_part("decisions", "0", None)
    for batch in (["a", "b"], ["c"], ["d", "e"]):
        part.write_batch([Buried(id_, b"{}") for id_ in batch])
        assert batch[-1] not in heard
    end = time.monotonic() + 5
    while "e" not in heard and time.monotonic() < end:
        part.listen()
    assert heard == ["a", "b", "c", "d", "e"]
    entries = client.xrange(DECIDED)
    assert [fields[b"id"].decode() for _, fields in entries] == heard
    assert part.snapshot() == entries[-1][0].decode()
    part.close()


@pytest.mark.parametrize("learns_by", ["snapshot", "append", "listen"])
def test_whoever_was_overtaken_learns_it_before_an_epoch_is_done(redis_url: str, client: Any, learns_by: str) -> None:
    """Its append is refused at once; that it is a zombie it hears later, but makes no snapshot that counts it as written."""
    zombie, successor = open_sink(redis_url, None), open_sink(redis_url, None)
    successor.write_batch([Buried("new", b"{}")])
    successor.snapshot()
    zombie.write_batch([Buried("old", b"{}")])
    time.sleep(0.1)
    with pytest.raises(Fenced, match="another worker"):
        {
            "snapshot": zombie.snapshot,
            "append": lambda: zombie.write_batch([Buried("older", b"{}")]),
            "listen": zombie.listen,
        }[learns_by]()
    assert [fields[b"id"] for _, fields in client.xrange(DECIDED)] == [b"new"]
    zombie.close()
    successor.close()


def link(visitor: str) -> Link:
    """Say that a visitor is ann."""
    return Link(tenant="shop", anonymous_id=visitor, user_id="ann")


def test_feedback_is_in_the_log_when_the_snapshot_is_made(redis_url: str, client: Any) -> None:
    """It is sent without waiting, in its order; and what Redis refuses, the snapshot tells."""
    part = FeedbackSink(redis_url, 1).build_part("to_events", "0", None)
    for number in range(3):
        part.write_batch([Feedback("ann", link(f"visitor-{number}"))] * 2)
        part.listen()
    part.snapshot()
    values = [fields[b"v"] for _, fields in client.xrange(stream(EVENTS, 0))]
    assert values == [encoder.encode(link(f"visitor-{n // 2}")) for n in range(6)]
    client.set(stream(EVENTS, 0), "not a stream")
    part.write_batch([Feedback("ann", link("visitor"))])
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        part.snapshot()
    part.close()


def test_whoever_ends_after_a_failure_does_not_wait_for_a_redis_that_is_silent(redis_url: str, client: Any) -> None:
    """The engine closes every partition after a failure: each waited half a minute, and raised what hid the reason."""
    part = open_sink(redis_url, None)
    feedback = FeedbackSink(redis_url, 1).build_part("to_events", "0", None)
    client.client_pause(2_000, all=True)
    part.write_batch([Buried("one", b"{}")])
    feedback.write_batch([Feedback("device", link("device"))])
    began = time.monotonic()
    for each in (part, feedback):
        each.close()
    assert time.monotonic() - began < 1
