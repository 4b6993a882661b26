"""The dataflow as it really runs: a process of its own, a real Redis, killed with SIGKILL."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import determinism
from benchmarks.determinism import simulated
from benchmarks.worker import ROOT, Worker
from benchmarks.worker import read as read_topic
from connectors import logfile, redis_log
from connectors.claim import Claim
from connectors.recorder import Metrics
from connectors.redis_outputs import OnceSink
from connectors.redis_streams import append
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from connectors.topics import DEAD_LETTERS, DECISIONS, TRIGGERS, Buried, Fenced
from connectors.transports import RedisTransport
from dataflows.personalization import personalization
from operators.fold import Limits
from state.clock import DAY, SECOND
from state.records import Record, partition_of
from tests.shopping import CART, added_to_cart, in_force, ordered, tracked

PARTITIONS = 2


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    """A worker that does not outlive its test."""
    worker = Worker(redis_url, tmp_path, PARTITIONS)
    yield worker
    worker.kill()


def read(client: Any, topic: str) -> list[bytes]:
    """Read all values of a topic."""
    return read_topic(client, topic, PARTITIONS)


@pytest.mark.parametrize("known_only", [False, True], ids=["with visitors", "known users only"])
def test_however_a_log_is_read_it_writes_the_very_triggers_of_a_replay(
    redis_url: str, tmp_path: Path, known_only: bool
) -> None:
    """At full speed, and with random batch sizes, killed at five random moments: nothing lost, twice or different.

    What each run wrote is compared byte for byte with a replay of the log as it then is. With known users only, where the
    runs append nothing to the log, they and a replay of the original agree as well.
    """
    raw = simulated(tmp_path / "raw.jsonl", known_only=known_only, events=6000)
    undisturbed = determinism.run(redis_url, tmp_path / "undisturbed", raw, known_only=known_only)
    moments = determinism.random_moments(undisturbed)
    killed = determinism.run(redis_url, tmp_path / "killed", raw, known_only=known_only, kills=moments)
    for each in (undisturbed, killed):
        assert len(each.written) > 500
        assert each.written == each.replayed
        assert each.twice == 0
        if known_only:
            assert each.written == each.replayed_original == undisturbed.written
        else:
            assert each.records > 6000, "links and forwards were appended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_graceful_stop_repeats_nothing(worker: Worker, client: Any, tmp_path: Path, number: signal.Signals) -> None:
    """Rc 0, a final snapshot, and the next start finds nothing to do again."""
    redis_log.load(client, simulated(tmp_path / "raw.jsonl", known_only=True, events=2000))
    worker.start()
    worker.wait_until_quiet(client)
    assert worker.stop(number) == 0, worker.log()
    before = {topic: read(client, topic) for topic in (TRIGGERS, DECISIONS, DEAD_LETTERS)}
    assert before[DEAD_LETTERS]
    worker.start()
    worker.wait_until_quiet(client)
    assert worker.stop(number) == 0, worker.log()
    assert {topic: read(client, topic) for topic in before} == before


def test_every_partition_of_every_step_is_snapshotted_in_every_epoch(
    worker: Worker, client: Any, tmp_path: Path
) -> None:
    """What slept through an epoch kept the row of a dead run that had used the same number: 31 outputs lost, 21 there twice.

    So on an idle log, too, no row is older than the last epoch, or the one before it where the stop came in between.
    """
    redis_log.load(client, simulated(tmp_path / "raw.jsonl", known_only=False, events=1000))
    worker.start()
    worker.wait_until_quiet(client)
    assert worker.stop() == 0, worker.log()
    with closing(sqlite3.connect(worker.recovery / "part-0.sqlite3")) as store:
        rows = store.execute(
            "SELECT step_id, state_key, MAX(snap_epoch) FROM snaps GROUP BY step_id, state_key"
        ).fetchall()
    steps = {step for step, _, _ in rows}
    assert len(steps) == 7, "source, fold, and five sinks"
    assert len(rows) == PARTITIONS * len(steps)
    epochs = [epoch for _, _, epoch in rows]
    assert min(epochs) >= max(epochs) - 1


def test_it_runs_by_the_command_of_bytewax_too(worker: Worker, client: Any, tmp_path: Path) -> None:
    """`python -m bytewax.run`, with recovery initialised as its manual says: SIGTERM ends it with rc 0.

    The next start goes on: what was appended meanwhile is taken in, and nothing is written again.
    """
    worker.recovery.mkdir()
    recovery = str(worker.recovery)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", recovery, "1"], check=True, cwd=ROOT)
    options = f"-m bytewax.run dataflows.personalization:flow -r {recovery} -s 1 -b 0"
    command = [sys.executable, *options.split()]
    redis_log.load(client, simulated(tmp_path / "raw.jsonl", known_only=True, events=2000))
    worker.start(*command)
    worker.wait_until_quiet(client)
    assert worker.stop() == 0, worker.log()
    before = {topic: read(client, topic) for topic in (TRIGGERS, DECISIONS, DEAD_LETTERS)}
    assert all(before.values())

    append(client, PARTITIONS, "ann", added_to_cart(time.time_ns() // 1000))
    worker.start(*command)
    worker.wait_until_quiet(client, seconds=7)
    assert worker.stop() == 0, worker.log()
    assert client.hget("profile:default:ann", "events") == b"1"
    after = {topic: read(client, topic) for topic in before}
    new = [msgspec.json.decode(value) for value in set(after[TRIGGERS]) - set(before[TRIGGERS])]
    assert sorted((t["campaign_id"], t["user_id"]) for t in new) == [("cart_abandonment", "ann"), ("win_back", "ann")]
    assert len(after[TRIGGERS]) == len(before[TRIGGERS]) + 2
    assert (after[DECISIONS], after[DEAD_LETTERS]) == (before[DECISIONS], before[DEAD_LETTERS])


def test_a_backlog_of_carts_a_day_old_triggers_only_for_those_who_did_not_buy(
    worker: Worker, client: Any, tmp_path: Path
) -> None:
    """1,000 carts were ordered a minute later, 1,000 were not; all are read after an outage of a day.

    With timers on the wall clock, the stock way, the first thousand would have got an email each.
    """
    yesterday = (time.time_ns() // 1000 - DAY) // 1000 * 1000
    log = [(partition, yesterday - SECOND, in_force(CART)) for partition in range(PARTITIONS)]
    for number in range(2000):
        user = f"user-{number}"
        partition, when = partition_of(user, PARTITIONS), yesterday + number * 1000
        log.append((partition, when, added_to_cart(when, user=user)))
        if number < 1000:
            log.append((partition, when + 60 * SECOND, ordered(when + 60 * SECOND, user=user)))
    log.sort(key=lambda entry: entry[1])
    records = [
        (partition, Record(f"{when // 1000}-{number}", when, value))
        for number, (partition, when, value) in enumerate(log)
    ]
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        logfile.write(file, logfile.Header(logfile.VERSION, PARTITIONS, fed_back=True), records)
    redis_log.load(client, path)
    worker.start()
    worker.wait_until_quiet(client)
    assert worker.stop() == 0, worker.log()
    carts = [t for t in map(msgspec.json.decode, read(client, TRIGGERS)) if t["campaign_id"] == "cart"]
    assert {t["user_id"] for t in carts} == {f"user-{number}" for number in range(1000, 2000)}
    assert len(carts) == 1000


def test_the_last_step_settles_what_the_others_have_said(tmp_path: Path) -> None:
    """The engine takes the steps of a turn in the order of their wiring: what came after it would wait a turn longer."""
    settings = Settings(recovery=tmp_path)
    claim = Claim.take(tmp_path, 0, "run")
    flow = personalization(RedisTransport(settings), Limits(), settings, Telemetry.of(settings), Stop(), claim)
    assert [step.step_name for step in flow.substeps][-1] == "settled"


def test_what_happens_live_is_in_the_profile_and_triggers(worker: Worker, client: Any) -> None:
    """Events appended while it runs: the profile shows the cart, and the trigger comes without another event."""
    worker.start()
    worker.wait_until_reading()
    append(client, PARTITIONS, "ann", added_to_cart(time.time_ns() // 1000))
    worker.wait_until_quiet(client)
    profile = client.hgetall("profile:default:ann")
    assert profile[b"cart_items"] == b"1"
    end = time.monotonic() + 30
    while not (triggers := read(client, TRIGGERS)) and time.monotonic() < end:
        time.sleep(0.1)
    assert worker.stop() == 0, worker.log()
    assert [msgspec.json.decode(value)["campaign_id"] for value in triggers] == ["cart_abandonment"]


def test_a_record_that_is_no_event_ends_in_the_dead_letters_with_its_reason(worker: Worker, client: Any) -> None:
    """And the next good one is processed."""
    append(client, PARTITIONS, "ann", b"{not json")
    append(client, PARTITIONS, "ann", tracked("Product Viewed", time.time_ns() // 1000, product_id="p"))
    worker.start()
    worker.wait_until_quiet(client)
    assert worker.stop() == 0, worker.log()
    (letter,) = map(msgspec.json.decode, read(client, DEAD_LETTERS))
    assert letter["reason"] == "not_json"
    assert client.hget("profile:default:ann", "events") == b"1"


def test_a_zombie_writer_is_refused(redis_url: str, client: Any) -> None:
    """Two workers believe that they own a partition: the one that another overtook must end, not write."""
    sink = OnceSink(redis_url, PARTITIONS, TRIGGERS, Metrics(enabled=False))
    zombie, heir = (sink.build_part("to_triggers", "0", None) for _ in range(2))
    heir.write_batch([Buried("a", b"1")])
    with pytest.raises(Fenced):
        zombie.write_batch([Buried("a", b"1")])
    assert read(client, TRIGGERS) == [b"1"]
    for part in (zombie, heir):
        part.close()


def test_what_was_written_after_the_snapshot_is_skipped_when_the_replay_brings_it_again(
    redis_url: str, client: Any
) -> None:
    """The crash came between the write and the snapshot."""
    sink = OnceSink(redis_url, PARTITIONS, TRIGGERS, Metrics(enabled=False))
    first = sink.build_part("to_triggers", "0", None)
    first.write_batch([Buried("a", b"1")])
    snapshot = first.snapshot()
    first.write_batch([Buried("b", b"2"), Buried("c", b"3")])
    resumed = sink.build_part("to_triggers", "0", snapshot)
    resumed.write_batch([Buried("b", b"2"), Buried("c", b"3"), Buried("d", b"4")])
    assert read(client, TRIGGERS) == [b"1", b"2", b"3", b"4"]
    for part in (first, resumed):
        part.close()


def test_a_second_crash_while_the_first_is_caught_up_with_writes_nothing_twice(redis_url: str, client: Any) -> None:
    """The snapshot once said that all was written while the replay was still on its way: the next resume wrote it again.

    Seen when the second kill came soon after the first: 32 of 966 triggers were there twice.
    """
    sink = OnceSink(redis_url, PARTITIONS, TRIGGERS, Metrics(enabled=False))
    first = sink.build_part("to_triggers", "0", None)
    first.write_batch([Buried("a", b"1"), Buried("b", b"2"), Buried("c", b"3")])
    snapshot: str | None = None
    parts = [first]
    for brought in (["a"], ["b"], [], ["c"]):
        parts.append(sink.build_part("to_triggers", "0", snapshot))
        parts[-1].write_batch([Buried(id_, b"again") for id_ in brought])
        snapshot = parts[-1].snapshot()
    parts[-1].write_batch([Buried("d", b"4")])
    assert read(client, TRIGGERS) == [b"1", b"2", b"3", b"4"]
    parts.append(sink.build_part("to_triggers", "0", parts[-1].snapshot()))
    parts[-1].write_batch([Buried("e", b"5")])
    assert read(client, TRIGGERS) == [b"1", b"2", b"3", b"4", b"5"]
    for part in parts:
        part.close()
