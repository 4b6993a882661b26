"""Health: pure state asked at chosen times, over real HTTP, and of a real worker that is stopped."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from benchmarks.worker import Worker
from connectors.health import Health
from connectors.probe import healthy
from connectors.pulse import Felt
from connectors.recorder import Metrics
from connectors.redis_server import free_port
from connectors.telemetry import Telemetry
from state.clock import SECOND

NOON = 1_767_268_800 * SECOND


def resumed(*partitions: int) -> tuple[Metrics, Health]:
    """A process that has opened partitions and gone round once at noon."""
    metrics = Metrics()
    health = Health(metrics)
    for partition in partitions:
        health.opened(partition)
    health.moved(NOON)
    return metrics, health


class _Ended(FixedPartitionedSource[str, None]):
    """A source whose partitions were asked to stop."""

    def list_parts(self) -> list[str]:
        return ["0000"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSourcePartition[str, None]:  # noqa: ARG002 - theirs
        return _EndedPartition()


class _EndedPartition(StatefulSourcePartition[str, None]):
    def next_batch(self) -> list[str]:
        raise StopIteration

    def snapshot(self) -> None:
        return None


def test_a_process_that_still_resumes_is_neither_live_nor_ready() -> None:
    """An orchestrator waits for that with its startup probe, however large the state."""
    health = Health(Metrics())
    health.opened(0)
    assert not health.live(NOON).holds
    assert not health.ready(NOON).holds
    assert "resuming" in health.live(NOON).reason


def test_it_is_live_as_long_as_its_loop_comes_round() -> None:
    """With or without anything to read; the longest snapshot fits into the limit."""
    _, health = resumed(0)
    assert health.live(NOON + 60 * SECOND).holds
    assert health.live(NOON - SECOND).holds, "a clock that was set back"
    assert health.live(NOON + 61 * SECOND) == (False, "the loop stands still for 61 s")


def test_it_is_ready_when_every_partition_was_read_and_the_worst_is_within_the_limit() -> None:
    """One partition that falls behind is people whose emails are late."""
    metrics, health = resumed(0, 1)
    metrics.looked(0, now=NOON, log_time=NOON - SECOND, at_end=True)
    assert health.ready(NOON) == (False, "resuming: not read yet: 1")
    metrics.looked(1, now=NOON, log_time=NOON - 120 * SECOND, at_end=False)
    assert health.ready(NOON) == (True, "partition 1 is 120 s behind")
    assert health.ready(NOON + SECOND) == (False, "partition 1 is 121 s behind")


def test_a_broker_that_is_away_makes_it_unready_but_not_dead() -> None:
    """The gauges keep what they were told last; restarting the worker would not bring the broker back."""
    metrics, health = resumed(0)
    metrics.looked(0, now=NOON, log_time=NOON, at_end=True)
    health.moved(NOON + 200 * SECOND)
    assert health.live(NOON + 200 * SECOND).holds
    assert health.ready(NOON + 200 * SECOND) == (False, "partition 0 is 200 s behind")


def test_a_process_that_stops_is_live_until_its_last_snapshot_is_written_and_not_ready() -> None:
    """Killed for standing still, it would not write it."""
    metrics, health = resumed(0)
    metrics.looked(0, now=NOON, log_time=NOON, at_end=True)
    part = Felt(_Ended(), health).build_part("events", "0000", None)
    with pytest.raises(StopIteration):
        part.next_batch()
    assert health.live(NOON + 600 * SECOND) == (True, "stopping")
    assert health.ready(NOON) == (False, "stopping")


def test_health_is_served_beside_the_metrics() -> None:
    """What the probe of the container and of the orchestrator ask."""
    with Telemetry(metrics_port=0) as telemetry:
        url = f"http://127.0.0.1:{telemetry.port}"
        assert not healthy(f"{url}/healthz")
        telemetry.health.moved(10**18)
        assert healthy(f"{url}/healthz")
        assert not healthy(f"{url}/readyz")
        assert healthy(f"{url}/metrics")
    assert not healthy(f"{url}/healthz"), "nobody listens"


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[tuple[Worker, int]]:
    """A worker that counts as stalled after a second, and the port of its health."""
    port = free_port()
    worker = Worker(redis_url, tmp_path, 2)
    worker.start(WAXMARK_METRICS_PORT=str(port), WAXMARK_STALL_SECONDS="1")
    yield worker, port
    worker.kill()


def test_a_real_worker_tells_when_its_dependency_blocks_its_loop(worker: tuple[Worker, int], redis_url: str) -> None:
    """Redis is told to answer nobody for some seconds: the worker's thread waits in its call, and the probe says so."""
    _, port = worker

    def becomes(path: str, *, well: bool) -> bool:
        end = time.monotonic() + 60
        while healthy(f"http://127.0.0.1:{port}{path}") is not well and time.monotonic() < end:
            time.sleep(0.05)
        return time.monotonic() < end

    assert becomes("/readyz", well=True)
    assert becomes("/healthz", well=True)
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", 4000, "ALL")
    assert becomes("/healthz", well=False)
    assert becomes("/healthz", well=True)
    assert worker[0].stop(signal.SIGTERM) == 0
