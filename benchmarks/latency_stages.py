"""Where latency is measured: Redis or Kafka, the worker with people in its state, a collector, a load; all gone afterwards."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.delivery import ROOT, Stage, stage
from benchmarks.event_cost import champion
from benchmarks.growth import message
from benchmarks.job_log import CAMPAIGNS, last
from benchmarks.latency_load import KEY, PARTITIONS, Load
from benchmarks.latency_probes import Found, over_collector, over_kafka, over_redis, probed
from connectors.kafka_client import Kafka
from connectors.kafka_log import Sender
from connectors.kafka_topics import Topics
from connectors.redis_profiles import profile_key
from connectors.redis_server import free_port
from connectors.redis_streams import connect, stream
from connectors.topics import EVENTS
from state.records import partition_of
from tests.kafka.broker import running

REDIS, KAFKA, COLLECTOR = "Redis Streams", "Kafka", "through the collector"
_PROBE: Final = """
  probe:
    template: probe
    opened_by: [Probed]
    wait: 1ms
    subject: user
"""
_START_SECONDS: Final = 120.0


class Options(NamedTuple):
    """How long (seconds), and over how many people in the state."""

    seconds: int
    warm_up: int
    users: int


def measured(over: str, rate: int, options: Options) -> tuple[Found, Load]:
    """Load and probe, over Redis Streams, over Kafka or through the collector. Raises NoKafka."""
    with stage() as on:
        campaigns = on.folder / "campaigns.yaml"
        campaigns.write_text(f"events: [Probed]\n{CAMPAIGNS.read_text()}{_PROBE}")
        measure = {REDIS: _over_redis, KAFKA: _over_kafka, COLLECTOR: _through_collector}
        return measure[over](on, campaigns, rate, options)


def _over_redis(on: Stage, campaigns: Path, rate: int, options: Options) -> tuple[Found, Load]:
    with _worker(on, campaigns), _loaded(["redis", on.url], on, rate, options, _redis_appended(on)) as load:
        found = probed(on.url, over_redis(on.url), options.seconds)
    return found, load[0]


def _through_collector(on: Stage, campaigns: Path, rate: int, options: Options) -> tuple[Found, Load]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (
        _worker(on, campaigns),
        _ended(on.process("collect", "--port", str(port), WAXMARK_WRITE_KEY=KEY)),
        _loaded(["collector", address], on, rate, options, _redis_appended(on)) as load,
    ):
        found = probed(on.url, over_collector(address), options.seconds)
    return found, load[0]


def _over_kafka(on: Stage, campaigns: Path, rate: int, options: Options) -> tuple[Found, Load]:
    with running(on.folder / "kafka") as brokers:
        kafka = Kafka("latency", {"bootstrap.servers": brokers.bootstrap})
        Topics(kafka, PARTITIONS, retention_days=1).create_and_check()
        own = {"WAXMARK_KAFKA": brokers.bootstrap, "WAXMARK_KAFKA_PREFIX": kafka.prefix}

        def append(records: list[tuple[str, bytes]], everywhere: list[bytes]) -> None:
            sender = Sender(kafka, PARTITIONS)
            for value in everywhere:
                sender.append_everywhere(value)
            for user_id, value in records:
                sender.append(user_id, value)
            sender.flush()

        where = ["kafka", f"{brokers.bootstrap}/{kafka.prefix}"]
        with _worker(on, campaigns, **own), _loaded(where, on, rate, options, append) as load:
            found = probed(on.url, over_kafka(kafka), options.seconds)
        return found, load[0]


Append = Callable[[list[tuple[str, bytes]], list[bytes]], None]
"""Appends records of people, and before them records to every partition."""


def _redis_appended(on: Stage) -> Append:
    def append(records: list[tuple[str, bytes]], everywhere: list[bytes]) -> None:
        with connect(on.url) as client:
            pipe = client.pipeline(transaction=False)
            for partition in range(PARTITIONS):
                for value in everywhere:
                    pipe.xadd(stream(EVENTS, partition), {"v": value})
            for user_id, value in records:
                pipe.xadd(stream(EVENTS, partition_of(user_id, PARTITIONS)), {"v": value})
            pipe.execute()

    return append


@contextlib.contextmanager
def _worker(on: Stage, campaigns: Path, **environment: str) -> Iterator[None]:
    own = {"WAXMARK_RECOVERY": str(on.folder / "recovery")} | environment
    with _ended(on.process("run", "personalization", "--campaigns", str(campaigns), **own)):
        yield


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _loaded(where: list[str], on: Stage, rate: int, options: Options, append: Append) -> Iterator[list[Load]]:
    """Fill the state, wait until it is read, and load; yield a list that has, at the end, what was sent."""
    _fill(on, options.users, append)
    command = [sys.executable, "-m", "benchmarks.latency_load", *where, str(rate), str(options.users)]
    loading = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    said: list[Load] = []
    try:
        time.sleep(options.warm_up)
        if loading.poll() is not None:
            raise RuntimeError(f"the load ended: {_log(on)}")
        yield said
        loading.terminate()
        said.append(Load(*json.loads(loading.communicate(timeout=60)[0])))
    finally:
        loading.kill()
        loading.wait()


def _fill(on: Stage, users: int, append: Append) -> None:
    """Let everybody look at a product, and wait until the worker has taken that in."""
    now = time.time_ns() // 1000
    append([], champion())
    for start in range(0, users, 10_000):
        some = range(start, min(start + 10_000, users))
        append([(f"user-{user}", message("Product Viewed", user, now, 2**31 + user)) for user in some], [])
    append(last(0, PARTITIONS), [])
    end = time.monotonic() + _START_SECONDS
    with connect(on.url) as client:
        keys = [profile_key("default", user_id) for user_id, _ in last(0, PARTITIONS)]
        while client.exists(*keys) < len(keys):
            if time.monotonic() > end:
                raise TimeoutError(f"the worker did not read {users} events in {_START_SECONDS:.0f} s: {_log(on)}")
            time.sleep(0.1)


def _log(on: Stage) -> str:
    return (on.folder / "log.txt").read_text()[-2000:]
