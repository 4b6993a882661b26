"""What an event costs, part by part, on one worker with a real Redis: `python -m benchmarks.event_cost`.

CPU seconds of this process, per event. The parts are measured by running ever more of the pipeline over the same records, so
they add up to the whole; the garbage collector is set as a worker sets it. Of several runs over the same batches, the lowest
figure of each batch counts: what else runs on the machine only adds. The medians of whole runs are printed beside.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from connectors import campaign_file, garbage, logfile, redis_server
from connectors.outbox import Outboxes
from connectors.recorder import Metrics
from connectors.redis_outputs import OnceSink
from connectors.redis_profiles import ProfileSink
from connectors.redis_streams import connect
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.topics import DECISIONS, TRIGGERS
from dataflows.scoring import churn_over
from models import features
from operators.churn import CHAMPION
from operators.fold import Fold, Limits
from simulator.logs import write_log
from simulator.shop import Shop
from state.events import decode
from state.records import Batch, Record
from state.shard import Shard
from state.wire import Model, decoder, encoder

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
EVENTS, RUNS, TARGET, CHURN_TARGET = 50_000, 5, 14.0, 5.0
START = 1_767_225_600_000_000

Stage = Callable[[list[Record]], object]


def main() -> None:
    """Measure and print."""
    size = Settings().batch_records
    garbage.calm()
    with tempfile.TemporaryDirectory() as folder, redis_server.running(Path(folder) / "redis") as url:
        records = log(Path(folder) / "log.jsonl")
        batches = [records[start : start + size] for start in range(0, len(records), size)]
        length = statistics.median(len(record.value) for record in records)
        print(f"{len(records)} events, median {length:.0f} bytes, batches of {size}, {RUNS} runs; CPU us an event")
        no_campaigns = [batches[0][1:], *batches[1:]]  # the first record puts them in force
        stages: dict[str, tuple[Callable[[], Stage], list[list[Record]]]] = {
            "JSON and types (wire)": (lambda: wire, batches),
            "validation (event)": (lambda: _decode, batches),
            "identity, dedup, machines, profiles": (folded, no_campaigns),
            "campaigns and policy": (folded, batches),
            "profiles, triggers, decisions to Redis": (lambda: _written(url, plain()), batches),
            "churn: features, examples, scores": (lambda: _written(url, scoring()), batches),
        }
        figures = {name: measured(stage, over, len(records)) for name, (stage, over) in stages.items()}
    before = 0.0
    for name, (lowest, median) in figures.items():
        print(f"{name:40} adds {lowest - before:6.2f}, so far {lowest:6.2f} (median of whole runs {median:.2f})")
        before = lowest
    without = figures["profiles, triggers, decisions to Redis"][0]
    for what, figure, target in (("an event", without, TARGET), ("churn", before - without, CHURN_TARGET)):
        print(f"{what}: target {target}: {'met' if figure <= target else f'missed by {figure - target:.1f}'}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "event_cost.json").write_text(json.dumps(figures, indent=1) + "\n")


def log(path: Path, events: int = EVENTS) -> list[Record]:
    """Simulate a shop's log, campaigns first."""
    campaigns = campaign_file.load(ROOT / "campaigns.yaml")
    shop = Shop(known_only=True, rate=1000)
    write_log(path, shop, 1, partitions=1, events=events, campaigns=campaigns, start=START)
    return [record for _, record in logfile.read(path)]


def measured(stage: Callable[[], Stage], batches: list[list[Record]], events: int) -> tuple[float, float]:
    """Run a stage several times; return the sum of each batch's lowest and the median sum, in microseconds an event."""
    runs = []
    for _ in range(RUNS):
        take, seconds = stage(), []
        for batch in batches:
            began = time.process_time()
            take(batch)
            seconds.append(time.process_time() - began)
        runs.append(seconds)
    lowest = sum(min(column) for column in zip(*runs, strict=True))
    return lowest / events * 1e6, statistics.median(map(sum, runs)) / events * 1e6


def wire(records: list[Record]) -> None:
    """Decode records as JSON into types, and no more: the floor."""
    for record in records:
        try:
            decoder.decode(record.value)
        except ValueError:
            continue


def _decode(records: list[Record]) -> None:
    for record in records:
        decode(record.value, record.log_time)


def plain() -> Fold:
    """Build the fold without churn."""
    return Fold(Shard(0), Limits())


def folded() -> Stage:
    """Fold records."""
    fold = plain()
    return lambda records: fold.apply(Batch(0, records, 0))


def champion() -> list[bytes]:
    """Write the records that put a champion in force: a logistic regression over all features."""
    numbers = {"base_rate": 0.5, "bias": -1.0}
    for name in features.NAMES:
        numbers |= {f"mean:{name}": 1.0, f"sd:{name}": 2.0, f"weight:{name}": 0.1}
    model = Model(name="adagrad", version="1", schema=features.VERSION, weights=numbers)
    named = Model(name=CHAMPION, version="adagrad", schema=features.VERSION, weights={})
    return [encoder.encode(model), encoder.encode(named)]


def scoring() -> Fold:
    """Build the fold as it runs: with a champion in force."""
    fold = Fold(Shard(0), Limits(), churn_over(Settings()))
    fold.apply(Batch(0, [Record(f"0-{n}", 1, value) for n, value in enumerate(champion())], 0))
    return fold


def _written(url: str, fold: Fold) -> Stage:
    with connect(url) as client:
        client.flushall()
    metrics = Metrics(enabled=False)
    outboxes = Outboxes(url, Stop())
    profiles = ProfileSink(outboxes, 0, metrics).build("profiles", 0, 1)
    triggers = OnceSink(url, 1, TRIGGERS, metrics, outboxes=outboxes).build_part("triggers", "0", None)
    decisions = OnceSink(url, 1, DECISIONS, metrics, outboxes=outboxes).build_part("decisions", "0", None)

    def take(records: list[Record]) -> None:
        outputs = fold.apply(Batch(0, records, 0))
        profiles.write_batch(outputs.profiles)
        triggers.write_batch([*outputs.triggers])
        decisions.write_batch([*outputs.decisions])
        outboxes.settle()

    return take


if __name__ == "__main__":
    main()
