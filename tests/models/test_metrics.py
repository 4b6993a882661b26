"""Progressive metrics against scikit-learn's, and the paired interval against what it promises."""

import random
from math import log

import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from models.metrics import GROUPS, Paired, Progressive, group_of, loss_of


def said(seed: int, count: int) -> list[tuple[float, int]]:
    """Make calibrated scores and their answers."""
    rnd = random.Random(seed)
    scores = [rnd.betavariate(2, 1) for _ in range(count)]
    return [(score, int(rnd.random() < score)) for score in scores]


def counted(pairs: list[tuple[float, int]]) -> Progressive:
    """Count scores one by one."""
    progressive = Progressive()
    for score, label in pairs:
        progressive.update(score, label, loss_of(score, label))
    return progressive


def test_streaming_metrics_are_those_of_the_whole() -> None:
    """Binned counts must not bend the figures that decide a promotion."""
    pairs = said(1, 20_000)
    scores, labels = [score for score, _ in pairs], [label for _, label in pairs]
    ours = counted(pairs)
    assert ours.auc == pytest.approx(roc_auc_score(labels, scores), abs=2e-4)
    assert ours.log_loss == pytest.approx(log_loss(labels, scores), abs=1e-9)
    assert ours.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-9)
    assert ours.calibration_error < 0.012


def test_a_model_that_is_off_by_a_tenth_has_a_calibration_error_of_a_tenth() -> None:
    """The error is in units of probability."""
    pairs = [(min(score + 0.1, 1.0) if score < 0.9 else score, label) for score, label in said(2, 20_000)]
    assert counted(pairs).calibration_error == pytest.approx(0.08, abs=0.02)


@pytest.mark.parametrize("score", [0.0, 1.0, 1e-300])
def test_a_sure_and_wrong_score_costs_much_but_not_everything(score: float) -> None:
    """One infinite loss would make the mean infinite for ever."""
    assert loss_of(score, 0 if score > 0.5 else 1) == pytest.approx(-log(1e-6))


def test_before_the_first_example_and_with_one_class_the_figures_are_finite() -> None:
    """A new shop has no churner yet; its figures are shown all the same."""
    empty, one_class = Progressive(), counted([(0.4, 1)] * 50)
    for figures in (empty, one_class):
        assert figures.auc == 0.5
        assert 0 <= figures.calibration_error <= 1
        assert figures.log_loss >= 0


def test_the_interval_covers_the_truth_where_examples_of_one_person_are_alike() -> None:
    """10 examples each of 400 people who are alike: an interval over examples would cover the truth half of the time."""
    covered = 0
    for seed in range(100):
        rnd = random.Random(seed)
        paired = Paired()
        for person in range(400):
            effect = rnd.gauss(0.0, 1.0)
            group = group_of("default", f"{seed}-{person}")
            for _ in range(10):
                paired.update(0.1 + effect + rnd.gauss(0, 0.5), group)
        low, high = paired.interval
        covered += low < 0.1 < high
    assert 89 <= covered <= 100
    assert 0 <= group_of("default", "ann") < GROUPS
