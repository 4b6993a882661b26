"""What churn costs: an event on top of the fold, one score, and one labelled example with three models."""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from connectors import logfile
from models import features
from models.defaults import DEFAULTS
from models.learner import Learner, Publishing
from models.scoring import compiled
from operators.churn import CHAMPION, Churning, ChurnMachine
from operators.fold import Fold, Limits
from simulator.logs import write_log
from simulator.shop import Shop
from state.churn import Behaviour, Example
from state.clock import DAY, HOUR, SECOND
from state.commerce import Kind
from state.records import Batch, Record
from state.shard import Shard
from state.wire import Model, encoder

START = 1_767_225_600_000_000
EVENTS, BATCH, RUNS = 20_000, 500, 7


def costs() -> dict[str, float]:
    """Measure and print: CPU microseconds, the least of seven runs, since others only ever add."""
    taught, examples = _taught()
    figures = {
        "an event, on top of the fold": _on_top(taught["adagrad"]),
        "the features of one event": _update(),
        "one vector of features": _repeated(_vectors, 2000),
        "one score": _repeated(_scores(taught["adagrad"]), 2000),
        "one score with its reasons": _repeated(_scores(taught["adagrad"], reasons=True), 2000),
        "a labelled example with three models": _learned(examples),
    }
    print("CPU us, least of 7 runs")
    for name, figure in figures.items():
        print(f"{name:40}{figure:8.2f}")
    return figures


def _least(run: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times) * 1e6


def _repeated(run: Callable[[], object], count: int) -> float:
    return _least(lambda: [run() for _ in range(count // 100)]) / (count // 100) / 100


def _life() -> list[tuple[Kind, int]]:
    rnd, now, life = random.Random(1), START, []
    for _ in range(100):
        now += int(rnd.expovariate(1 / (8 * HOUR)))
        life.append((rnd.choice([Kind.BROWSE] * 6 + [Kind.CART, Kind.CHECKOUT, Kind.ORDER, Kind.EMAIL_OPEN]), now))
    return life


_LIFE = _life()


def _behaviour() -> Behaviour:
    behaviour = Behaviour()
    for kind, time_ in _LIFE:
        features.update(behaviour, kind, time_, 20.0)
    return behaviour


def _update() -> float:
    return _least(lambda: [_behaviour() for _ in range(20)]) / 20 / len(_LIFE)


_OF_ALL = _behaviour()
_LATER = _LIFE[-1][1] + DAY


def _vectors() -> None:
    for _ in range(100):
        features.vector(_OF_ALL, _LATER)


def _scores(model: Model, *, reasons: bool = False) -> Callable[[], None]:
    scorer = compiled(model)
    if scorer is None:
        raise ValueError("the model cannot score")
    x = features.vector(_OF_ALL, _LATER)
    score: Callable[[list[float]], object] = scorer.explained if reasons else scorer.score

    def scored() -> None:
        for _ in range(100):
            score(x)

    return scored


def _example(number: int, rnd: random.Random) -> Example:
    x = [rnd.gammavariate(2.0, 0.8) for _ in features.NAMES]
    label = int(rnd.random() < 1 / (1 + np.exp(-2 * (x[3] - x[4]))))
    scores = {name: ("v", rnd.random()) for name in DEFAULTS}
    return Example(
        example_id=str(number),
        tenant="default",
        user_id=f"user-{number % 500}",
        asked_at=START + number * 5 * SECOND,
        labelled_at=START + number * 5 * SECOND + 30 * DAY,
        timer=True,
        eligible=True,
        label=label,
        features_version=features.VERSION,
        features=x,
        scores=scores,
    )


def _taught() -> tuple[dict[str, Model], list[Example]]:
    rnd = random.Random(2)
    examples = [_example(number, rnd) for number in range(3000)]
    models = {}
    for name, build in DEFAULTS.items():
        learner = Learner("default", name, build, Publishing())
        for example in examples:
            record = learner.learn(example).record
            if record is not None:
                models[name] = record
    return models, examples


def _learned(examples: list[Example]) -> float:
    """Judge, teach and publish, with production's defaults."""

    def learn() -> None:
        learners = [Learner("default", name, build, Publishing()) for name, build in DEFAULTS.items()]
        for example in examples:
            for learner in learners:
                learner.learn(example)

    return _least(learn) / len(examples)


def _on_top(model: Model) -> float:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        shop = Shop(known_only=True, rate=100)
        write_log(log, shop, 1, partitions=1, events=EVENTS, campaigns=[], start=START)
        records = [record for _, record in logfile.read(log)]
    champion = Model(name=CHAMPION, version=model.name, schema=0, weights={})
    first = [Record(str(n), 0, encoder.encode(control)) for n, control in enumerate((model, champion))]
    batches = [Batch(0, records[start : start + BATCH], 0) for start in range(0, len(records), BATCH)]

    def fold(*, churn: bool) -> Callable[[], None]:
        def run() -> None:
            folded = Fold(Shard(0), Limits(), _churn_over if churn else None)
            for batch in (Batch(0, first, 0), *batches):
                folded.apply(batch)

        return run

    return (_least(fold(churn=True)) - _least(fold(churn=False))) / len(records)


def _churn_over(models: dict[str, Model]) -> ChurnMachine:
    return ChurnMachine(features, compiled, models, Churning())
