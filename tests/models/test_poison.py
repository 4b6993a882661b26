"""What must not kill a model: every kind of bad example, with every model, judged as production judges."""

import random
from math import inf, isfinite, nan

import pytest

from models import features
from models.defaults import DEFAULTS
from models.learner import WARM, Learner, Publishing
from models.metrics import Progressive, loss_of
from models.scoring import ConstantScorer, compiled
from operators.churn import Scorer
from state.churn import Example
from state.clock import DAY
from tests.shopping import START

SIZE = len(features.NAMES)
PUBLISHING = Publishing(labels=200)
every_model = pytest.mark.parametrize("name", DEFAULTS)


class School:
    """One learner, taught a day at a time by people who behave the same way throughout."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.learner = Learner("default", name, DEFAULTS[name], PUBLISHING)
        self.rnd = random.Random(11)
        self.taught = 0
        self.scores: list[float] = []
        self.scorer: Scorer = ConstantScorer("warming", 0.5)

    def vector(self) -> tuple[list[float], int]:
        """Make one healthy example."""
        x = [self.rnd.gammavariate(2.0, 0.8) for _ in range(SIZE)]
        recency, orders = features.NAMES.index("recency"), features.NAMES.index("orders")
        return x, int(self.rnd.random() < 1 / (1 + 2.718281828 ** (-3 * (x[recency] - x[orders]))))

    def learns(self, x: list[float], label: int, *, version: int = features.VERSION) -> None:
        """Score an example as the fold does, then teach its label."""
        score = self.learner.predict(x)
        self.scores.append(score)
        if len(x) == SIZE:
            self.scores.append(self.scorer.score(x))
        at = START + self.taught * 60_000_000
        learned = self.learner.learn(
            Example(
                example_id=str(self.taught),
                tenant="default",
                user_id=f"user-{self.taught % 300}",
                asked_at=at,
                labelled_at=at + 30 * DAY,
                timer=True,
                eligible=True,
                label=label,
                features_version=version,
                features=x,
                scores={self.name: ("v", score), "other": ("v", 0.5)},
            )
        )
        self.taught += 1
        if learned.record is not None:
            scorer = compiled(learned.record)
            assert scorer is not None, "what is published can score"
            self.scorer = scorer

    def healthy(self, count: int, *, only: int | None = None, flipped: bool = False) -> None:
        """Teach healthy examples; of one class only, or with their labels flipped."""
        done = 0
        while done < count:
            x, label = self.vector()
            if only is None or label == only:
                self.learns(x, 1 - label if flipped else label)
                done += 1

    def auc(self, count: int = 1500) -> float:
        """Judge the published weights on people never seen."""
        judged = Progressive()
        for _ in range(count):
            x, label = self.vector()
            score = self.scorer.score(x)
            judged.update(score, label, loss_of(score, label))
        return judged.auc

    def is_sound(self) -> None:
        """Every score was a probability, every figure is finite."""
        assert all(0.0 <= score <= 1.0 for score in self.scores)
        figures = self.learner.figures
        for judged in (figures.every, figures.eligible):
            for value in (judged.auc, judged.log_loss, judged.brier, judged.calibration_error):
                assert isfinite(value)
        assert all(isfinite(bound) for bound in figures.against["other"].interval)


def one_at(value: float) -> list[float]:
    """A vector with one bad number in it."""
    return [1.0] * (SIZE // 2) + [value] + [1.0] * (SIZE - SIZE // 2 - 1)


POISONS = {
    "NaN": one_at(nan),
    "infinity": one_at(inf),
    "minus infinity": one_at(-inf),
    "both infinities": [inf, -inf] + [0.0] * (SIZE - 2),
    "1e12": one_at(1e12),
    "-1e12": one_at(-1e12),
    "1e308": [1e308] * SIZE,
    "empty": [],
    "an unseen feature": [1.0] * (SIZE + 1),
}


@every_model
def test_poisoned_examples_harm_no_model(name: str) -> None:
    """One NaN kills River's regression for ever; here 20 of each of nine poisons leave the model as good as it was."""
    school = School(name)
    school.healthy(6000)
    before = school.auc()
    for number in range(20):
        for x in POISONS.values():
            school.learns(x, number % 2)
        school.healthy(5)
    school.healthy(2000)
    school.is_sound()
    assert before > (0.7 if name == "tree" else 0.85)
    assert school.auc() > before - 0.03
    figures = school.learner.figures
    assert figures.refused + figures.cut == 20 * len(POISONS)
    assert figures.unlearned == 0


@every_model
def test_a_month_of_one_class_only_is_survived(name: str) -> None:
    """A stockout: nobody can buy for a month. Scores rise, and come down again when people return."""
    school = School(name)
    school.healthy(6000)
    before = school.auc()
    school.healthy(2000, only=1)
    school.is_sound()
    school.healthy(3000)
    school.is_sound()
    assert school.auc() > before - 0.03


@every_model
def test_a_day_of_flipped_labels_is_survived(name: str) -> None:
    """An import marked buyers as lost for a day; after as many right labels the model is itself again."""
    school = School(name)
    school.healthy(6000)
    before = school.auc()
    school.healthy(400, flipped=True)
    school.healthy(3000)
    school.is_sound()
    assert school.auc() > before - 0.03


@every_model
def test_a_new_shop_with_one_class_only_says_the_base_rate_and_that_it_is_warming(name: str) -> None:
    """Below 500 labels of each class a score would be a guess that looks like knowledge."""
    school = School(name)
    school.healthy(WARM + 1500, only=1)
    school.is_sound()
    x, _ = school.vector()
    assert school.scorer.version.startswith("warming")
    assert school.scorer.score(x) == pytest.approx(1.0, abs=2e-3)
    assert school.scorer.explained(x)[1] == []
    school.healthy(WARM - 1, only=0)
    assert school.learner.figures.warming
    school.healthy(PUBLISHING.labels + 1, only=0)
    assert not school.scorer.version.startswith("warming")


def test_exploded_weights_are_withheld_and_the_last_good_ones_stay() -> None:
    """The fold goes on with what it has; that something was withheld is counted, and shown by `waxmark models show`."""
    school = School("adagrad")
    school.healthy(3000)
    good = school.scorer.version
    school.learner.estimator.w *= 1e9  # type: ignore[attr-defined]
    school.healthy(PUBLISHING.labels * 2)
    assert school.scorer.version == good
    assert school.learner.figures.withheld >= 1


def test_examples_of_another_features_version_are_not_learned() -> None:
    """After a change of features, what was asked before has other columns under the same numbers."""
    school = School("adagrad")
    school.learns([1.0] * SIZE, 1, version=features.VERSION + 1)
    assert (school.learner.figures.refused, sum(school.learner.figures.labels)) == (1, 0)
