"""`python -m benchmarks.determinism [EVENTS]`: the same log gives the same triggers, byte for byte, however it is read.

A simulated log is read by the dataflow (a) at full speed and (b) with random batch sizes, SIGKILL at five random moments and
resumes; once with visitors and once with known users only. After each run the log as it then is, with the links and forwards
that the run appended, is exported and replayed, and the sets of triggers are compared. With known users only, where nothing
is appended, a replay of the original log must agree too, and so must (a) and (b).
"""

import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.worker import DEMO_CAMPAIGNS, Worker, read, replayed
from connectors import campaign_file, logfile, redis_log, redis_server
from connectors.redis_streams import connect, stream
from connectors.topics import EVENTS, TRIGGERS
from simulator.logs import write_log
from simulator.shop import Shop
from state.clock import HOUR, SECOND

RESULTS: Final = Path(__file__).parent / "results"
PARTITIONS: Final = 2
KILLS: Final = 5
SEED: Final = 11
WRONG: Final = ("twice", "differing")


class Run(NamedTuple):
    """What one run wrote, and what the replays say that it should have written; triggers as bytes, sorted."""

    written: list[bytes]
    replayed: list[bytes]
    replayed_original: list[bytes]
    records: int

    @property
    def twice(self) -> int:
        """Count the triggers that were written more than once."""
        return len(self.written) - len(set(self.written))

    def differing(self, expected: list[bytes]) -> int:
        """Count the triggers that are too many or missing."""
        return sum(((Counter(self.written) - Counter(expected)) + (Counter(expected) - Counter(self.written))).values())


def simulated(path: Path, *, known_only: bool, events: int, age: int = 3 * HOUR) -> Path:
    """Write a log of a busy shop that began some time ago and has ended, so that it is read as fast as can be."""
    rate, now = max(50, events // 1000), time.time_ns() // 1_000_000 * 1000
    write_log(
        path,
        Shop(shoppers=max(300, events // 100), known_only=known_only, rate=rate, pace=0.05),
        SEED,
        partitions=PARTITIONS,
        events=events,
        campaigns=campaign_file.load(_hurried(path.with_suffix(".yaml"))),
        start=now - age,
    )
    return path


def run(url: str, folder: Path, raw: Path, *, known_only: bool, kills: Sequence[int] = ()) -> Run:
    """Let the dataflow read a log in an empty Redis, and kill it as soon as so many triggers are written."""
    rng = random.Random(SEED)
    campaigns = _hurried(folder.with_suffix(".yaml"))
    worker = Worker(url, folder, PARTITIONS, campaigns)
    with connect(url) as client:
        client.flushall()
        redis_log.load(client, raw)
        try:
            for triggers in kills:
                worker.start(**_some_batch_size(rng))
                worker.wait_until_reading()
                _wait_for(client, triggers)
                worker.kill()
            worker.start(**(_some_batch_size(rng) if kills else {}))
            longest = max(campaign.wait for campaign in campaign_file.load(campaigns)) / SECOND
            worker.wait_until_quiet(client, seconds=2 + (0 if known_only else longest), limit=600)
            code = worker.stop()
        finally:
            worker.kill()
        if code != 0:
            raise RuntimeError(f"the dataflow ended with code {code}: {worker.log()[-2000:]}")
        exported = folder / "exported.jsonl"
        redis_log.export(client, exported, PARTITIONS)
        written, records = read(client, TRIGGERS, PARTITIONS), len(read(client, EVENTS, PARTITIONS))
    header = logfile.read_header(exported)
    original = replayed(raw, header.read_to) if known_only and header else []
    return Run(sorted(written), replayed(exported), original, records)


def _hurried(path: Path) -> Path:
    """Write the demo's campaigns with waits of a fifth.

    What is forwarded is appended in the present, so a run with visitors is at rest only after the longest wait.
    """
    text = DEMO_CAMPAIGNS.read_text()
    path.write_text(re.sub(r"wait: (\d+)s", lambda wait: f"wait: {int(wait[1]) * 200}ms", text))
    return path


def random_moments(full: Run) -> list[int]:
    """Draw when to kill: by how many triggers are written, of all that an undisturbed run wrote."""
    rng = random.Random(SEED)
    return sorted(rng.randrange(len(full.written)) for _ in range(KILLS))


def _some_batch_size(rng: random.Random) -> dict[str, str]:
    return {"WAXMARK_BATCH_RECORDS": str(rng.randint(20, 1000))}


def _wait_for(client: Any, triggers: int, limit: float = 300.0) -> None:
    end = time.monotonic() + limit
    while sum(client.xlen(stream(TRIGGERS, partition)) for partition in range(PARTITIONS)) < triggers:
        if time.monotonic() > end:
            raise TimeoutError(f"{triggers} triggers are not written within {limit:.0f} s")
        time.sleep(0.005)


def main(events: int | None = None) -> None:
    """Run all four, print the counts and times, and end with code 1 unless all agree."""
    count = events or int(os.environ.get("WAXMARK_BENCH_EVENTS", "200000"))
    print(f"determinism over {count} events, {PARTITIONS} partitions")
    runs: dict[str, dict[str, float]] = {}
    for known_only in (True, False):
        runs |= _compared(count, known_only=known_only)
    RESULTS.mkdir(exist_ok=True)
    found = {"events": count, "partitions": PARTITIONS, "seed": SEED, "runs": runs}
    (RESULTS / "determinism.json").write_text(json.dumps(found, indent=1) + "\n")
    wrong = sum(figures[name] for figures in runs.values() for name in figures if name.startswith(WRONG))
    if wrong:
        sys.exit(f"determinism: {wrong} triggers are twice, missing or different")


def _compared(events: int, *, known_only: bool) -> dict[str, dict[str, float]]:
    """Let one log be read both ways, and count."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        raw = simulated(Path(place, "raw.jsonl"), known_only=known_only, events=events)
        full: Run | None = None
        for way in ("full speed", f"killed {KILLS} times"):
            folder, began = Path(place, way), time.monotonic()
            with redis_server.running(folder / "redis") as url:
                one = run(url, folder, raw, known_only=known_only, kills=random_moments(full) if full else ())
            full = full or one
            figures: dict[str, float] = {
                "records": one.records,
                "triggers": len(one.written),
                "twice": one.twice,
                "differing from the replay of its export": one.differing(one.replayed),
            }
            if known_only:
                figures["differing from the replay of the original"] = one.differing(one.replayed_original)
                figures["differing from full speed"] = one.differing(full.written)
            figures["seconds"] = round(time.monotonic() - began, 1)
            name = f"{'known users only' if known_only else 'with visitors'}, {way}"
            print(f"{name}: " + ", ".join(f"{value} {key}" for key, value in figures.items()), flush=True)
            found[name] = figures
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
