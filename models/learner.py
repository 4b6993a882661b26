"""A learner: one model under one name, judged on every labelled example before it learns it, and published now and then.

Everything here follows from the examples alone, in their order: no clock, no randomness. So a learner restored from its last
snapshot and fed the same examples again publishes the same records.
"""

import hashlib
from math import isfinite
from typing import Final

import msgspec

from models import features
from models.drift import Drift
from models.estimator import Build, guarded
from models.metrics import Paired, Progressive, group_of, loss_of
from models.scoring import MAX_NORM, norm
from state.churn import Example
from state.clock import HOUR
from state.wire import Model

WARM: Final = 500
"""Labels of each class below which the score is the base rate."""


class Publishing(msgspec.Struct, frozen=True):
    """How often weights go out: after so many labels, or so much log time with any label."""

    labels: int = 500
    after: int = HOUR


class Figures(msgspec.Struct, array_like=True):
    """What is known of a model's quality and of what was wrong with its examples."""

    labels: tuple[int, int] = (0, 0)
    every: Progressive = msgspec.field(default_factory=Progressive)
    eligible: Progressive = msgspec.field(default_factory=Progressive)
    against: dict[str, Paired] = {}
    first_scored_at: int = 0
    last_labelled_at: int = 0
    horizon: int = 0
    refused: int = 0
    cut: int = 0
    unlearned: int = 0
    withheld: int = 0
    drifted: dict[str, int] = {}

    @property
    def warming(self) -> bool:
        """Tell whether too few labels of a class are known yet."""
        return min(self.labels) < WARM

    @property
    def base_rate(self) -> float:
        """Say the share of ones, after one label of each class that everyone begins with."""
        zeros, ones = self.labels
        return (ones + 1) / (zeros + ones + 2)


class _Saved(msgspec.Struct, array_like=True):
    estimator: bytes
    drift: bytes
    figures: Figures
    since: int
    published_at: int


class Learned(msgspec.Struct, frozen=True):
    """What an example led to: whether it is time to tell, the record to publish if there is one, and what has drifted."""

    told: bool = False
    record: Model | None = None
    drifted: list[str] = []


_NOTHING: Final = Learned()


class Learner:
    """Guards, judges, teaches and publishes one model."""

    def __init__(self, tenant: str, name: str, build: Build, publishing: Publishing) -> None:
        self.tenant, self.name = tenant, name
        self._build, self._publishing = build, publishing
        self.estimator = build()
        self.figures = Figures()
        self._drift = Drift()
        self._since = 0
        self._published_at = 0

    def learn(self, example: Example) -> Learned:
        """Judge the scores of an example's own time, then learn its label."""
        figures = self.figures
        x, cut = guarded(example.features, len(features.NAMES))
        if x is None or example.features_version != features.VERSION or example.label not in {0, 1}:
            figures.refused += 1
            return _NOTHING
        figures.cut += cut
        drifted = self._judge(example, x)
        zeros, ones = figures.labels
        figures.labels = (zeros, ones + 1) if example.label else (zeros + 1, ones)
        try:
            self.estimator.learn(x, example.label)
        except (ArithmeticError, ValueError):  # an estimator's own arithmetic; what it knew before still stands
            figures.unlearned += 1
        self._since += 1
        self._published_at = self._published_at or example.labelled_at
        figures.last_labelled_at = max(figures.last_labelled_at, example.labelled_at)
        figures.horizon = example.labelled_at - example.asked_at
        if self._since < self._publishing.labels and example.labelled_at < self._published_at + self._publishing.after:
            return Learned(drifted=drifted) if drifted else _NOTHING
        return Learned(True, self._published(example.labelled_at), drifted)

    def predict(self, x: list[float]) -> float:
        """Score as the fold would: the base rate while warming, and never outside [0, 1]."""
        safe, _ = guarded(x, len(features.NAMES))
        if safe is None or self.figures.warming:
            return self.figures.base_rate
        try:
            score = self.estimator.predict(safe)
        except (ArithmeticError, ValueError):
            return self.figures.base_rate
        return min(max(score, 0.0), 1.0) if isfinite(score) else self.figures.base_rate

    def dump(self) -> bytes:
        """Write everything down."""
        saved = _Saved(self.estimator.dump(), self._drift.dump(), self.figures, self._since, self._published_at)
        return msgspec.msgpack.encode(saved)

    def load(self, data: bytes) -> None:
        """Go on from a dump. A model whose state another version wrote begins anew, and so do its figures."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        if not self.estimator.load(saved.estimator):
            self.estimator = self._build()
            return
        self.figures, self._since, self._published_at = saved.figures, saved.since, saved.published_at
        self._drift.load(saved.drift)

    def _judge(self, example: Example, x: list[float]) -> list[str]:
        said = example.scores.get(self.name)
        if said is None or not 0.0 <= said[1] <= 1.0:
            return []
        figures, label, score = self.figures, example.label, said[1]
        loss = loss_of(score, label)
        if not figures.first_scored_at:
            figures.first_scored_at = example.asked_at
        figures.every.update(score, label, loss)
        if example.eligible:
            figures.eligible.update(score, label, loss)
        if len(example.scores) > 1:
            group = group_of(example.tenant, example.user_id)
            for other, (_, theirs) in example.scores.items():
                if other != self.name:
                    paired = figures.against.get(other)
                    if paired is None:
                        paired = figures.against[other] = Paired()
                    paired.update(loss - loss_of(theirs, label), group)
        drifted = self._drift.update(loss, score, x)
        for what in drifted:
            figures.drifted[what] = example.labelled_at
        return drifted

    def _published(self, now: int) -> Model | None:
        """Write the record; None, and the last good weights stay, where the new ones are no weights."""
        self._since, self._published_at = 0, now
        figures = self.figures
        plain = {} if figures.warming else self.estimator.weights()
        if plain is None:
            return None
        plain = {"base_rate": figures.base_rate, **plain}
        steep = norm([value for name, value in plain.items() if name.startswith("weight:")])
        if not all(map(isfinite, plain.values())) or steep > MAX_NORM:
            figures.withheld += 1
            return None
        return Model(
            tenant=self.tenant,
            name=self.name,
            version=_version(figures, plain),
            schema=features.VERSION,
            weights=plain,
        )


def _version(figures: Figures, plain: dict[str, float]) -> str:
    digest = hashlib.blake2b(msgspec.json.encode(plain, order="deterministic"), digest_size=4).hexdigest()
    return f"{'warming' if figures.warming else 'v'}-{sum(figures.labels)}-{digest}"
