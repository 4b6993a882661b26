"""The full job run once: the product's own processes over a backlog, with what they used and what they wrote."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import KafkaException

from benchmarks.deployment import end_of
from benchmarks.job_log import CAMPAIGNS, Day, into_kafka, into_redis, is_last, last, shortened
from benchmarks.worker import RUN
from connectors import kafka_log, redis_log, redis_server
from connectors.kafka_client import Kafka
from connectors.kafka_topics import Topics
from connectors.redis_server import free_port
from connectors.redis_streams import connect, stream
from connectors.stopping import end_with_parent
from connectors.topics import DEAD_LETTERS, DECISIONS, TOPICS, TRIGGERS

ROOT: Final = Path(__file__).parents[1]
PARTITIONS: Final = 4
EPOCH_MEGABYTES: Final = "1024"
"""What a partition of Kafka may emit between two snapshots; with the default of 64 it gives 14,000 such events a second."""

_ROUNDS: Final = 4
"""An event brings a link, a link a forward: so many times is the log read to its end before the job is done."""

_LIMIT_SECONDS: Final = 1800.0
_LOOK_SECONDS: Final = 0.02
_TICK: Final = os.sysconf("SC_CLK_TCK")
_COUNTED: Final = (TRIGGERS, DECISIONS, DEAD_LETTERS)
_PROFILES: Final = "profile:default:"


class NotSane(Exception):
    """A run wrote what cannot be right: its figures say nothing."""


class Setup(NamedTuple):
    """How the job is run: `kafka` over Kafka, else over Redis Streams; `snapshots` every ten seconds, or none."""

    name: str
    kafka: bool = False
    workers: int = 1
    snapshots: bool = True
    telemetry: bool = True


class Run(NamedTuple):
    """What a run used (seconds, MB) and what it wrote. CPU and memory are those of the whole process tree."""

    events: int
    cpu: float
    wall: float
    peak_mb: float
    users: int
    triggers: int
    decisions: int
    dead_letters: int


class Job:
    """`waxmark run personalization` as a process tree; a context manager that leaves none of it behind."""

    def __init__(self, folder: Path, setup: Setup, campaigns: Path, environment: dict[str, str]) -> None:
        self._log = folder / "run.log"
        own = environment | {
            "WAXMARK_PARTITIONS": str(PARTITIONS),
            "WAXMARK_RECOVERY": str(folder / "recovery"),
            "WAXMARK_EPOCH_MEGABYTES": EPOCH_MEGABYTES,
        }
        if setup.telemetry:
            own["WAXMARK_METRICS_PORT"] = str(free_port())
        if not setup.snapshots:
            own["WAXMARK_SNAPSHOT_SECONDS"] = "86400"
        self._command = [*RUN, "--campaigns", str(campaigns), "--workers", str(setup.workers)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAXMARK_")}
        self._environment = inherited | own

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Kill: what it has still to write belongs to no figure."""
        tree = self.tree()
        self._process.kill()
        self._process.wait()
        for pid in tree[1:]:
            end_of(pid)

    def tree(self) -> list[int]:
        """List the process ids, the first of which is the one that was started."""
        root = self._process.pid
        try:
            children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
        except OSError:
            children = []
        return [root, *map(int, children)]

    def cpu(self) -> float:
        """Say how many seconds of CPU, user and system, the processes have used."""
        return sum(map(_cpu, self.tree()))

    def peak_mb(self) -> float:
        """Add up the most memory that each process ever had."""
        return sum(_peak(pid) for pid in self.tree())

    def check(self) -> None:
        """Raise NotSane if it has ended."""
        if self._process.poll() is not None:
            raise NotSane(f"the worker ended with code {self._process.returncode}: {self._log.read_text()[-3000:]}")


def over_redis(day: Day, setup: Setup) -> Run:
    """Run the job over Redis Streams, in a Redis of its own. Raises NotSane."""
    with filled_redis(day) as (folder, url):
        return in_redis(day, setup, folder, url)


def in_redis(day: Day, setup: Setup, folder: Path, url: str) -> Run:
    """Run the job over a Redis that holds the day. Raises NotSane."""
    with connect(url) as client:
        with Job(folder, setup, CAMPAIGNS, {"WAXMARK_REDIS": url}) as job:
            cpu, wall = _finished(job, client, redis_log.Sender(client, PARTITIONS))
            peak = job.peak_mb()
        counts = [sum(client.xlen(stream(t, p)) for p in range(PARTITIONS)) for t in _COUNTED]
        return _sane(Run(len(day.sent), cpu, wall, peak, _profiles(client), *counts), day)


@contextmanager
def filled_redis(day: Day) -> Iterator[tuple[Path, str]]:
    """Run a Redis that holds a day and nothing else; yield a folder and its URL.

    It does not rewrite its file on the way, beside what is measured.
    """
    with tempfile.TemporaryDirectory() as folder, redis_server.running(Path(folder) / "redis") as url:
        with connect(url) as client:
            client.config_set("auto-aof-rewrite-percentage", 0)
            into_redis(client, day, PARTITIONS)
        yield Path(folder), url


def over_kafka(bootstrap: str, prefix: str, day: Day, setup: Setup) -> Run:
    """Run the job over Kafka, in topics of its own, with a Redis of its own for the profiles. Raises NotSane."""
    kafka = Kafka(prefix, {"bootstrap.servers": bootstrap})
    Topics(kafka, PARTITIONS, retention_days=7).create_and_check()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            redis_server.running(Path(folder) / "redis") as url,
            connect(url) as client,
        ):
            campaigns = Path(folder) / "campaigns.yaml"
            into_kafka(kafka, day, PARTITIONS, shortened(day, campaigns))
            environment = {"WAXMARK_REDIS": url, "WAXMARK_KAFKA": bootstrap, "WAXMARK_KAFKA_PREFIX": prefix}
            with Job(Path(folder), setup, campaigns, environment) as job:
                cpu, wall = _finished(job, client, kafka_log.Sender(kafka, PARTITIONS))
                peak = job.peak_mb()
                time.sleep(0.5)  # what a transaction holds at the end is seen once it has ended
            counts = [_written(kafka, topic) for topic in _COUNTED]
            return _sane(Run(len(day.sent), cpu, wall, peak, _profiles(client), *counts), day)
    finally:
        _forget(kafka)


def _finished(job: Job, client: Any, sender: Any) -> tuple[float, float]:
    """Wait until the log has been read, with what was fed back into it; return CPU and wall seconds since the start."""
    began = time.monotonic()
    for round_ in range(_ROUNDS):
        people = last(round_, PARTITIONS)
        if round_:
            for user_id, value in people:
                sender.append(user_id, value)
            sender.flush()
        keys = [f"{_PROFILES}{user_id}" for user_id, _ in people]
        while client.exists(*keys) < len(keys):
            job.check()
            if time.monotonic() - began > _LIMIT_SECONDS:
                raise NotSane(f"the log was not read to its end in {_LIMIT_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)
    return job.cpu(), time.monotonic() - began


def _sane(run: Run, day: Day) -> Run:
    expected = len(day.users())
    if run.users != expected:
        raise NotSane(f"{run.users} profiles of {expected} users")
    if not (run.triggers and run.decisions and run.dead_letters):
        raise NotSane(f"nothing was written to some topic: {run}")
    return run


def _profiles(client: Any) -> int:
    keys = client.scan_iter(f"{_PROFILES}*", count=5000)
    return sum(not is_last(key.decode().removeprefix(_PROFILES)) for key in keys)


def _written(kafka: Kafka, topic: str) -> int:
    return sum(len(records) for p in range(PARTITIONS) for records in kafka_log.read(kafka, topic, p))


def _forget(kafka: Kafka) -> None:
    admin = kafka.admin()
    for name, deleted in admin.delete_topics([kafka.topic(topic) for topic in TOPICS]).items():
        try:
            deleted.result(30)
        except KafkaException as error:
            print(f"{name} was left behind: {error.args[0].str()}")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _peak(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
