"""The dataflow on Kafka as it really runs: processes of their own, to be killed, stopped, rescaled and read out."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import product
from pathlib import Path
from threading import Event, Thread
from typing import Final, NamedTuple, Self

import msgspec

from connectors import kafka_log, logfile
from connectors.kafka_client import Kafka
from connectors.kafka_topics import Topics
from connectors.metrics import LAST_LOOK, SNAPSHOT_PAUSE
from connectors.redis_server import free_port
from connectors.scrape import exposition_sum, fetch
from connectors.settings import Settings
from connectors.topics import DECISIONS, TRIGGERS
from dataflows.replay import replay
from dataflows.scoring import churn_over
from operators.fold import Limits
from simulator.shop import Shop, visits
from state.clock import HOUR, to_iso

ROOT: Final = Path(__file__).parents[1]
CAMPAIGNS: Final = ROOT / "tests" / "kafka" / "campaigns.yaml"
WAXMARK: Final = (sys.executable, "-c", "from cli.main import main; main()")


class Verdict(NamedTuple):
    """Triggers and decisions as they stand in Kafka, against those of a replay of its log."""

    records: int
    triggers: int
    decisions: int
    lost: int
    twice: int
    different: int

    @property
    def holds(self) -> bool:
        """Tell whether every output is there, once, and as the fold has it."""
        return self.triggers > 0 and not (self.lost or self.twice or self.different)


class Deployment:
    """`waxmark run personalization` on one Kafka, with its own topics and recovery directory."""

    def __init__(self, bootstrap: str, redis: str, folder: Path, prefix: str, partitions: int = 4) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kafka = Kafka(prefix, {"bootstrap.servers": bootstrap})
        self.partitions, self.folder = partitions, folder
        self.recovery = folder / "recovery"
        self.environment = {
            "WAXMARK_KAFKA": bootstrap,
            "WAXMARK_KAFKA_PREFIX": prefix,
            "WAXMARK_REDIS": redis,
            "WAXMARK_PARTITIONS": str(partitions),
            "WAXMARK_RECOVERY": str(self.recovery),
            "WAXMARK_RECOVERY_FILES": "4",
            "WAXMARK_SNAPSHOT_SECONDS": "0.5",
            "WAXMARK_TICK_SECONDS": "0.3",
            "WAXMARK_RESTART_SECONDS": "0.1",
        }
        self._log = folder / "run.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._workers = 1

    def create_topics(self) -> None:
        """Create the topics as `waxmark topics` does."""
        Topics(self.kafka, self.partitions, retention_days=7).create_and_check()

    def start(self, workers: int = 2, **environment: str) -> None:
        """Start, or start again, with so many processes."""
        self._workers, self._port = workers, _ports_in_a_row(workers)
        own = {"WAXMARK_METRICS_PORT": str(self._port)}
        arguments = ["run", "personalization", "--campaigns", str(CAMPAIGNS), "--workers", str(workers)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*WAXMARK, *arguments],
                env=os.environ | self.environment | own | environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        return self.signal(signal.SIGTERM).wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL the supervisor, whose processes end with it, or the only process."""
        if self._process is not None:
            pids = self.pids() if self._workers > 1 else []
            self._process.kill()
            self._process.wait()
            for pid in pids:
                end_of(pid)

    def signal(self, number: int) -> "subprocess.Popen[bytes]":
        """Send a signal to what was started."""
        if self._process is None:
            raise RuntimeError("nothing was started")
        self._process.send_signal(number)
        return self._process

    @property
    def pid(self) -> int:
        """The supervisor's process id, or the only process's."""
        return 0 if self._process is None else self._process.pid

    def pids(self) -> list[int]:
        """List the process ids of the workers that run now."""
        if self._workers == 1:
            return [self.pid]
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    def log(self) -> str:
        """What the processes said."""
        return self._log.read_text() if self._log.exists() else ""

    def metric(self, name: str, **labels: str) -> float:
        """Add up a metric over all processes; 0 where none answers."""
        total = 0.0
        for number in range(self._workers):
            try:
                total += exposition_sum(fetch("127.0.0.1", self._port + number), name, **labels)
            except OSError:
                continue
        return total

    def read(self, topic: str) -> list[bytes]:
        """Read all values of a topic, as a reader with read_committed sees them."""
        return [
            record.value
            for partition in range(self.partitions)
            for records in kafka_log.read(self.kafka, topic, partition)
            for record in records
        ]

    def wait_until_reading(self) -> None:
        """Wait until every partition has been looked at since the start."""
        looked = lambda: all(self.metric(LAST_LOOK.name, partition=str(p)) for p in range(self.partitions))  # noqa: E731
        self.wait_until("reading", looked)

    def wait_until(self, what: str, so: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not so():
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"{what}: the dataflow ended: {self.log()[-3000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not happen in {seconds:.0f} s: {self.log()[-3000:]}")
            time.sleep(0.1)

    def wait_until_quiet(self, seconds: float = 3.5, limit: float = 90.0) -> None:
        """Wait until no output has come for longer than any campaign waits, nor is under way: shards were snapshotted twice."""
        end, since, before, begun = time.monotonic() + limit, time.monotonic(), -1, 0.0
        pods = self._process is None  # theirs are metrics of their own
        while time.monotonic() < end:
            size = len(self.read(TRIGGERS)) + len(self.read(DECISIONS))
            snapshots = self.metric(f"{SNAPSHOT_PAUSE.name}_count")
            if size != before or snapshots < begun:
                since, before, begun = time.monotonic(), size, snapshots
            elif size and time.monotonic() - since > seconds and (pods or snapshots >= begun + 2 * self.partitions):
                return
            time.sleep(0.3)
        raise TimeoutError(f"the dataflow did not come to rest: {self.log()[-3000:]}")

    def verdict(self) -> Verdict:
        """Export the log, fold it without a broker, and compare every trigger and decision byte for byte."""
        exported = self.folder / "exported.jsonl"
        records = kafka_log.export(self.kafka, exported, self.partitions)
        expected = _replayed(exported)
        found = self.read(TRIGGERS) + self.read(DECISIONS)
        by_id = {_id(value): value for value in found}
        common = by_id.keys() & expected.keys()
        return Verdict(
            records,
            triggers=len(self.read(TRIGGERS)),
            decisions=len(self.read(DECISIONS)),
            lost=len(expected.keys() - by_id.keys()),
            twice=sum(count - 1 for count in Counter(map(_id, found)).values()),
            different=len(by_id.keys() - expected.keys()) + sum(by_id[key] != expected[key] for key in common),
        )

    def repeated(self) -> list[str]:
        """Say of each trigger and decision that is there more than once where it stands, and when it was appended."""
        places = defaultdict[str, list[str]](list)
        for topic, partition in product((TRIGGERS, DECISIONS), range(self.partitions)):
            for records in kafka_log.read(self.kafka, topic, partition):
                for record in records:
                    place = f"{topic}/{partition} offset {record.position} at {to_iso(record.log_time)}"
                    places[_id(record.value)].append(place)
        return [f"{id_}: {'; '.join(found)}" for id_, found in places.items() if len(found) > 1]


def _replayed(path: Path) -> dict[str, bytes]:
    header = logfile.read_header(path)
    if header is None:
        raise ValueError(f"{path} is no log")
    end = max(record.log_time for _, record in logfile.read(path)) + HOUR
    churn, records = churn_over(Settings()), logfile.read(path)
    outputs = replay(records, header.partitions, Limits(), feed_back=False, read_to=end, churn_over=churn)
    items = [item for output in outputs for item in (*output.triggers, *output.decisions)]
    by_id = {item.id: item.value for item in items}
    if len(by_id) < len(items):  # it would look as if the dataflow had written twice
        raise RuntimeError(f"{len(items) - len(by_id)} ids stand for more than one output of the replay")
    return by_id


class _Known(msgspec.Struct):
    trigger_id: str = ""
    decision_id: str = ""


def _id(value: bytes) -> str:
    known = msgspec.json.decode(value, type=_Known)
    return known.trigger_id or known.decision_id


def _ports_in_a_row(count: int) -> int:
    """Find so many ports that nobody listens on, one after the other; return the first: each process takes the next."""
    while True:
        first = free_port()
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def end_of(pid: int, seconds: float = 20.0) -> None:
    """Wait until a process that is not our child has ended; kill it when it does not."""
    end = time.monotonic() + seconds
    while _runs(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Traffic:
    """Simulated shoppers, appending as they go; a context manager that stops them at the end."""

    def __init__(self, deployment: Deployment, rate: float = 150.0, seed: int = 1) -> None:
        self._sender = kafka_log.Sender(deployment.kafka, deployment.partitions)
        self._rate, self._seed = rate, seed
        self._stop = Event()
        self._thread = Thread(target=self._send, daemon=True)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sender.flush()

    def _send(self) -> None:
        shop = Shop(shoppers=400, rate=self._rate, pace=0.05)
        for each in visits(shop, self._seed, time.time_ns() // 1000, events=10_000_000):
            if self._stop.wait(max(0.0, each.log_time / 1e6 - time.time())):
                return
            self._sender.append(each.key, each.value)
            self.sent += 1
