"""What every machine promises, whatever its concern: one suite over all of them."""

import copy
import random
from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from models import features
from models.scoring import compiled
from operators.carts import CartMachine
from operators.churn import Churning, ChurnMachine
from operators.contact import ContactMachine
from operators.engagement import EngagementMachine
from operators.machine import Machine
from operators.sessions import SessionMachine
from operators.waits import WaitMachine
from state.clock import DAY, MINUTE, NEVER
from state.commerce import Kind
from state.events import Event, decode
from state.people import User
from state.records import Record
from tests.shopping import CART, START, added_to_cart, ordered, sent, tracked

BOUND: Final = 40_000
"""Bytes: far above what any machine keeps of one person, far below what it would keep if it forgot nothing."""


class CampaignsWaiting:
    """The wait machine as the others are called: its outcomes are for policy, its state is what the contract is about."""

    def __init__(self) -> None:
        self._waits = WaitMachine([CART])
        self.soonest = CART.wait

    def concerns(self, kind: Kind) -> bool:
        """Any event may open, put off or cancel a wait."""
        return kind in Kind

    def on_event(self, user: User, event: Event, record: Record) -> None:
        """Cancel, put off and open waits."""
        self._waits.on_event(user, event, record, self._waits.steps_for(event))

    def on_time(self, user: User, now: int) -> None:
        """Take out what is due."""
        self._waits.on_time(user, now)

    def due(self, user: User) -> int | None:
        """Say when the next wait falls due."""
        return self._waits.due(user)


class Churn:
    """The churn machine as the others are called: what it answers is for the fold."""

    def __init__(self) -> None:
        self._churn = ChurnMachine(features, compiled, {}, Churning())
        self.soonest, self.concerns, self.due = self._churn.soonest, self._churn.concerns, self._churn.due
        self.on_event = self._churn.on_event

    def on_time(self, user: User, now: int) -> None:
        """Label what can be labelled; ask again."""
        self._churn.on_time(user, now)


MACHINES: Final[dict[str, tuple[Callable[[], Machine], set[str]]]] = {
    "sessions": (SessionMachine, {"sessions"}),
    "carts": (CartMachine, {"carts"}),
    "engagement": (EngagementMachine, {"engagement"}),
    "contact": (ContactMachine, {"contact", "consent"}),
    "churn": (Churn, {"churn"}),
    "waits": (CampaignsWaiting, {"waits"}),
}
"""Each with the part of a user that it owns."""

every_machine = pytest.mark.parametrize(("build", "part"), MACHINES.values(), ids=MACHINES)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(User).decode


def life(machine: Machine, length: int, seed: int = 7) -> list[tuple[Event, Record]]:
    """Live a shopper's life, out of order and with pauses of up to a month: the events that concern a machine."""
    rng, now, lived = random.Random(seed), START, []
    for number in range(length):
        now += rng.choice([1, 20, 50, 3_000, 40_000]) * rng.randint(0, MINUTE)
        when = now - rng.choice([0, 0, 0, 5, 90]) * MINUTE
        product, cart = f"product-{rng.randrange(400)}", f"cart-{rng.randrange(40)}"
        value = rng.choice(
            [
                added_to_cart(when, product, cart_id=cart, message_id=f"m{number}"),
                tracked("Product Removed", when, product_id=product, cart_id=cart, message_id=f"m{number}"),
                tracked("Product Viewed", when, product_id=product, message_id=f"m{number}"),
                tracked("Email Opened", when, message_id=f"m{number}"),
                ordered(when, f"order-{number}", message_id=f"m{number}"),
                sent("identify", when, traits={f"trait-{number % 200}": number, "email": "ann@example.com"}),
                tracked("Unsubscribed", when, message_id=f"m{number}"),
            ]
        )
        record = Record(f"{now // 1000}-{number}", now, value)
        event = decode(value, now)
        assert isinstance(event, Event)
        if machine.concerns(event.kind):
            lived.append((event, record))
    return lived


def live(machine: Machine, user: User, event: Event, record: Record) -> None:
    """Let what is due before an event happen, then the event."""
    due = machine.due(user)
    while due is not None and due < record.log_time:
        machine.on_time(user, due)
        due = machine.due(user)
    machine.on_event(user, event, record)


@every_machine
def test_a_restart_after_every_event_equals_never_having_stopped(build: Callable[[], Machine], part: set[str]) -> None:
    """Snapshot, restore, continue: nothing may live in the machine or in a form that bytes do not keep."""
    whole, restarted = User("default", "ann", START), User("default", "ann", START)
    machine = build()
    for event, record in life(machine, 300):
        live(machine, whole, event, record)
        live(build(), restarted, event, record)
        restarted = _decode(_encode(restarted))
    assert _encode(_decode(_encode(whole))) == _encode(restarted)
    assert any(getattr(whole, name) != getattr(User("", "", 0), name) for name in part)


@every_machine
def test_a_machine_changes_its_own_part_and_nothing_else(build: Callable[[], Machine], part: set[str]) -> None:
    """Machines know nothing of each other, and what they are shown they leave as it is."""
    machine, user = build(), User("default", "ann", START)
    for event, record in life(machine, 200):
        shown = copy.deepcopy(event)
        before = {name: _encode(getattr(user, name)) for name in User.__struct_fields__ if name not in part}
        live(machine, user, event, record)
        assert before == {name: _encode(getattr(user, name)) for name in before}
        assert msgspec.structs.replace(event, decoded=None) == msgspec.structs.replace(shown, decoded=None)


@every_machine
def test_nothing_that_an_event_caused_is_due_sooner_than_was_said(build: Callable[[], Machine], part: set[str]) -> None:
    """The fold asks when something is due only if it has to, and trusts `soonest`: a lie would fire a timer late."""
    machine, user = build(), User("default", "ann", START)
    for event, record in life(machine, 300):
        live(machine, user, event, record)
        known = machine.due(user)
        machine.on_event(user, event, record)
        due = machine.due(user)
        assert due is None or due >= min(NEVER if known is None else known, record.log_time + machine.soonest), part


@every_machine
def test_state_is_bounded_and_comes_to_rest(build: Callable[[], Machine], part: set[str]) -> None:
    """However long a life, what is kept of it is bounded; and when nothing more happens, one day nothing is due."""
    machine, user = build(), User("default", "ann", START)
    for event, record in life(machine, 3_000):
        live(machine, user, event, record)
    assert len(_encode(user)) < BOUND, part
    looks, due = 0, machine.due(user)
    while due is not None:
        machine.on_time(user, due)
        again = machine.due(user)
        assert again is None or again > due
        looks, due = looks + 1, again
    assert looks < 1_000
    machine.on_time(user, record.log_time + 1_000 * DAY)


@every_machine
def test_looking_too_early_changes_nothing(build: Callable[[], Machine], part: set[str]) -> None:
    """The engine may wake a person in vain."""
    machine, user = build(), User("default", "ann", START)
    for event, record in life(machine, 100):
        live(machine, user, event, record)
        due, before = machine.due(user), _encode(user)
        machine.on_time(user, record.log_time if due is None else min(record.log_time, due - 1))
        assert _encode(user) == before, part
