"""Features of churn: what a person did, as a vector as of any moment, O(1) an event.

Counts and durations are in `log1p` throughout, durations in days. Decayed counts are kept by forward decay (Cormode et al.,
"Forward Decay", ICDE 2009): an event adds what has grown since a landmark, and reading divides by what has grown until then.
So an update touches one kind, late events need no case of their own, and 2^(t/30) is the cube of 2^(t/90).
Change what a feature means, and raise `VERSION`: models trained on another version do not score.
"""

from math import exp, log, log1p, sqrt
from operator import mul
from typing import Final

from state.churn import Behaviour
from state.clock import DAY, HOUR, MINUTE
from state.commerce import Kind

VERSION: Final = 1

KINDS: Final = (
    Kind.OTHER,
    Kind.BROWSE,
    Kind.CART,
    Kind.CHECKOUT,
    Kind.ORDER,
    Kind.EMAIL_OPEN,
    Kind.EMAIL_CLICK,
)
HALF_LIVES: Final = (7, 30, 90)
SESSION_GAP: Final = 30 * MINUTE
SAME_PURCHASE: Final = 12 * HOUR
"""Orders closer than this are one purchase in several parcels: they tell nothing of the gap between purchases."""

PRIOR_GAP: Final = 30.0
"""The pseudo-gap in days that every person starts with, so that one purchase already has a mean gap."""

SMOOTHING: Final = 0.3
"""The share of the newest value in the moving averages of order value and session length."""

MOST: Final = 1e12
"""An order of this value or more, or of none, tells nothing of what orders are worth."""

_DAYS: Final = 1.0 / DAY
_RATE_7: Final = log(2) / (7 * DAY)
_RATE_90: Final = log(2) / (90 * DAY)
_SLOT: Final = {int(kind): 3 * place for place, kind in enumerate(KINDS)}
_FAR: Final = 2000 * DAY
"""How far from its landmark a count may grow: 2^(2000/7) is far from the end of doubles."""
_ORDER: Final = int(Kind.ORDER)
_CART: Final = int(Kind.CART)
_NEVER: Final = [0.0] * (len(KINDS) * len(HALF_LIVES))
"""What the decayed counts are of kinds that never occurred: they take no place in a behaviour (see there)."""


DOCUMENTED: Final[dict[str, str]] = {
    **{
        f"{kind.name.lower()}_{days}d": f"log1p of the count of {kind.name.lower()} events, half-life {days} days"
        for kind in KINDS
        for days in HALF_LIVES
    },
    "recency": "log1p of days since the person last did anything; what we send them does not count",
    "order_recency": "log1p of days since the last order; since the first event where there is none",
    "tenure": "log1p of days since the first event",
    "events": "log1p of all that the person did",
    "orders": "log1p of orders",
    "refunds": "log1p of refunds and cancelled orders",
    "gap_mean": "log1p of the mean days between purchases, with one pseudo-gap of 30 days",
    "lateness": "log1p of days since the last order over the mean gap",
    "order_value": "log1p of the moving average of order values",
    "sessions": "log1p of sessions",
    "session_length": "log1p of the moving average of events in a session",
    "gap_variation": "standard deviation of the gaps over their mean; 1 under two gaps",
    "punctuality": "exp(-days since the last order / mean gap)",
    "cart_open": "1 if something happened to a cart since the last order",
    "first_buyer": "1 if there is exactly one purchase",
    "decline": "log of orders decayed over 90 days, plus 0.3, over those decayed over 30 days, plus 0.1",
    "habit_unmet": "order_30d times lateness: a habit, and how far it is broken",
    "gap_spread": "gap_mean times gap_variation: how far apart purchases may lie without a meaning",
}
NAMES: Final = tuple(DOCUMENTED)
_ORDERS: Final = _SLOT[_ORDER]
_NO_DECLINE: Final = log(0.3 / 0.1)
"""What decline says of who never ordered."""


def update(b: Behaviour, kind: int, time: int, amount: float) -> None:
    """Take in an event at event time `time`, early or late; `amount` is an order's value."""
    age = time - b.landmark
    if not 0 <= age <= _FAR:
        age = _moved(b, time)
    slot = _SLOT.get(kind)
    if slot is None:
        b.refunds += 1
        return
    grown, quarter = b.grown, exp(age * _RATE_90)
    if slot >= len(grown):
        grown += _NEVER[len(grown) : slot + 3]
    grown[slot] += exp(age * _RATE_7)
    grown[slot + 1] += quarter * quarter * quarter
    grown[slot + 2] += quarter
    if kind > _ORDER:
        return
    b.events += 1
    if time < b.first_at:
        b.first_at = time
    since = time - b.active_at
    if since > 0:
        b.active_at = time
    if since > SESSION_GAP:
        _visited(b)
    else:
        b.session_events += 1
    if kind == _ORDER:
        _bought(b, time, amount)
    elif kind == _CART and time > b.cart_at:
        b.cart_at = time


def _moved(b: Behaviour, time: int) -> int:
    """Move the landmark where a first, an older or a far later event needs it; return the event's age from it."""
    if not b.landmark:
        b.landmark = time
    elif time > b.landmark:
        age = b.landmark - time
        quarter = exp(age * _RATE_90)
        b.grown = list(map(mul, b.grown, (exp(age * _RATE_7), quarter * quarter * quarter, quarter) * len(KINDS)))
        b.landmark = time
    return max(time - b.landmark, -_FAR)


def _visited(b: Behaviour) -> None:
    if b.sessions == 1:
        b.session_length = float(b.session_events)
    elif b.sessions:
        b.session_length += SMOOTHING * (b.session_events - b.session_length)
    b.sessions += 1
    b.session_events = 1


def _bought(b: Behaviour, time: int, amount: float) -> None:
    b.orders += 1
    if 0.0 < amount < MOST:
        b.order_value += (SMOOTHING if b.orders > 1 else 1.0) * (amount - b.order_value)
    since = time - b.bought_at
    if since <= 0:
        return
    if b.bought_at and since >= SAME_PURCHASE:
        gap = since * _DAYS
        b.gaps += 1
        off = gap - b.gap_mean
        b.gap_mean += off / b.gaps
        b.gap_m2 += off * (gap - b.gap_mean)
    b.bought_at = time


def vector(b: Behaviour, now: int) -> list[float]:
    """Write the features as of `now` in the order of `NAMES`; no age is below 0, should `now` lie before an event."""
    active_at = b.active_at
    if now < active_at:
        now = active_at
    age = b.landmark - now
    week, quarter = exp(age * _RATE_7), exp(age * _RATE_90)
    month = quarter * quarter * quarter
    grown = b.grown
    events, orders, gaps, bought_at, sessions = b.events, b.orders, b.gaps, b.bought_at, b.sessions
    tenure = (now - b.first_at) * _DAYS if events else 0.0
    since_order = (now - bought_at) * _DAYS if orders else tenure
    mean = b.gap_mean
    expected = (PRIOR_GAP + gaps * mean) / (1 + gaps)
    late = since_order / expected
    variation = sqrt(b.gap_m2 / gaps) / mean if gaps > 1 else 1.0
    lateness, gap_mean = log1p(late), log1p(expected)
    decline, habit_unmet = _NO_DECLINE, 0.0
    if orders:
        in_30d, in_90d = grown[_ORDERS + 1] * month, grown[_ORDERS + 2] * quarter
        decline, habit_unmet = log((in_90d + 0.3) / (in_30d + 0.1)), log1p(in_30d) * lateness
    return [
        *map(log1p, map(mul, grown, (week, month, quarter) * len(KINDS))),
        *_NEVER[len(grown) :],
        log1p((now - active_at) * _DAYS) if events else 0.0,
        log1p(since_order),
        log1p(tenure),
        log1p(events),
        log1p(orders),
        log1p(b.refunds),
        gap_mean,
        lateness,
        log1p(b.order_value),
        log1p(sessions),
        log1p(b.session_length if sessions > 1 else b.session_events),
        variation,
        exp(-late),
        1.0 if b.cart_at > bought_at else 0.0,
        1.0 if orders and not gaps else 0.0,
        decline,
        habit_unmet,
        gap_mean * variation,
    ]
