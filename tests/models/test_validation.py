"""Delayed progressive validation: nothing is learned before it could be known, and promotion has its rule."""

import random
from collections.abc import Sequence

import msgspec
import pytest

from models import features
from models.promotion import objections
from models.report import Compared, Quality, Report
from models.validation import validate
from state.churn import Example
from state.clock import DAY
from tests.shopping import START


class Parrot:
    """Says the share of ones among what it was told, and remembers when it was told what."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def predict(self, x: Sequence[float], /) -> float:  # noqa: ARG002 - the estimator protocol
        """Say the share of ones so far."""
        return len(self.told) / 10_000

    def learn(self, x: Sequence[float], y: int, /) -> None:  # noqa: ARG002 - the estimator protocol
        """Remember."""
        self.told.append(y)

    def weights(self) -> dict[str, float] | None:
        """Have none."""
        return None

    def dump(self) -> bytes:
        """Write what was told."""
        return msgspec.msgpack.encode(self.told)

    def load(self, data: bytes, /) -> bool:
        """Read what was told."""
        self.told = msgspec.msgpack.decode(data)
        return True


def asked(count: int, horizon: int) -> list[Example]:
    """Make one example an hour."""
    rnd = random.Random(5)
    return [
        Example(
            example_id=str(number),
            tenant="default",
            user_id=f"user-{number % 50}",
            asked_at=START + number * DAY // 24,
            labelled_at=START + number * DAY // 24 + horizon,
            timer=True,
            eligible=True,
            label=rnd.randrange(2),
            features_version=features.VERSION,
            features=[0.0] * len(features.NAMES),
        )
        for number in range(count)
    ]


def test_a_model_knows_at_each_moment_exactly_the_labels_that_production_would_know() -> None:
    """River's simulate_qa reveals at the end what no log holds; a backtest that knows the future flatters every model."""
    examples = asked(4000, 10 * DAY)
    validated = validate(examples, {"parrot": Parrot})
    for place, score in enumerate(validated.scores["parrot"]):
        known = sum(example.labelled_at < examples[place].asked_at for example in examples[:place])
        if known > 1500:  # warm
            assert score == known / 10_000
    assert len(validated.scores["parrot"]) == 4000


def report(name: str, **changes: object) -> Report:
    """A model that may be promoted, unless something is changed."""
    quality = Quality(5000, 0.8, 0.4, 0.1, 0.01)
    fields: dict[str, object] = {
        "tenant": "default",
        "name": name,
        "version": "v",
        "at": START,
        "labels": (3000, 3000),
        "warming": False,
        "can_score": True,
        "all": quality,
        "eligible": quality,
        "against": {"adagrad": Compared(2000, -0.01, -0.02, -0.001)},
        "shadow": 30 * DAY,
        "horizon": 30 * DAY,
        "drifted": {},
        "refused": 0,
        "cut": 0,
        "unlearned": 0,
        "withheld": 0,
    }
    return msgspec.convert(fields | changes, Report)


def test_a_challenger_that_is_surely_better_is_not_objected_to() -> None:
    """A horizon in the shadow, 2,000 labels, the interval below 0, calibration no worse."""
    assert objections(report("ftrl"), report("adagrad")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shadow": 29 * DAY}, "whole horizon"),
        ({"against": {"adagrad": Compared(1999, -0.01, -0.02, -0.001)}}, "1999 examples"),
        ({"against": {}}, "0 examples"),
        ({"against": {"adagrad": Compared(9000, -0.01, -0.02, 0.0)}}, "not surely lower"),
        ({"all": Quality(5000, 0.9, 0.3, 0.1, 0.03)}, "calibration error is worse"),
        ({"warming": True}, "warming"),
        ({"can_score": False}, "plain numbers"),
    ],
)
def test_each_part_of_the_rule_alone_stops_a_promotion(changes: dict[str, object], said: str) -> None:
    """A model that looked better for a week on 300 labels was worse for the year after."""
    (objection,) = objections(report("ftrl", **changes), report("adagrad"))
    assert said in objection
