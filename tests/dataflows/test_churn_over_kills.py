"""Personalization and learning together, on a real Redis, both killed: every example exists and is learned once."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.worker import Worker, read
from connectors import logfile, redis_log
from connectors.redis_streams import stream
from connectors.settings import Settings
from connectors.topics import EVENTS, EXAMPLES
from dataflows.replay import replay
from dataflows.scoring import churn_over
from models import features
from models.defaults import DEFAULTS
from models.learner import Learner, Publishing
from operators.churn import CHAMPION
from operators.fold import Limits
from simulator.logs import write_log
from simulator.shop import Shop
from state.churn import Example
from state.clock import DAY
from state.records import Record
from state.wire import Model, encoder
from tests.dataflows.test_learning import Learning, published

SETTINGS = {"WAXMARK_CHURN_HORIZON_DAYS": "1"}


@pytest.fixture
def together(redis_url: str, tmp_path: Path) -> Iterator[tuple[Worker, Learning]]:
    """Both processes; neither outlives the test."""
    both = Worker(redis_url, tmp_path / "personalization", 1), Learning(redis_url, tmp_path, 1)
    yield both
    for process in both:
        process.kill()


def test_each_example_has_one_label_and_is_learned_once_whoever_is_killed_when(
    together: tuple[Worker, Learning], client: Any, tmp_path: Path
) -> None:
    """Killed at random moments, the examples are byte for byte those of a replay, and the models those of one peaceful life."""
    personalization, learning = together
    today, raw = time.time_ns() // 1_000_000 * 1000, tmp_path / "raw.jsonl"
    shop = Shop(shoppers=1500, known_only=True, rate=0.03)
    write_log(raw, shop, 1, partitions=1, events=8000, campaigns=[], start=today - 5 * DAY)
    model = Model(name="adagrad", version="first", schema=features.VERSION, weights={"base_rate": 0.4})
    first = Record(f"{(today - 6 * DAY) // 1000}-0", today - 6 * DAY, encoder.encode(model))
    churn, records = churn_over(Settings(churn_horizon_days=1)), [(0, first), *logfile.read(raw)]
    outputs = replay(records, 1, Limits(), feed_back=False, read_to=today, churn_over=churn)
    replayed = {example.example_id: example for output in outputs for example in output.examples}
    assert len(replayed) > 500
    assert all(example.scores["adagrad"] == ("first", 0.4) for example in replayed.values())

    client.xadd(stream(EVENTS, 0), {"v": first.value}, id=first.position)
    redis_log.load(client, raw)
    rnd = random.Random(1)
    for _ in range(2):
        personalization.start(**SETTINGS)
        learning.start()
        time.sleep(4 + 2 * rnd.random())
        personalization.kill()
        learning.kill()
    personalization.start(**SETTINGS)
    learning.start()
    personalization.wait_until_reading()
    end = time.monotonic() + 90
    while client.xlen(stream(EXAMPLES, 0)) < len(replayed) and time.monotonic() < end:
        time.sleep(0.1)
    assert personalization.stop() == 0

    examples = [msgspec.json.decode(value, type=Example) for value in read(client, EXAMPLES, 1)]
    assert len({example.example_id for example in examples}) == len(examples)
    assert [example for example in examples if example.labelled_at < today] == list(replayed.values())
    wanted = {name: peaceful(name, examples) for name in DEFAULTS}
    newest = {name: records[-1] for name, records in wanted.items()}
    while published_last(client) != newest and time.monotonic() < end:
        time.sleep(0.1)
    assert learning.stop() == 0
    assert published_last(client) == newest
    for name, theirs in wanted.items():
        versions = {record.version for record in published(client, 0) if record.name == name}
        assert versions - {"first"} == {record.version for record in theirs}


def peaceful(name: str, examples: list[Example]) -> list[Model]:
    """What a model publishes that learns undisturbed."""
    learner = Learner("default", name, DEFAULTS[name], Publishing())
    return [record for example in examples if (record := learner.learn(example).record)]


def published_last(client: Any) -> dict[str, Model]:
    """The last weights of each model in the log."""
    return {record.name: record for record in published(client, 0) if record.name != CHAMPION}
