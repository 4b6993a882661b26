"""Personalization and learning together, on a real Redis, both killed with SIGKILL: every example exists and is learned once."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.worker import Worker, read
from connectors import logfile, redis_log
from connectors.settings import Settings
from connectors.topics import EXAMPLES
from dataflows.replay import replay
from dataflows.scoring import churn_over
from models.defaults import DEFAULTS
from models.learner import Learner, Publishing
from operators.fold import Limits
from simulator.logs import write_log
from simulator.shop import Shop
from state.churn import Example
from state.clock import DAY
from tests.dataflows.test_learning import Learning, published
from tests.shopping import START

HORIZON = {"WAXMARK_CHURN_HORIZON_DAYS": "1"}


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
    raw, exported = tmp_path / "raw.jsonl", tmp_path / "exported.jsonl"
    shop = Shop(shoppers=1500, known_only=True, rate=0.03)
    write_log(raw, shop, 1, partitions=1, events=8000, campaigns=[], start=START - 4 * DAY)
    redis_log.load(client, raw)
    rnd = random.Random(1)
    for _ in range(2):
        personalization.start(**HORIZON)
        learning.start()
        time.sleep(4 + 2 * rnd.random())
        personalization.kill()
        learning.kill()
    personalization.start(**HORIZON)
    learning.start()
    personalization.wait_until_quiet(client)

    examples = [msgspec.json.decode(value, type=Example) for value in read(client, EXAMPLES, 1)]
    assert len(examples) > 1000
    learning.wait_for(client, len(examples) // 500 * 500)
    assert (personalization.stop(), learning.stop()) == (0, 0)

    redis_log.export(client, exported, 1)
    settings = Settings(churn_horizon_days=1)
    header = logfile.read_header(exported)
    assert header is not None
    outputs = replay(
        logfile.read(exported), 1, Limits(), feed_back=False, read_to=header.read_to, churn_over=churn_over(settings)
    )
    replayed = {example.example_id: example for output in outputs for example in output.examples}
    assert len({example.example_id for example in examples}) == len(examples)
    import pickle; pickle.dump((examples, replayed), open("/tmp/w/dbg.pkl","wb")); import shutil; shutil.copy(exported,"/tmp/w/exported.jsonl")
    assert all(replayed[example.example_id] == example for example in examples)

    for name, build in DEFAULTS.items():
        learner = Learner("default", name, build, Publishing())
        records = [learned.record for example in examples if (learned := learner.learn(example)).record]
        seen = [record for record in published(client, 0) if record.name == name]
        assert {record.version for record in seen} == {record.version for record in records}
        assert seen[-1] == records[-1]
