"""Features: what they say of a life, whatever the order in which it is told."""

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from models import features
from state.churn import Behaviour
from state.clock import DAY, HOUR
from state.commerce import Kind
from tests.shopping import START, at

Told = list[tuple[Kind, int, float]]

lives = st.lists(
    st.tuples(
        st.sampled_from([*features.KINDS, Kind.REFUND]),
        st.integers(START, START + 500 * DAY),
        st.sampled_from([0.0, 9.99, 1e11, -5.0, 1e12]),
    ),
    min_size=1,
    max_size=40,
)


def after(life: Told) -> Behaviour:
    """Tell a life."""
    behaviour = Behaviour()
    for kind, time, amount in life:
        features.update(behaviour, kind, time, amount)
    return behaviour


def named(behaviour: Behaviour, now: int) -> dict[str, float]:
    """Read the features by name."""
    return dict(zip(features.NAMES, features.vector(behaviour, now), strict=True))


def test_every_feature_is_documented_and_every_name_is_used_once() -> None:
    """A data scientist reads the names in a report, and must find what they mean."""
    assert len(features.NAMES) == len(set(features.NAMES)) == len(features.vector(Behaviour(), START))
    assert all(len(meaning) > 10 for meaning in features.DOCUMENTED.values())


@given(lives, st.integers(-600 * DAY, 4000 * DAY))
@settings(max_examples=150)
def test_every_vector_is_finite_whatever_happened_and_whenever_it_is_asked(life: Told, later: int) -> None:
    """Late, early, doubled, worthless and absurdly dear events; asked even before they happened."""
    x = features.vector(after(life), START + later)
    assert all(math.isfinite(value) and -1e-9 <= value < 1000 for value in x)


@given(lives)
@settings(max_examples=150)
def test_decayed_counts_are_the_sums_that_they_stand_for(life: Told) -> None:
    """Kept in constant space, in whatever order events come in, they equal a sum over the whole life."""
    now = START + 510 * DAY
    found = named(after(life), now)
    for kind in features.KINDS:
        for days in features.HALF_LIVES:
            wanted = math.fsum(0.5 ** ((now - time) / (days * DAY)) for k, time, _ in life if k == kind)
            assert math.isclose(found[f"{kind.name.lower()}_{days}d"], math.log1p(wanted), rel_tol=1e-6, abs_tol=1e-12)


@given(lives, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_the_order_of_telling_changes_no_count_and_no_recency(life: Told, rnd: object) -> None:
    """A phone that was offline sends its day in the evening."""
    shuffled = list(life)
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = named(after(life), START + 510 * DAY), named(after(shuffled), START + 510 * DAY)
    for name in ("recency", "order_recency", "tenure", "events", "orders", "refunds", "browse_7d", "order_90d"):
        assert math.isclose(one[name], two[name], rel_tol=1e-9, abs_tol=1e-9)


def test_a_late_event_gives_no_negative_age() -> None:
    """log1p of -1 day is no number; it killed the model that met it."""
    behaviour = after([(Kind.ORDER, at(days=10), 20.0)])
    assert named(behaviour, at(days=8))["recency"] == 0.0
    features.update(behaviour, Kind.BROWSE, at(days=2), 0.0)
    assert named(behaviour, at(days=10))["tenure"] == math.log1p(8)


def test_parcels_of_one_purchase_are_no_gap_between_purchases() -> None:
    """Two orders within the hour made a monthly customer look like an hourly one."""
    behaviour = after([(Kind.ORDER, at(days=30 * month, hours=part), 10.0) for month in range(5) for part in (0, 1)])
    found = named(behaviour, at(days=125))
    assert math.isclose(math.expm1(found["gap_mean"]), 30, rel_tol=0.01)
    assert found["gap_variation"] < 0.01
    assert found["punctuality"] > 0.8


def test_sessions_carts_and_first_buyers_are_told() -> None:
    """What happened in a visit counts once; a cart is open until the order."""
    browse = [(Kind.BROWSE, at(days=day, minutes=minute), 0.0) for day in range(3) for minute in range(5)]
    found = named(after(browse), at(days=3))
    assert math.isclose(math.expm1(found["sessions"]), 3)
    assert math.isclose(math.expm1(found["session_length"]), 5)
    cart = [(Kind.CART, at(days=3), 0.0)]
    assert named(after([*browse, *cart]), at(days=4))["cart_open"] == 1.0
    bought = named(after([*browse, *cart, (Kind.ORDER, at(days=3, hours=1), 9.0)]), at(days=4))
    assert (bought["cart_open"], bought["first_buyer"]) == (0.0, 1.0)


def test_behaviour_survives_storage_to_the_bit_and_stays_small() -> None:
    """It is written with every snapshot of every user."""
    life = [(Kind.ORDER if hour % 24 == 0 else Kind.BROWSE, START + hour * HOUR, 10.0) for hour in range(2000)]
    behaviour = after(life)
    packed = msgspec.msgpack.encode(behaviour)
    again = msgspec.msgpack.decode(packed, type=Behaviour)
    assert features.vector(again, at(days=90)) == features.vector(behaviour, at(days=90))
    assert len(packed) < 350


@given(lives)
@settings(max_examples=100)
def test_kinds_that_never_occurred_take_no_place_and_change_nothing(life: Told) -> None:
    """Shards of before wrote a zero for every kind and half-life: they say the same, and go on alike."""
    now = START + 510 * DAY
    short, full = Behaviour(), Behaviour(grown=[0.0] * (len(features.KINDS) * len(features.HALF_LIVES)))
    for kind, time, amount in life:
        features.update(short, kind, time, amount)
        features.update(full, kind, time, amount)
        assert features.vector(short, now) == features.vector(full, now)
    last = max((features.KINDS.index(kind) for kind, _, _ in life if kind != Kind.REFUND), default=-1)
    assert len(short.grown) == 3 * (last + 1)
