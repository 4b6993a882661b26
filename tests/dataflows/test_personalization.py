"""The dataflow as it really runs: a process of its own, a real Redis, killed with SIGKILL."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors import campaign_file, logfile, redis_log
from connectors.recorder import Metrics
from connectors.redis_streams import (
    DEAD_LETTERS,
    DECISIONS,
    EVENTS,
    TRIGGERS,
    Buried,
    Fenced,
    OnceSink,
    append,
    scan,
    stream,
)
from dataflows.replay import replay
from operators.fold import Limits
from simulator.logs import write_log
from simulator.shop import Shop
from state.clock import DAY, SECOND
from state.records import Record, partition_of
from tests.shopping import CART, added_to_cart, in_force, ordered, tracked

PARTITIONS = 2
ROOT = Path(__file__).parents[2]
DEMO_CAMPAIGNS = ROOT / "simulator" / "demo_campaigns.yaml"


class Worker:
    """`waxmark run personalization` as an operator starts it."""

    def __init__(self, url: str, folder: Path, campaigns: Path) -> None:
        self._environment = os.environ | {
            "WAXMARK_REDIS": url,
            "WAXMARK_PARTITIONS": str(PARTITIONS),
            "WAXMARK_RECOVERY": str(folder / "recovery"),
            "WAXMARK_SNAPSHOT_SECONDS": "0.3",
        }
        self._log = folder / "worker.log"
        self._campaigns = str(campaigns)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again."""
        command = [sys.executable, "-c", "from cli.main import main; main()", "run", "personalization"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--campaigns", self._campaigns],
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    def log(self) -> str:
        """What the worker said."""
        return self._log.read_text()


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    """A worker that does not outlive its test."""
    worker = Worker(redis_url, tmp_path, DEMO_CAMPAIGNS)
    yield worker
    worker.kill()


def read(client: Any, topic: str) -> list[bytes]:
    """Read all values of a topic."""
    return [fields[b"v"] for partition in range(PARTITIONS) for _, fields in scan(client, topic, partition)]


def wait_until_quiet(client: Any, *, seconds: float = 3.0, limit: float = 90.0) -> None:
    """Wait until no topic has grown for a while."""
    end, since, before = time.monotonic() + limit, time.monotonic(), -1
    while time.monotonic() < end:
        size = sum(client.xlen(stream(t, p)) for t in (EVENTS, TRIGGERS, DECISIONS) for p in range(PARTITIONS))
        if size != before:
            since, before = time.monotonic(), size
        elif size and time.monotonic() - since > seconds:
            return
        time.sleep(0.1)
    raise AssertionError("the dataflow did not come to rest")


def replayed(path: Path, read_to: int = 0) -> list[bytes]:
    """Fold a log file without a broker, up to a time (its own end unless given), and list the triggers."""
    header = logfile.read_header(path)
    assert header is not None
    outputs = replay(
        logfile.read(path),
        header.partitions,
        Limits(),
        feed_back=not header.fed_back,
        read_to=read_to or header.read_to,
    )
    return sorted(emission.value for out in outputs for emission in out.triggers)


def simulated(path: Path, *, known_only: bool, events: int = 6000) -> Path:
    """Write two minutes of a shop, three hours ago."""
    now = time.time_ns() // 1_000_000 * 1000
    write_log(
        path,
        Shop(shoppers=300, known_only=known_only, rate=50, pace=0.05),
        11,
        partitions=PARTITIONS,
        events=events,
        campaigns=campaign_file.load(DEMO_CAMPAIGNS),
        start=now - 3 * 3600 * SECOND,
    )
    return path


@pytest.mark.parametrize("known_only", [False, True], ids=["with visitors", "known users only"])
def test_killed_five_times_it_writes_the_very_triggers_of_a_replay(
    worker: Worker, client: Any, tmp_path: Path, known_only: bool
) -> None:
    """Nothing lost, nothing twice, nothing different: compared byte for byte with the fold over the exported log."""
    raw = simulated(tmp_path / "raw.jsonl", known_only=known_only)
    redis_log.load(client, raw)
    rng = random.Random(5)
    for _ in range(5):
        worker.start()
        time.sleep(rng.uniform(0.8, 2.5))
        worker.kill()
    worker.start()
    wait_until_quiet(client, seconds=25 if not known_only else 3)
    assert worker.stop() == 0, worker.log()

    exported = tmp_path / "exported.jsonl"
    redis_log.export(client, exported, PARTITIONS)
    triggers = read(client, TRIGGERS)
    assert len(triggers) > 500
    assert len({msgspec.json.decode(value)["trigger_id"] for value in triggers}) == len(triggers)
    assert sorted(triggers) == replayed(exported)
    if known_only:
        header = logfile.read_header(exported)
        assert header is not None
        assert sorted(triggers) == replayed(raw, header.read_to)


def test_a_graceful_stop_repeats_nothing(worker: Worker, client: Any, tmp_path: Path) -> None:
    """SIGTERM: rc 0, a final snapshot, and the next start finds nothing to do again."""
    redis_log.load(client, simulated(tmp_path / "raw.jsonl", known_only=True, events=2000))
    worker.start()
    wait_until_quiet(client)
    assert worker.stop() == 0, worker.log()
    before = {topic: read(client, topic) for topic in (TRIGGERS, DECISIONS, DEAD_LETTERS)}
    assert before[DEAD_LETTERS]
    worker.start()
    time.sleep(2)
    assert worker.stop() == 0, worker.log()
    assert {topic: read(client, topic) for topic in before} == before


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
    wait_until_quiet(client)
    assert worker.stop() == 0, worker.log()
    carts = [t for t in map(msgspec.json.decode, read(client, TRIGGERS)) if t["campaign_id"] == "cart"]
    assert {t["user_id"] for t in carts} == {f"user-{number}" for number in range(1000, 2000)}
    assert len(carts) == 1000


def test_what_happens_live_is_in_the_profile_and_triggers(worker: Worker, client: Any) -> None:
    """Events appended while it runs: the profile shows the cart, and the trigger comes without another event."""
    worker.start()
    now = time.time_ns() // 1000
    append(client, PARTITIONS, "ann", added_to_cart(now))
    wait_until_quiet(client)
    profile = client.hgetall("profile:default:ann")
    assert profile[b"cart_items"] == b"1"
    assert worker.stop() == 0, worker.log()


def test_a_record_that_is_no_event_ends_in_the_dead_letters_with_its_reason(worker: Worker, client: Any) -> None:
    """And the next good one is processed."""
    append(client, PARTITIONS, "ann", b"{not json")
    append(client, PARTITIONS, "ann", tracked("Product Viewed", time.time_ns() // 1000, product_id="p"))
    worker.start()
    wait_until_quiet(client)
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
