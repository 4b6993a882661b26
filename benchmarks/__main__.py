"""`make bench`: what an event costs, part by part, on one worker with a real Redis.

CPU seconds of this process, per event; the median of five runs over the same log, with the lowest and highest. The parts are
measured by running ever more of the pipeline over the same records, so they add up to the whole.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from connectors import campaign_file, logfile, redis_server
from connectors.recorder import Metrics
from connectors.redis_profiles import ProfileSink
from connectors.redis_streams import TRIGGERS, OnceSink, connect
from operators.fold import Fold, Limits
from simulator.logs import write_log
from simulator.shop import Shop
from state.events import decode
from state.records import Batch, Record
from state.shard import Shard
from state.wire import decoder

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
EVENTS, RUNS, BATCH, TARGET = 50_000, 5, 500, 14.0
START = 1_767_225_600_000_000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, redis_server.running(Path(folder) / "redis") as url:
        log = Path(folder) / "log.jsonl"
        campaigns = campaign_file.load(ROOT / "campaigns.yaml")
        shop = Shop(known_only=True, rate=1000)
        write_log(log, shop, 1, partitions=1, events=EVENTS, campaigns=campaigns, start=START)
        records = [record for _, record in logfile.read(log)]
        size = statistics.median(len(record.value) for record in records)
        print(f"{len(records)} events, median {size:.0f} bytes, batches of {BATCH}, {RUNS} runs; CPU us an event")
        stages: dict[str, Callable[[list[Record]], None]] = {
            "wire decode": _wire,
            "event decode": _decode,
            "fold": _fold,
            "fold, profiles and triggers to Redis": lambda batch: _whole(batch, url),
        }
        figures = {name: [_cpu(stage, records) for _ in range(RUNS)] for name, stage in stages.items()}
    before = 0.0
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"{name:40} {median:6.2f} ({min(values):.2f} to {max(values):.2f}), adds {median - before:.2f}")
        before = median
    print(f"target {TARGET}: {'met' if before <= TARGET else f'missed by {before - TARGET:.1f}'}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "event_cost.json").write_text(json.dumps(figures, indent=1) + "\n")


def _cpu(stage: Callable[[list[Record]], None], records: list[Record]) -> float:
    began = time.process_time()
    stage(records)
    return (time.process_time() - began) / len(records) * 1e6


def _wire(records: list[Record]) -> None:
    for record in records:
        try:
            decoder.decode(record.value)
        except ValueError:
            continue


def _decode(records: list[Record]) -> None:
    for record in records:
        decode(record.value, record.log_time)


def _batches(records: list[Record]) -> list[Batch]:
    return [Batch(0, records[start : start + BATCH], 0) for start in range(0, len(records), BATCH)]


def _fold(records: list[Record]) -> None:
    fold = Fold(Shard(0), Limits())
    for batch in _batches(records):
        fold.apply(batch)


def _whole(records: list[Record], url: str) -> None:
    with connect(url) as client:
        client.flushall()
    fold = Fold(Shard(0), Limits())
    metrics = Metrics(enabled=False)
    profiles = ProfileSink(url, 0, metrics).build("profiles", 0, 1)
    triggers = OnceSink(url, 1, TRIGGERS, metrics).build_part("triggers", "0", None)
    for batch in _batches(records):
        outputs = fold.apply(batch)
        profiles.write_batch(outputs.profiles)
        triggers.write_batch([*outputs.triggers])
    profiles.close()
    triggers.close()


main()
