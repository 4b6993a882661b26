"""Churn questions: when they are asked, when they are answered, and what counts as coming back."""

from typing import Any

import pytest

from models import features
from models.scoring import compiled
from operators.churn import CHAMPION, MAX_PENDING, Churning, ChurnMachine, Crossed
from state.churn import Churn, Example
from state.clock import DAY, HOUR, MILLISECOND
from state.events import Event, decode
from state.records import Record
from state.wire import Model
from tests.shopping import at, ordered, tracked

CHURNING = Churning(horizon=30 * DAY, eligible=90 * DAY, every=7 * DAY)


class Customer:
    """A user as the machine sees one."""

    def __init__(self, user_id: str = "ann", tenant: str = "default") -> None:
        self.user_id, self.tenant, self.churn = user_id, tenant, Churn()


class Life:
    """One customer's log, told event by event."""

    def __init__(self, churning: Churning = CHURNING, **models: Model) -> None:
        self.machine = ChurnMachine(features, compiled, dict(models), churning)
        self.customer = Customer()
        self.outcomes: list[Example | Crossed] = []

    def hears(self, value: bytes, when: int) -> None:
        """Let the log move on to `when`, then take an event in."""
        self.read_to(when)
        event = decode(value, when)
        assert isinstance(event, Event)
        if self.machine.concerns(event.kind):
            self.machine.on_event(self.customer, event, Record("1-0", when, value))

    def read_to(self, when: int) -> None:
        """Let happen what was due before `when`."""
        while (due := self.machine.due(self.customer)) is not None and due < when:
            self.outcomes += self.machine.on_time(self.customer, due)

    @property
    def examples(self) -> list[Example]:
        """The labelled examples so far."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Example)]

    def asked(self, when: int) -> Example:
        """The example that was asked at a time."""
        return next(example for example in self.examples if example.asked_at == when)


def buys(life: Life, when: int, number: int = 1) -> None:
    """Let the customer order."""
    life.hears(ordered(when, f"order-{number}"), when)


def constant(score: float, name: str = "adagrad", tenant: str = "default") -> Model:
    """A model that always says the same."""
    return Model(tenant=tenant, name=name, version="v1", schema=features.VERSION, weights={"base_rate": score})


def champion(name: str) -> Model:
    """The record that makes a model champion."""
    return Model(name=CHAMPION, version=name, schema=0, weights={})


def test_both_answers_wait_for_the_whole_horizon() -> None:
    """Negatives told as soon as seen ruin every rate: on CDNOW the log loss rose from .33 to .48."""
    life = Life()
    buys(life, at(days=0))
    buys(life, at(days=1), 2)
    life.read_to(at(days=30))
    assert life.examples == []
    life.read_to(at(days=30, seconds=1))
    assert [(e.asked_at, e.labelled_at, e.label) for e in life.examples] == [(at(), at(days=30), 0)]


def test_who_does_not_come_back_is_labelled_1_at_the_horizon() -> None:
    """An answer of either kind is known at the same distance."""
    life = Life()
    buys(life, at())
    life.read_to(at(days=31))
    assert life.asked(at()).label == 1


@pytest.mark.parametrize(("returned", "label"), [(0, 1), (MILLISECOND, 0), (30 * DAY, 0), (30 * DAY + MILLISECOND, 1)])
def test_an_order_counts_in_the_half_open_interval_after_the_question(returned: int, label: int) -> None:
    """The interval is (t, t+H]: the order that asked does not answer, one at its very end does."""
    life = Life()
    buys(life, at())
    if returned:
        buys(life, at() + returned, 2)
    life.read_to(at(days=31))
    assert life.asked(at()).label == label


def test_an_order_that_is_told_late_but_came_before_the_question_does_not_answer_it() -> None:
    """Orders imported a day late looked like returns of everybody who was asked in between."""
    life = Life()
    life.hears(tracked("Product Viewed", at(days=2), product_id="shoes"), at(days=2))
    life.hears(ordered(at(days=1), "late"), at(days=3))
    life.read_to(at(days=33))
    assert life.asked(at(days=2)).label == 1


@pytest.mark.parametrize("event", ["Email Opened", "Email Link Clicked", "Email Delivered"])
def test_what_we_send_does_not_count_as_activity(event: str) -> None:
    """A mail opened neither asks, nor keeps anybody eligible, nor answers."""
    life = Life()
    buys(life, at())
    for day in range(1, 200, 5):
        life.hears(tracked(event, at(days=day)), at(days=day))
    life.read_to(at(days=400))
    assert life.asked(at()).label == 1
    assert all(not example.timer or example.asked_at <= at(days=90) for example in life.examples)
    assert all(example.timer for example in life.examples[1:])


def test_at_most_one_question_a_day_is_asked_at_events() -> None:
    """A shopping spree is one example, not forty that resemble each other."""
    life = Life(Churning(horizon=7 * DAY))
    for minute in range(0, 600, 15):
        life.hears(tracked("Product Viewed", at(minutes=minute), product_id=f"p{minute}"), at(minutes=minute))
    life.read_to(at(days=8))
    assert len([example for example in life.examples if not example.timer]) == 1


def test_the_timer_asks_as_long_as_someone_was_active_lately_and_no_longer() -> None:
    """Who left a year ago is no question any more, and costs nothing."""
    life = Life()
    buys(life, at())
    life.read_to(at(days=400))
    timed = [example.asked_at for example in life.examples if example.timer]
    assert timed[0] <= at(days=8)
    assert at(days=83) < timed[-1] <= at(days=90)
    assert len(timed) in {12, 13}
    assert life.machine.due(life.customer) is None
    buys(life, at(days=401), 2)
    assert life.machine.due(life.customer) is not None


def test_timers_of_different_people_are_spread_over_the_period() -> None:
    """A shop whose customers are all asked at midnight stalls at midnight."""
    hours = set()
    for number in range(200):
        life = Life()
        life.customer = Customer(f"user-{number}")
        buys(life, at())
        hours.add(life.customer.churn.timer // HOUR)
    assert len(hours) > 80


@pytest.mark.parametrize("horizon", [1, 7, 30, 90, 365])
def test_open_questions_are_bounded_whatever_the_horizon(horizon: int) -> None:
    """A user who comes every hour for a year keeps a bounded number of snapshots of features."""
    life = Life(Churning(horizon=horizon * DAY))
    most = 0
    for hour in range(0, 24 * 400, 5):
        life.hears(tracked("Product Viewed", at(hours=hour), product_id="p"), at(hours=hour))
        most = max(most, len(life.customer.churn.pending))
    assert most <= MAX_PENDING + 1


def test_an_example_carries_features_and_scores_of_the_time_it_was_asked() -> None:
    """The point-in-time log: what the shop knew then, not what it knows when the label comes."""
    life = Life(adagrad=constant(0.25))
    buys(life, at())
    life.machine.install(constant(0.75))
    buys(life, at(days=2), 2)
    life.read_to(at(days=40))
    first, second = life.asked(at()), life.asked(at(days=2))
    assert (first.scores, second.scores) == ({"adagrad": ("v1", 0.25)}, {"adagrad": ("v1", 0.75)})
    orders = features.NAMES.index("orders")
    assert first.features[orders] < second.features[orders]
    assert first.features_version == features.VERSION


def test_ids_of_examples_are_the_same_in_every_replay_and_differ_between_people() -> None:
    """An example exists once: its id is derived from who was asked when."""

    def ids(user: str) -> list[str]:
        life = Life()
        life.customer = Customer(user)
        buys(life, at())
        life.read_to(at(days=60))
        return [example.example_id for example in life.examples]

    assert ids("ann") == ids("ann")
    assert not set(ids("ann")) & set(ids("bob"))


def test_a_model_that_cannot_score_leaves_the_last_good_one() -> None:
    """Exploded weights, another version's features, a rate that is none: the old model goes on."""
    life = Life(adagrad=constant(0.4))
    assert life.machine.install(champion("adagrad"))
    buys(life, at())
    bad: list[dict[str, Any]] = [
        {"weights": {"base_rate": 2.0}},
        {"weights": {}},
        {"weights": {"base_rate": 0.5, "bias": 1.0}},
        {"schema": features.VERSION + 1},
    ]
    for change in bad:
        fields = {"schema": features.VERSION, "weights": {"base_rate": 0.5}, **change}
        assert not life.machine.install(Model(name="adagrad", version="bad", **fields))
    churned = life.machine.scored(life.customer, at(days=1))
    assert churned is not None
    assert (churned.score, churned.version) == (0.4, "v1")


def test_the_champion_is_the_one_that_the_log_names() -> None:
    """A promotion is a record: it holds from there on, and needs no restart."""
    life = Life()
    buys(life, at())
    assert life.machine.scored(life.customer, at()) is None
    life.machine.install(constant(0.2, "adagrad"))
    life.machine.install(constant(0.6, "ftrl"))
    assert life.machine.scored(life.customer, at()) is None
    for name, score in (("adagrad", 0.2), ("ftrl", 0.6)):
        life.machine.install(champion(name))
        churned = life.machine.scored(life.customer, at())
        assert churned is not None
        assert (churned.model, churned.score) == (name, score)


def test_models_of_one_shop_do_not_score_the_customers_of_another() -> None:
    """Two tenants share a worker; their models have the same names."""
    life = Life()
    life.machine.install(constant(0.9, tenant="other"))
    life.machine.install(Model(tenant="other", name=CHAMPION, version="adagrad", schema=0, weights={}))
    buys(life, at())
    assert life.machine.scored(life.customer, at()) is None


def test_the_threshold_is_crossed_once_in_an_episode_of_absence() -> None:
    """A win-back mail every week drives away whoever is left; coming back begins a new episode."""
    life = Life(adagrad=constant(0.9))
    life.machine.install(champion("adagrad"))
    buys(life, at())
    life.read_to(at(days=60))
    assert [type(outcome) for outcome in life.outcomes].count(Crossed) == 1
    buys(life, at(days=61), 2)
    life.read_to(at(days=90))
    assert [type(outcome) for outcome in life.outcomes].count(Crossed) == 2
