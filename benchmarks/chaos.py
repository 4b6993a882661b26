"""`make chaos`: a real Kafka, two processes, continuous traffic, and SIGKILL after SIGKILL; then the count against a replay.

A random process of the dataflow is killed at a random moment, its start included; the supervisor starts both again. Every
tenth time it is the broker instead, started again at once. At the end every trigger and decision in Kafka is compared, byte
for byte, with a fold over the exported log. If any is lost or there twice, the files of broker and workers are kept.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.deployment import Deployment, Traffic, Verdict
from connectors import redis_server
from tests.kafka.broker import Brokers, running

_PROCESSES, _WHILE_STARTING = 2, 0.2
"""How many run, and the share of kills that come before they read."""

RESULTS = Path(__file__).parent / "results" / "chaos.json"


class Chaos(NamedTuple):
    """What was done, and what came of it."""

    kills: int
    broker_kills: int
    verdict: Verdict


def chaos(
    brokers: Brokers, deployment: Deployment, kills: int, *, seed: int, broker_every: int = 0, longest: float = 1.5
) -> Chaos:
    """Kill so often, let the dataflow finish, and judge.

    Args:
        brokers: whose first broker is killed.
        deployment: where nothing runs yet.
        kills: how many processes of the dataflow.
        seed: for the choice of victims and moments.
        broker_every: after how many of them the broker is killed too; 0 never.
        longest: seconds for which a process may run before it is killed, at most.
    """
    rng = random.Random(seed)
    broker_kills = 0
    deployment.create_topics()
    deployment.start(_PROCESSES)
    with Traffic(deployment):
        before: set[int] = set()
        for number in range(1, kills + 1):
            deployment.wait_until("a restart", lambda: len(set(deployment.pids()) - before) == _PROCESSES)  # noqa: B023 - asked now
            if rng.random() > _WHILE_STARTING:
                deployment.wait_until_reading()
            time.sleep(rng.uniform(0.0, longest))
            before = set(deployment.pids())
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(sorted(before)), signal.SIGKILL)
            if broker_every and number % broker_every == 0:
                broker_kills += 1
                brokers.kill()
                brokers.start()
                brokers.wait()
    deployment.wait_until_quiet()
    code = deployment.stop()
    if code:
        raise RuntimeError(f"the dataflow ended with code {code}: {deployment.log()[-3000:]}")
    return Chaos(kills, broker_kills, deployment.verdict())


def main() -> None:
    """Kill 200 times, or as often as the first argument says; print and keep the counts."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="waxmark-chaos-"))
    with redis_server.running(folder / "redis") as redis, running(folder / "kafka") as brokers:
        deployment = Deployment(brokers.bootstrap, redis, folder / "run", "chaos")
        done = chaos(brokers, deployment, kills, seed=1, broker_every=10)
        verdict = done.verdict
        repeated = [] if verdict.holds else deployment.repeated()
    print(f"{done.kills} processes and {done.broker_kills} brokers killed in {time.monotonic() - began:.0f} s")
    print(f"{verdict.records} records; {verdict.triggers} triggers and {verdict.decisions} decisions in Kafka")
    print(f"lost {verdict.lost}, twice {verdict.twice}, different {verdict.different}")
    figures = {"kills": done.kills, "broker_kills": done.broker_kills, **verdict._asdict()}
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    if not verdict.holds:
        print("\n".join(repeated))
        sys.exit(f"the files are kept in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
