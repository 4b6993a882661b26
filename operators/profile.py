"""Profiles: what whoever composes an email may look up of a user, as flat fields."""

from typing import Final

import msgspec

from operators.carts import contents
from operators.churn import Churned
from state.clock import to_iso
from state.commerce import Kind
from state.outputs import ProfileUpdate
from state.people import Session, Sessions, User

_json: Final = msgspec.json.Encoder(order="deterministic").encode
_NO_SESSION: Final = Session(0, 0, 0, 0)


ACTIVITY: Final = 1
CART: Final = 2
CONTACT: Final = 4
ORDERS: Final = 8
WHOLE: Final = ACTIVITY | CART | CONTACT | ORDERS
BY_TIME: Final = 16
"""Which fields of a profile something changed, as bits (enum's flags cost a microsecond each); BY_TIME: no event did."""

_CHANGES: Final = {
    Kind.OTHER: ACTIVITY | CONTACT,
    Kind.CART: ACTIVITY | CART,
    Kind.ORDER: ACTIVITY | CART | ORDERS,
    Kind.UNSUBSCRIBE: CONTACT,
    Kind.BOUNCE: CONTACT,
    Kind.COMPLAINT: CONTACT,
}
CHANGED_BY: Final = tuple(_CHANGES.get(kind, ACTIVITY) for kind in Kind)
"""By kind of event."""

Fields = dict[str, str | int | float]


def compose(user: User, parts: int, as_of: str, log_time: int, churned: Churned | None = None) -> ProfileUpdate:
    """Write the parts of a user's profile that changed, each with every field of it, so that none is left from before.

    Engagement is as of the last event: whoever reads it later halves it for every half-life since `last_seen`.
    """
    fields: Fields = _activity(as_of, user) if parts & ACTIVITY else {"as_of": as_of}
    if parts & CART:
        _cart(fields, user)
    if parts & CONTACT:
        _contact(fields, user)
    if parts & ORDERS:
        _orders(fields, user)
    if churned is not None:
        score, model, version, reasons = churned
        fields["churn_score"] = f"{score:.4f}"
        fields["churn_model"] = model
        fields["churn_version"] = version
        fields["churn_reasons"] = ",".join(reasons)
    return ProfileUpdate(user.tenant, user.user_id, fields, log_time)


def _activity(as_of: str, user: User) -> Fields:
    engagement, sessions = user.engagement, user.sessions
    open_ = sessions.open
    current = open_[0] if len(open_) == 1 else _latest(sessions)
    last_at, ended_at = engagement.last_at, current.ended_at
    last_seen = to_iso(last_at) if last_at else ""
    return {
        "as_of": as_of,
        "last_seen": last_seen,
        "events": engagement.events,
        "sessions": sessions.closed + len(open_),
        "session_events": current.events,
        "session_started_at": to_iso(current.started_at) if ended_at else "",
        "session_ended_at": last_seen if ended_at == last_at else to_iso(ended_at) if ended_at else "",
        "engagement_7d": f"{engagement.week:.4f}",
        "engagement_30d": f"{engagement.month:.4f}",
        "engagement_90d": f"{engagement.quarter:.4f}",
    }


def _latest(sessions: Sessions) -> Session:
    return max(sessions.open, key=lambda s: s.ended_at, default=sessions.last or _NO_SESSION)


def _orders(fields: Fields, user: User) -> None:
    engagement = user.engagement
    fields["orders"] = engagement.orders
    fields["revenue"] = round(engagement.revenue, 2)
    fields["first_seen"] = to_iso(engagement.first_at) if engagement.events else ""


def _cart(fields: Fields, user: User) -> None:
    carts = user.carts.open
    if not carts:
        fields["cart_id"], fields["cart"], fields["cart_items"], fields["cart_total"] = "", "[]", 0, 0
        return
    cart_id = next(iter(carts)) if len(carts) == 1 else max(carts, key=lambda name: carts[name].touched)
    items, total = contents(carts[cart_id]), 0.0
    for item in items:
        total += (item.price or 0.0) * item.quantity
    fields["cart_id"] = cart_id
    fields["cart"] = _json(items).decode()
    fields["cart_items"] = len(items)
    fields["cart_total"] = round(total, 2) if items else 0


def _contact(fields: Fields, user: User) -> None:
    fields["email"] = user.contact.email
    fields["traits"] = _json(user.contact.traits).decode() if user.contact.traits else "{}"
    fields["consent"] = user.consent.refusal or "not refused"
