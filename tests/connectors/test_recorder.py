"""The recorder of metrics: what it adds up, and that two threads may use it."""

import sys
from bisect import bisect_left
from collections.abc import Iterator
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.metrics import (
    DUPLICATES,
    INSTRUMENTS,
    JOURNAL_BYTES,
    LAG,
    LAST_LOOK,
    LATENCY,
    NOT_SENT,
    RECORDS,
    REJECTS,
    SNAPSHOT_BYTES,
    SNAPSHOT_PAUSE,
    TRIGGERS,
)
from connectors.recorder import Metrics
from state.clock import MINUTE, SECOND
from state.events import Reason

NEW_YEAR = 1_767_225_600 * SECOND


@given(st.lists(st.lists(st.floats(min_value=0, max_value=100) | st.sampled_from(LATENCY.bounds))))
def test_a_batch_of_latencies_is_counted_as_one_by_one_would_be(batches: list[list[float]]) -> None:
    """Batches are counted by their bounds and not by their values; a value on a bound belongs to the bucket below it."""
    expected = [0] * (len(LATENCY.bounds) + 1)
    for value in (value for batch in batches for value in batch):
        expected[bisect_left(LATENCY.bounds, value)] += 1
    metrics = Metrics()
    for batch in batches:
        metrics.profile_latency(batch)
    ((_, spread),) = metrics.spreads(LATENCY)
    assert spread.counts == tuple(expected)
    assert spread.total == pytest.approx(sum(map(sum, batches)))


def test_a_profile_written_before_its_event_by_a_skewed_clock_counts_as_at_once() -> None:
    """Redis and the worker may disagree by a millisecond; a sum of latencies that falls would read as a restart."""
    metrics = Metrics()
    metrics.profile_latency([-0.004, 0.25])
    ((_, spread),) = metrics.spreads(LATENCY)
    assert spread.counts[0] == 1
    assert spread.total == 0.25


def test_batches_add_up_by_partition_type_campaign_and_reason() -> None:
    """Counts of separate batches and partitions meet only where all of their labels are the same."""
    metrics = Metrics()
    metrics.observe_batch(0, records={"track": 3, "link": 1}, triggers={("cart", "send"): 1}, duplicates=2)
    metrics.observe_batch(0, records={"track": 4}, triggers={("cart", "send"): 1, ("cart", "cancel"): 1})
    metrics.observe_batch(1, records={"track": 5}, rejects={Reason.BAD_TIME: 2}, not_sent={("cart", "reentry"): 1})
    assert dict(metrics.values(RECORDS)) == {("0", "track"): 7, ("0", "link"): 1, ("1", "track"): 5}
    assert dict(metrics.values(TRIGGERS)) == {("cart", "send"): 2, ("cart", "cancel"): 1}
    assert dict(metrics.values(NOT_SENT)) == {("cart", "reentry"): 1}
    assert dict(metrics.values(DUPLICATES)) == {("0",): 2, ("1",): 0}
    assert dict(metrics.values(REJECTS))["bad_time",] == 2


def test_every_reason_for_a_reject_is_there_from_the_start() -> None:
    """The first reject after a start once raised no alert: a rate needs the 0 from which the counter rose."""
    assert dict(Metrics().values(REJECTS)) == {(reason.value,): 0 for reason in Reason}


@pytest.mark.parametrize(
    ("log_time", "at_end", "lag"),
    [(NEW_YEAR - MINUTE, False, 60.0), (NEW_YEAR - MINUTE, True, 0.0), (NEW_YEAR + SECOND, False, 0.0)],
    ids=["a minute behind", "an idle log", "the broker's clock is ahead"],
)
def test_lag_is_the_age_of_the_last_record_unless_the_log_was_read_to_its_end(
    log_time: int, at_end: bool, lag: float
) -> None:
    """On an idle log the last record grows old without anyone being behind."""
    metrics = Metrics()
    metrics.looked(2, now=NEW_YEAR, log_time=log_time, at_end=at_end)
    assert metrics.values(LAG) == [(("2",), lag)]
    assert metrics.values(LAST_LOOK) == [(("2",), 1_767_225_600.0)]


def test_a_snapshot_sets_its_size_and_adds_its_pause() -> None:
    """The size that counts is the present one; of pauses, the worst one counts."""
    metrics = Metrics()
    metrics.snapshot(1, 1_000, 9_000, 0.02)
    metrics.snapshot(1, 1_500, 9_500, 0.2)
    assert metrics.values(SNAPSHOT_BYTES) == [(("1",), 1_500)]
    assert metrics.values(JOURNAL_BYTES) == [(("1",), 9_500)]
    ((labels, spread),) = metrics.spreads(SNAPSHOT_PAUSE)
    assert (labels, sum(spread.counts)) == (("1",), 2)
    assert spread.total == pytest.approx(0.22)


def test_a_recorder_that_is_off_keeps_nothing() -> None:
    """Where nobody scrapes, a report must cost a call and no more."""
    metrics, untouched = Metrics(enabled=False), Metrics(enabled=False)
    metrics.observe_batch(0, records={"track": 3}, rejects={Reason.INVALID: 1}, duplicates=1)
    metrics.looked(0, now=NEW_YEAR, log_time=NEW_YEAR, at_end=True)
    metrics.shard(0, users=1, timers=1, open_carts=1)
    metrics.snapshot(0, 1, 1, 0.1)
    metrics.profile_latency([0.1])
    metrics.suppressed("triggers", 1)
    for instrument in INSTRUMENTS:
        assert metrics.values(instrument) == untouched.values(instrument)
        assert metrics.spreads(instrument) == untouched.spreads(instrument)


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Switch threads so often that an unguarded step between two is found."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_recording_at_once_lose_nothing() -> None:
    """`total = total + count` is two steps: without the lock, one thread's count overwrites the other's."""
    metrics = Metrics()

    def work() -> None:
        for _ in range(5_000):
            metrics.observe_batch(0, records={"track": 1})
            metrics.profile_latency([0.004])

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(metrics.values(RECORDS)) == {("0", "track"): 20_000}
    assert sum(metrics.spreads(LATENCY)[0][1].counts) == 20_000
