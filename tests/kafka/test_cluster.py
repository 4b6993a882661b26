"""The dataflow on Kafka as it really runs: killed, stopped, asleep for a while, and with more or fewer processes."""

import os
import re
import signal
import time
from collections.abc import Callable

import pytest

from benchmarks.chaos import chaos
from benchmarks.deployment import Deployment, Traffic, end_of
from connectors.kafka_log import Sender
from connectors.metrics import SUPPRESSED, UNCOVERED
from connectors.topics import TRIGGERS
from simulator.shop import Shop, visits
from tests.kafka.broker import Brokers

Deploy = Callable[..., Deployment]


def test_killed_twenty_times_and_its_broker_twice_it_writes_the_very_outputs_of_a_replay(
    broker: Brokers, deploy: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes under traffic, one of them killed at random moments: nothing lost, nothing twice, nothing different."""
    done = chaos(broker, deploy(), 20, seed=3, broker_every=10, longest=0.7)
    with capsys.disabled():
        print(f"\n{done}")  # noqa: T201 - the counts are what the test is about
    assert done.verdict.holds
    assert done.verdict.triggers > 100


def test_one_process_then_two_then_one_write_the_very_outputs_of_a_replay(deploy: Deploy) -> None:
    """Rescaled under traffic, by stopping and starting with another number: the recovery files serve any of them.

    Every stop is graceful: rc 0, and what is read back at the next start brings nothing to skip.
    """
    deployment = deploy()
    with Traffic(deployment):
        for workers in (1, 2, 1):
            before = len(deployment.read(TRIGGERS))
            deployment.start(workers)
            deployment.wait_until_reading()
            deployment.wait_until("a trigger", lambda: len(deployment.read(TRIGGERS)) > before + 5)  # noqa: B023 - asked now
            assert deployment.metric(SUPPRESSED.name) == 0
            if workers == 2:
                assert len(deployment.pids()) == 2
            assert deployment.stop() == 0, deployment.log()
    deployment.start(2)
    deployment.wait_until_reading()
    deployment.wait_until_quiet()
    assert deployment.metric(SUPPRESSED.name) == 0
    assert deployment.stop() == 0, deployment.log()
    assert deployment.verdict().holds


def test_a_worker_that_slept_while_another_took_over_is_fenced_and_says_so(deploy: Deploy) -> None:
    """SIGSTOP, a replacement on the same recovery directory, SIGCONT: the sleeper ends, and no output is there twice."""
    sleeper, heir = deploy(), deploy("heir")
    heir.environment["WAXMARK_RECOVERY"] = str(sleeper.recovery)
    with Traffic(sleeper):
        sleeper.start(1)
        sleeper.wait_until("a trigger", lambda: len(sleeper.read(TRIGGERS)) > 5)
        sleeper.signal(signal.SIGSTOP)
        heir.start(1)
        heir.wait_until_reading()
        before = len(heir.read(TRIGGERS))
        heir.wait_until("a trigger of the heir's", lambda: len(heir.read(TRIGGERS)) > before)
        process = sleeper.signal(signal.SIGCONT)
        assert process.wait(timeout=30) == 4, sleeper.log()
    assert sleeper.log().count("was taken over by another worker; this one ends") == 1
    assert "Traceback" not in sleeper.log()
    heir.wait_until_quiet()
    assert heir.stop() == 0, heir.log()
    assert heir.verdict().holds


def test_one_process_of_two_that_dies_takes_the_other_along_and_both_come_back(deploy: Deploy) -> None:
    """The engine's processes share one fate; the supervisor restarts both, and outlives neither."""
    deployment = deploy()
    deployment.start(2)
    deployment.wait_until_reading()
    first = deployment.pids()
    os.kill(first[0], signal.SIGKILL)
    deployment.wait_until("a restart", lambda: len(set(deployment.pids()) - set(first)) == 2)
    deployment.wait_until_reading()
    second = deployment.pids()
    deployment.signal(signal.SIGKILL).wait(timeout=10)
    for pid in second:
        end_of(pid)
    assert deployment.log().count("a process ended; all restart") == 1


def test_the_lag_that_kafkas_own_tool_shows_is_the_lag_that_we_report(broker: Brokers, deploy: Deploy) -> None:
    """A backlog is read in steps between snapshots; in the middle of it the worker is held still and both are compared."""
    deployment = deploy()
    sender = Sender(deployment.kafka, deployment.partitions)
    for each in visits(Shop(rate=1000), 5, time.time_ns() // 1000, events=24_000):
        sender.append(each.key, each.value)
    sender.flush()
    deployment.start(1, WAXMARK_EPOCH_MEGABYTES="1", WAXMARK_SNAPSHOT_SECONDS="3")
    seen: list[float] = []
    for _ in range(8):
        deployment.wait_until("a snapshot", lambda: deployment.metric(UNCOVERED.name) not in {0, *seen})
        time.sleep(0.3)  # for the commit to arrive
        seen.append(deployment.metric(UNCOVERED.name))
        deployment.signal(signal.SIGSTOP)
        theirs = _lag(broker, deployment)
        deployment.signal(signal.SIGCONT)
        if seen[-1] == theirs > 0:
            break
        seen.append(theirs)
    else:
        pytest.fail(f"never equal: {seen}")
    assert deployment.stop() == 0, deployment.log()


def _lag(broker: Brokers, deployment: Deployment) -> int:
    group = f"{deployment.kafka.prefix}.personalization"
    told = broker.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--describe", "--group", group)
    rows = re.findall(rf"{re.escape(deployment.kafka.prefix)}\.events +\d+ +\d+ +\d+ +(\d+)", told)
    return sum(map(int, rows)) if len(rows) == deployment.partitions else -1
