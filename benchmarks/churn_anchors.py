"""What the online models are compared with: models fitted in batches, on the same features and the same split.

Every anchor knows at a moment what production could know then: examples labelled by that time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import numpy.typing as npt
from lifetimes import BetaGeoFitter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import features
from state.clock import DAY

Floats = npt.NDArray[np.float64]

REFIT = 28 * DAY


class Examples(NamedTuple):
    """The examples of one task as arrays, in the order in which they were asked."""

    x: Floats
    label: Floats
    asked_at: npt.NDArray[np.int64]
    labelled_at: npt.NDArray[np.int64]
    user: npt.NDArray[np.str_]
    horizon: int

    def column(self, name: str) -> Floats:
        """Take one feature."""
        column: Floats = self.x[:, features.NAMES.index(name)]
        return column


def anchors(examples: Examples, cut: int) -> dict[str, Floats]:
    """Score everything asked from `cut` on, by each anchor."""
    past, future = examples.labelled_at < cut, examples.asked_at >= cut
    recency = examples.column("order_recency")[:, None]
    return {
        "batch logistic regression": _logistic(examples.x, examples, past)[future],
        "LightGBM, past to future": _lightgbm(examples, past)(examples.x[future]),
        "LightGBM, refitted every 28 d": _refitted(examples, cut)[future],
        "BG/NBD": _bg_nbd(examples, cut)[future],
        "recency alone": _logistic(recency, examples, past)[future],
    }


def _logistic(x: Floats, examples: Examples, past: npt.NDArray[np.bool_]) -> Floats:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fitted: Floats = model.fit(x[past], examples.label[past]).predict_proba(x)[:, 1]
    return fitted


def _lightgbm(examples: Examples, past: npt.NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    settings = {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": 100,
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "seed": 0,
    }
    data: Any = lightgbm.Dataset(examples.x[past], examples.label[past])
    booster = lightgbm.train(settings, data, num_boost_round=150)
    return lambda x: np.asarray(booster.predict(x))


def _refitted(examples: Examples, cut: int) -> Floats:
    scores = np.full(len(examples.label), np.nan)
    for start in range(cut, int(examples.asked_at.max()) + 1, REFIT):
        soon = (examples.asked_at >= start) & (examples.asked_at < start + REFIT)
        if soon.any():
            scores[soon] = _lightgbm(examples, examples.labelled_at < start)(examples.x[soon])
    return scores


def _bg_nbd(examples: Examples, cut: int) -> Floats:
    """Fit to what was known of each customer at the cut; a customer can only be lost right after an order."""
    repeats = np.expm1(examples.column("orders")) - 1
    age = np.expm1(examples.column("tenure")) / 7
    last = age - np.expm1(examples.column("order_recency")) / 7
    known = np.flatnonzero(examples.asked_at < cut)
    _, newest = np.unique(examples.user[known][::-1], return_index=True)
    rows = known[len(known) - 1 - newest]
    x, seen = np.round(repeats), np.maximum(age, 0.0)
    last = np.where(x > 0, np.clip(last, 0.0, seen), 0.0)
    fitter = BetaGeoFitter(penalizer_coef=0.001)
    fitter.fit(x[rows], last[rows], seen[rows])
    alive = fitter.conditional_probability_alive(x, last, seen)
    r, alpha = fitter.params_["r"], fitter.params_["alpha"]
    silent = ((alpha + seen) / (alpha + seen + examples.horizon / DAY / 7)) ** (r + x)
    scores: Floats = 1.0 - np.asarray(alive) * (1.0 - silent)
    return scores
