"""Churn: features as events come in, questions put aside until their answer is known, labelled examples out.

A question is asked at events (at most one a person and day) and on a timer of the person's own, as long as they were active
lately. Its label is known a horizon later, for both answers alike: a negative told early would bias every rate. All of this
is log time; whether the person came back is told in event time, so that what is late, yet came before the question, does
not answer it.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from state.churn import Behaviour, Churn, Example, Question
from state.clock import DAY
from state.commerce import RISK_CROSSED, Kind, Properties
from state.events import Event
from state.outputs import derived_id
from state.people import User
from state.records import Record
from state.wire import Model

MAX_PENDING: Final = 16
CHAMPION: Final = "champion"
"""The model record of this name carries no weights: its version names the model whose score goes to the profile."""

RETURNS: Final = {
    "order": frozenset({Kind.ORDER}),
    "activity": frozenset({Kind.BROWSE, Kind.CART, Kind.CHECKOUT, Kind.ORDER}),
}
"""What may count as coming back. What reaches us from elsewhere (OTHER: a CRM's identify) tells nothing of the person."""

_ORDER: Final = Kind.ORDER


class FeatureSet(Protocol):
    """What the machine must know of features."""

    @property
    def VERSION(self) -> int:  # noqa: N802 - a module's constant
        """Say which definition of the features this is."""

    @property
    def NAMES(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """Name the features in order."""

    def update(self, b: Behaviour, kind: int, time: int, amount: float, /) -> None:
        """Take in an event."""

    def vector(self, b: Behaviour, now: int, /) -> list[float]:
        """Write the features as of `now`."""


class Scorer(Protocol):
    """A model as far as the fold knows it: made of plain numbers, pure, and quick."""

    @property
    def version(self) -> str:
        """Name the weights."""

    def score(self, x: Sequence[float], /) -> float:
        """Say how likely the person stays away; within [0, 1], whatever the features."""

    def explained(self, x: Sequence[float], /) -> tuple[float, list[str]]:
        """Say the score, and name the features that raise it most, the first first; at most three."""


class Churned(NamedTuple):
    """What the champion says of a person, as it goes to the profile; the reasons as of the last question."""

    score: float
    model: str
    version: str
    reasons: list[str]


class Crossed(NamedTuple):
    """The risk rose over the threshold, once in an episode of absence."""

    score: float
    model: str
    version: str


def crossing(user: User, crossed: Crossed, now: int) -> Event:
    """Make the event that campaigns may be opened by; its cause is a timer, so its message id says when."""
    said = {"score": crossed.score, "model": crossed.model, "version": crossed.version}
    raw = msgspec.Raw(msgspec.json.encode(said))
    return Event(
        type="track",
        name=RISK_CROSSED,
        kind=Kind.RISK,
        message_id=f"risk-{now}",
        tenant=user.tenant,
        user_id=user.user_id,
        anonymous_id="",
        time=now,
        fields=Properties(),
        raw=raw,
    )


class Customer(Protocol):
    """The part of a user that the machine sees."""

    tenant: str
    user_id: str
    churn: Churn


class Churning(msgspec.Struct, frozen=True):
    """When to ask and what counts as coming back. Durations are microseconds.

    `spacing` follows from the horizon, so that a person never has more than `MAX_PENDING` questions open.
    """

    horizon: int = 30 * DAY
    eligible: int = 90 * DAY
    every: int = 7 * DAY
    returns: frozenset[Kind] = RETURNS["order"]
    threshold: float = 0.8

    @property
    def spacing(self) -> int:
        """Say how long after a question the next one may be asked."""
        return max(DAY, -(-self.horizon // MAX_PENDING))


class ChurnMachine:
    """Asks, waits, labels and scores. Owns the `churn` part of a user.

    `models` is the shard's own table of model records, by tenant and name; a record that another one replaces is noticed by
    its version.
    """

    def __init__(
        self,
        features: FeatureSet,
        compiled: Callable[[Model], Scorer | None],
        models: dict[str, Model],
        churning: Churning,
    ) -> None:
        self._features, self._compile, self._models = features, compiled, models
        self._horizon, self._eligible, self._every = churning.horizon, churning.eligible, churning.every
        self._spacing, self._threshold = churning.spacing, churning.threshold
        self._returns = tuple(kind in churning.returns for kind in Kind)
        self._update, self._vector = features.update, features.vector
        self._pack = struct.Struct(f"<{len(features.NAMES)}f")
        self._scorers: dict[str, dict[str, Scorer]] = {}
        self._champions: dict[str, tuple[str, Scorer]] = {}
        for model in list(models.values()):
            self.install(model)

    @property
    def soonest(self) -> int:
        """Say that no label and no question comes within a day of an event."""
        return min(DAY, self._horizon)

    def concerns(self, kind: Kind) -> bool:
        """Learn from what people do, send back, open and click; not from what was sent to them."""
        return kind <= Kind.EMAIL_CLICK

    def install(self, model: Model) -> bool:
        """Score with a model from here on; say whether it can be used. One that cannot leaves the last good one."""
        if model.name == CHAMPION:
            self._models[f"{model.tenant}/{CHAMPION}"] = model
            self._crown(model.tenant)
            return True
        scorer = self._compile(model)
        if scorer is None:
            return False
        self._models[f"{model.tenant}/{model.name}"] = model
        self._scorers.setdefault(model.tenant, {})[model.name] = scorer
        self._crown(model.tenant)
        return True

    def on_event(self, user: Customer, event: Event, record: Record) -> None:
        """Take an event into the features; ask, unless the person was asked lately."""
        part, kind, time = user.churn, event.kind, event.time
        self._update(part.behaviour, kind, time, event.fields.amount if kind is _ORDER else 0.0)
        if self._returns[kind]:
            part.risky = False
            if time > part.returned_at:
                part.returned_at = time
        if kind <= _ORDER:
            now = record.log_time
            if not part.timer:
                part.timer = self._next(user, now + DAY)
            if now >= part.asked_at + self._spacing:
                self._ask(user, now, timer=False)

    def on_time(self, user: Customer, now: int) -> list[Example | Crossed]:
        """Answer the questions whose horizon has passed; ask again when the person's timer is due."""
        part = user.churn
        outcome: list[Example | Crossed] = []
        while part.pending and part.pending[0].asked_at + self._horizon <= now:
            outcome.append(self._answered(user, part.pending.pop(0), now))
        if part.timer and part.timer <= now:
            if now - part.behaviour.active_at > self._eligible:
                part.timer = 0
                return outcome
            part.timer = self._next(user, now)
            crossed = self._look(user, now)
            if crossed is not None:
                outcome.append(crossed)
        return outcome

    def due(self, user: Customer) -> int | None:
        """Say when the next label is known or the next question is asked."""
        part = user.churn
        if part.pending:
            label = part.pending[0].asked_at + self._horizon
            return label if not part.timer or label < part.timer else part.timer
        return part.timer or None

    def scored(self, user: Customer, now: int) -> Churned | None:
        """Say what the champion thinks of a person as of `now`; None where there is no champion, or none that can score."""
        champion = self._champions.get(user.tenant)
        if champion is None:
            return None
        name, scorer = champion
        part = user.churn
        return Churned(scorer.score(self._vector(part.behaviour, now)), name, scorer.version, part.reasons)

    def _crown(self, tenant: str) -> None:
        """Note who scores profiles: no one, if the named model has never come."""
        name = self._champion(tenant)
        scorer = self._scorers.get(tenant, {}).get(name)
        if scorer is None:
            self._champions.pop(tenant, None)
        else:
            self._champions[tenant] = name, scorer

    def _champion(self, tenant: str) -> str:
        named = self._models.get(f"{tenant}/{CHAMPION}")
        return "" if named is None else named.version

    def _look(self, user: Customer, now: int) -> Crossed | None:
        part = user.churn
        if now >= part.asked_at + self._spacing:
            scores = self._ask(user, now, timer=True)
        else:
            scores = self._scores(user, self._vector(part.behaviour, now))
        name = self._champion(user.tenant)
        version, score = scores.get(name, ("", 0.0))
        if part.risky or score < self._threshold:
            return None
        part.risky = True
        return Crossed(score, name, version)

    def _ask(self, user: Customer, now: int, *, timer: bool) -> dict[str, tuple[str, float]]:
        part = user.churn
        x = self._vector(part.behaviour, now)
        scores = self._scores(user, x)
        packed, eligible = self._pack.pack(*x), part.returned_at > 0
        part.pending.append(Question(now, timer, eligible, self._features.VERSION, packed, scores))
        part.asked_at = now
        return scores

    def _scores(self, user: Customer, x: list[float]) -> dict[str, tuple[str, float]]:
        """Let every model score, and note the champion's reasons: they cost more than a score, and change more slowly."""
        scorers = self._scorers.get(user.tenant)
        if not scorers:
            return {}
        named = self._champion(user.tenant)
        scores = {}
        for name, scorer in scorers.items():
            if name == named:
                score, user.churn.reasons = scorer.explained(x)
            else:
                score = scorer.score(x)
            scores[name] = scorer.version, score
        return scores

    def _answered(self, user: Customer, question: Question, now: int) -> Example:
        size = len(question.features) // 4
        return Example(
            example_id=derived_id(question.asked_at, "example", user.tenant, user.user_id, str(question.asked_at)),
            tenant=user.tenant,
            user_id=user.user_id,
            asked_at=question.asked_at,
            labelled_at=now,
            timer=question.timer,
            eligible=question.eligible,
            label=0 if user.churn.returned_at > question.asked_at else 1,
            features_version=question.features_version,
            features=list(struct.unpack(f"<{size}f", question.features)),
            scores=question.scores,
        )

    def _next(self, user: Customer, now: int) -> int:
        """Find the person's next turn after `now`: a grid with a phase of their own spreads the load over the period."""
        phase = zlib.crc32(f"{user.tenant}/{user.user_id}".encode()) * self._every >> 32
        return now - (now - phase) % self._every + self._every
