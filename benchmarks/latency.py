"""How long until an event is seen: `python -m benchmarks.latency [RATE ...]`, at 1,000, 5,000 and 10,000 events a second.

Open loop: fifty probes a second are due at their times, whatever is slow, and time counts from then; so nothing is left out
that a stall would have delayed. A probe is an event of a new person, appended to the log; then its profile is asked for, and
the trigger that it causes (the campaign waits a millisecond), until they are there. The load comes from a process of its own,
about 100,000 people by Zipf; personalization is a process of its own too, and takes a snapshot every ten seconds.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import msgspec
from redis.asyncio import Redis

from benchmarks.delivery import PARTITIONS, RESULTS, ROOT, Stage, stage
from benchmarks.growth import message
from connectors.redis_profiles import profile_key
from connectors.redis_streams import connect, stream
from connectors.topics import EVENTS, TRIGGERS
from state.records import partition_of

RATES: Final = (1_000, 5_000, 10_000)
PROBES_A_SECOND, SECONDS, WARM_UP = 50, 40, 15
USERS: Final = 100_000
TARGET_P99, TARGET_P999 = 0.010, 0.060
_PATIENCE: Final = 30.0
_CAMPAIGNS: Final = """\
campaigns:
  probe:
    template: probe
    opened_by: [Probed]
    wait: 1ms
    subject: user
events: [Probed]
"""


class Seen:
    """When triggers were first readable, by the person whose they are."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    async def follow(self, client: Any) -> None:
        """Read the triggers as they come, until cancelled."""
        after = {stream(TRIGGERS, partition): "0-0" for partition in range(PARTITIONS)}
        while True:
            for name, entries in await client.xread(after, block=1000) or ():
                now = time.time()
                for position, fields in entries:
                    after[name.decode()] = position.decode()
                    self.at.setdefault(msgspec.json.decode(fields[b"v"])["user_id"], now)


async def probes(url: str) -> tuple[list[float], list[float], int]:
    """Send probes at their times; return how long profiles and triggers took, and how many never came."""
    async with Redis.from_url(url) as client, Redis.from_url(url, socket_timeout=None) as following:
        seen, profiles, due = Seen(), dict[str, float](), dict[str, float]()
        follower = asyncio.create_task(seen.follow(following))
        running = []
        began = time.time()
        for number in range(PROBES_A_SECOND * SECONDS):
            user_id, at = f"probe-{number}", began + number / PROBES_A_SECOND
            await asyncio.sleep(max(0.0, at - time.time()))
            due[user_id] = at
            running.append(asyncio.create_task(_probe(client, user_id, at, profiles)))
        await asyncio.gather(*running)
        await asyncio.sleep(1)
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
    triggers = [at - due[user_id] for user_id, at in seen.at.items() if user_id in due]
    return list(profiles.values()), triggers, 2 * len(due) - len(profiles) - len(triggers)


async def _probe(client: Any, user_id: str, due: float, profiles: dict[str, float]) -> None:
    value = msgspec.json.encode({"type": "track", "messageId": user_id, "userId": user_id, "event": "Probed"})
    await client.xadd(stream(EVENTS, partition_of(user_id, PARTITIONS)), {"v": value})
    while time.time() < due + _PATIENCE:
        if await client.exists(profile_key("default", user_id)):
            profiles[user_id] = time.time() - due
            return
        await asyncio.sleep(0.0005)


def load(url: str, rate: int, seconds: float) -> None:
    """Append events at a rate, a hundredth of a second's at a time; what was late is made up for."""
    rnd = random.Random(rate)
    with connect(url) as client:
        began, sent = time.time(), 0
        while (now := time.time()) < began + seconds:
            owed = int((now - began) * rate) - sent
            pipe = client.pipeline(transaction=False)
            for number in range(sent, sent + owed):
                user = min(int(rnd.paretovariate(0.6)) - 1, USERS - 1)
                name = rnd.choice(("Product Viewed", "Product Viewed", "Product Added", "Products Searched"))
                value = message(name, user, int(now * 1e6), number)
                pipe.xadd(stream(EVENTS, partition_of(f"user-{user}", PARTITIONS)), {"v": value})
            pipe.execute()
            sent += owed
            time.sleep(max(0.0, 0.01 - (time.time() - now)))


def main(rates: list[int]) -> None:
    """Measure each rate on a stage of its own; print, keep and plot."""
    found: dict[int, dict[str, Any]] = {}
    spreads: dict[int, list[float]] = {}
    for rate in rates:
        with stage() as on:
            profiles, triggers, missing = _measured(on, rate)
        found[rate] = {"profile": _quantiles(profiles), "trigger": _quantiles(triggers), "missing": missing}
        spreads[rate] = profiles
        for what in ("profile", "trigger"):
            said = "  ".join(f"{name} {value * 1000:.1f} ms" for name, value in found[rate][what].items())
            print(f"{rate:6} events/s: to the {what} readable: {said}; missing {missing}", flush=True)
    if 5_000 in found:
        p99, p999 = found[5_000]["profile"]["p99"], found[5_000]["profile"]["p99.9"]
        met = "met" if p99 <= TARGET_P99 and p999 <= TARGET_P999 else "missed"
        print(f"target at 5,000 a second: p99 10 ms, p99.9 60 ms: {met} ({p99 * 1000:.1f}, {p999 * 1000:.1f})")
    (RESULTS / "latency.json").write_text(json.dumps(found, indent=1) + "\n")
    _plot(spreads, ROOT / "docs" / "performance-latency.svg")


def _measured(on: Stage, rate: int) -> tuple[list[float], list[float], int]:
    (on.folder / "campaigns.yaml").write_text(_CAMPAIGNS)
    worker = on.process(
        "run", "personalization", "--campaigns", str(on.folder / "campaigns.yaml"),
        WAXMARK_RECOVERY=str(on.folder / "recovery"),
    )  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.latency", "--load", on.url, str(rate), str(SECONDS + WARM_UP + 5)]
    loading = subprocess.Popen(command, cwd=ROOT)
    try:
        time.sleep(WARM_UP)
        return asyncio.run(probes(on.url))
    finally:
        loading.kill()
        loading.wait()
        worker.terminate()
        worker.wait(60)


def _quantiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=1000)
    return {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998], "max": max(seconds)}


def _plot(spreads: dict[int, list[float]], path: Path) -> None:
    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for rate, seconds in spreads.items():
        bins = [0.001 * 10 ** (step / 20) for step in range(61)]
        axes.hist(seconds, bins=bins, histtype="step", label=f"{rate:,} events/s")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds from an event's due time to its readable profile")
    axes.set_ylabel("probes")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        main([int(rate) for rate in sys.argv[1:]] or list(RATES))
