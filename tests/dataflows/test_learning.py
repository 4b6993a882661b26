"""Learning as it really runs: a process of its own, a real Redis, killed with SIGKILL."""

import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.learning_log import At, Registry
from connectors.recorder import Metrics
from connectors.redis_server import free_port
from connectors.redis_streams import scan, stream
from connectors.scrape import exposition_sum, fetch
from connectors.topics import EVENTS, EXAMPLES
from dataflows.learning import LearnerLogic
from models import features
from models.defaults import DEFAULTS
from models.learner import Learner, Publishing
from models.report import Report
from operators.churn import CHAMPION
from state.churn import Example
from state.clock import DAY, SECOND
from state.wire import Model, decoder
from tests.shopping import START

PARTITIONS = 2
ROOT = Path(__file__).parents[2]


def labelled(count: int) -> list[Example]:
    """Make labelled examples that a model can learn from."""
    rnd = random.Random(3)
    made = []
    for number in range(count):
        x = [rnd.gammavariate(2.0, 1.0) for _ in features.NAMES]
        label = int(rnd.random() < 1 / (1 + 2.718281828 ** (-2 * (x[3] - x[4]))))
        score = min(max(rnd.gauss(0.5, 0.2), 0.01), 0.99)
        at = START + number * SECOND
        made.append(
            Example(
                example_id=f"example-{number}",
                tenant="default",
                user_id=f"user-{number % 97}",
                asked_at=at,
                labelled_at=at + 30 * DAY,
                timer=bool(number % 2),
                eligible=True,
                label=label,
                features_version=features.VERSION,
                features=x,
                scores={"adagrad": ("v", score), "ftrl": ("v", 1 - score)},
            )
        )
    return made


class Learning:
    """`waxmark run learning`, as an operator starts it."""

    def __init__(self, url: str, folder: Path, partitions: int = PARTITIONS, **environment: str) -> None:
        self._command = [sys.executable, "-c", "from cli.main import main; main()", "run", "learning"]
        self._log = folder / "learning.log"
        self._environment = os.environ | {
            "WAXMARK_REDIS": url,
            "WAXMARK_PARTITIONS": str(partitions),
            "WAXMARK_RECOVERY": str(folder / "recovery"),
            "WAXMARK_SNAPSHOT_SECONDS": "1",
        }
        self._environment |= environment
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        """Start, or start again where it was."""
        self._starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM, as soon as it is up; return the exit code."""
        assert self._process is not None
        end = time.monotonic() + 30
        while self._log.read_text().count('"running"') < self._starts and time.monotonic() < end:
            time.sleep(0.05)
        self._process.terminate()
        return self._process.wait(timeout=30)

    def wait_for(self, client: Any, labels: int) -> None:
        """Wait until every model has reported so many labels."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if [sum(report.labels) for report in reports(client).values()] == [labels] * len(DEFAULTS):
                return
            time.sleep(0.05)
        raise TimeoutError(self._log.read_text()[-3000:])


@pytest.fixture
def learning(redis_url: str, tmp_path: Path) -> Iterator[Learning]:
    """A learning process that does not outlive its test."""
    process = Learning(redis_url, tmp_path)
    yield process
    process.kill()


def append(client: Any, examples: list[Example]) -> None:
    """Append examples as personalization does."""
    pipe = client.pipeline(transaction=False)
    for example in examples:
        pipe.xadd(stream(EXAMPLES, 0), {"id": example.example_id, "v": msgspec.json.encode(example)})
    pipe.execute()


def reports(client: Any) -> dict[str, Report]:
    """Read the newest reports."""
    found = Registry(client).reports("default")
    return {name: msgspec.json.decode(value, type=Report) for name, value in found.items()}


def published(client: Any, partition: int) -> list[Model]:
    """Read the model records of one partition of the events."""
    values = [fields[b"v"] for _, fields in scan(client, EVENTS, partition)]
    records = [decoder.decode(value) for value in values if b'"type":"model"' in value[:64]]
    return [record for record in records if isinstance(record, Model)]


def test_each_example_is_learned_exactly_once_over_kills(learning: Learning, client: Any) -> None:
    """Killed at random moments, the models end with the weights of one that learned in peace, to the last bit."""
    examples = labelled(6000)
    rnd = random.Random(1)
    for start in range(0, 4500, 2250):
        learning.start()
        append(client, examples[start : start + 2250])
        time.sleep(1.5 + rnd.random())
        learning.kill()
    learning.start()
    append(client, examples[4500:])
    learning.wait_for(client, 6000)
    assert learning.stop() == 0

    ours = {name: published(client, 0) for name in DEFAULTS}
    for name, build in DEFAULTS.items():
        learner = Learner("default", name, build, Publishing())
        records = [learned.record for example in examples if (learned := learner.learn(example)).record]
        seen = [record for record in ours[name] if record.name == name]
        assert {record.version for record in seen} == {record.version for record in records}
        assert seen[-1] == records[-1]
    assert reports(client)["adagrad"].against.keys() == {"ftrl"}


def test_a_learner_that_resumes_further_on_than_its_source_learns_nothing_twice() -> None:
    """The run that died had written the learner's row of its last epoch, and the next one died in that epoch too."""
    values = [("adagrad", example, At(n % 2, (n,), START + n)) for n, example in enumerate(labelled(40))]
    in_peace = learner()
    in_peace.on_batch(values)
    before = learner()
    before.on_batch(values[:25])
    resumed = learner(before.snapshot())
    resumed.on_batch(values[10:])
    assert resumed.snapshot() == in_peace.snapshot()


def test_examples_of_a_topic_that_was_made_anew_are_learned() -> None:
    """Its offsets begin at 0 again; its append times do not."""
    first, second = labelled(2)
    known = learner()
    known.on_batch([("adagrad", first, At(0, (7,), START))])
    before = known.snapshot()
    known.on_batch([("adagrad", second, At(0, (0,), START + 1))])
    assert known.snapshot() != before


def learner(snapshot: bytes | None = None) -> LearnerLogic:
    """Build the logic of one model, or restore it."""
    return LearnerLogic(DEFAULTS, Publishing(), Metrics(enabled=False), snapshot)


def test_weights_go_into_every_partition_and_the_first_model_is_made_champion(learning: Learning, client: Any) -> None:
    """All shards score with the same models; without a champion nobody would have a score."""
    append(client, labelled(1500))
    learning.start()
    learning.wait_for(client, 1500)
    assert learning.stop() == 0
    zero, one = published(client, 0), published(client, 1)
    assert zero == one
    assert [(record.name, record.version) for record in zero if record.name == CHAMPION] == [(CHAMPION, "adagrad")]
    assert {record.name for record in zero} == {*DEFAULTS, CHAMPION}
    warming = [record for record in zero if record.version.startswith("warming")]
    assert warming
    assert all(record.weights.keys() == {"base_rate"} for record in warming)
    assert reports(client)["adagrad"].all.examples == 1500


def learned(port: int, examples: int) -> str:
    """Wait until a model has learned so many examples; return the metrics then."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        text = fetch("127.0.0.1", port)
        if exposition_sum(text, "waxmark_examples_learned_total", model="adagrad") == examples:
            return text
        time.sleep(0.05)
    raise TimeoutError(text)


def test_a_shop_that_changed_is_noticed_told_and_measured(redis_url: str, client: Any, tmp_path: Path) -> None:
    """Labels flip from one day to the next. The model is told nothing and goes on learning; people are told."""
    port = free_port()
    learning = Learning(redis_url, tmp_path, WAXMARK_METRICS_PORT=str(port))
    calm = labelled(3000)
    for example in calm:  # scores that are right, until the shop changes
        example.scores["adagrad"] = ("v", 0.9 if example.label else 0.1)
    changed = [
        msgspec.structs.replace(
            example,
            example_id=f"later-{number}",
            label=1 - example.label,
            asked_at=example.asked_at + 60 * DAY,
            labelled_at=example.labelled_at + 60 * DAY,
        )
        for number, example in enumerate(calm)
    ]
    learning.start()
    try:
        append(client, calm)
        learning.wait_for(client, 3000)
        before = fetch("127.0.0.1", port)
        append(client, changed)
        after = learned(port, 6000)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as ready:
            assert ready.status == 200
    finally:
        code = learning.stop()
    assert code == 0
    assert exposition_sum(before, "waxmark_model_drift_total", model="adagrad") == 0
    assert exposition_sum(after, "waxmark_model_drift_total", model="adagrad") > 0
    assert exposition_sum(after, "waxmark_model_log_loss", model="adagrad") > 1
    assert "log_loss" in reports(client)["adagrad"].drifted
    assert "the examples have drifted" in (tmp_path / "learning.log").read_text()
