"""What is known of a model at one moment, as people and the promotion rule read it."""

from typing import Final

import msgspec

from models.learner import Learner
from models.metrics import Progressive


class Quality(msgspec.Struct, frozen=True):
    """Progressive metrics over some examples."""

    examples: int
    auc: float
    log_loss: float
    brier: float
    calibration_error: float


class Compared(msgspec.Struct, frozen=True):
    """The mean difference in log loss to another model on the same examples, with its 95 % interval; below 0 is better."""

    examples: int
    mean: float
    low: float
    high: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its figures so far. Times are microseconds; `shadow` is how long it has been scoring."""

    tenant: str
    name: str
    version: str
    at: int
    labels: tuple[int, int]
    warming: bool
    can_score: bool
    all: Quality
    eligible: Quality
    against: dict[str, Compared]
    shadow: int
    horizon: int
    drifted: dict[str, int]
    refused: int
    cut: int
    unlearned: int
    withheld: int


_WIDE: Final = 1e9
"""Stands for an interval that says nothing; JSON has no infinity."""


def report(learner: Learner, version: str) -> Report:
    """Sum a learner up."""
    figures = learner.figures
    return Report(
        tenant=learner.tenant,
        name=learner.name,
        version=version,
        at=figures.last_labelled_at,
        labels=figures.labels,
        warming=figures.warming,
        can_score=version != "",
        all=_quality(figures.every),
        eligible=_quality(figures.eligible),
        against={
            other: Compared(paired.n, paired.mean, max(paired.interval[0], -_WIDE), min(paired.interval[1], _WIDE))
            for other, paired in figures.against.items()
        },
        shadow=figures.last_labelled_at - figures.first_scored_at if figures.first_scored_at else 0,
        horizon=figures.horizon,
        drifted=figures.drifted,
        refused=figures.refused,
        cut=figures.cut,
        unlearned=figures.unlearned,
        withheld=figures.withheld,
    )


def _quality(progressive: Progressive) -> Quality:
    return Quality(
        progressive.n, progressive.auc, progressive.log_loss, progressive.brier, progressive.calibration_error
    )
