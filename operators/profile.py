"""Profiles: what whoever composes an email may look up of a user, as flat fields."""

from typing import Final

import msgspec

from operators.carts import contents
from operators.engagement import scores
from state.clock import to_iso
from state.outputs import ProfileUpdate
from state.people import User

_json: Final = msgspec.json.Encoder(order="deterministic").encode


def compose(user: User, as_of: int, log_time: int) -> ProfileUpdate:
    """Write a user's profile; every field every time, so that none can be left over from before."""
    week, month, quarter = scores(user, as_of)
    engagement, sessions = user.engagement, user.sessions
    current = max(sessions.open, key=lambda s: s.ended_at, default=sessions.last)
    cart = max(user.carts.open.values(), key=lambda c: c.touched, default=None)
    items = contents(cart)
    return ProfileUpdate(
        user.tenant,
        user.user_id,
        {
            "as_of": to_iso(as_of),
            "email": user.contact.email,
            "traits": _json(user.contact.traits).decode() if user.contact.traits else "{}",
            "consent": user.consent.refusal or "not refused",
            "events": engagement.events,
            "orders": engagement.orders,
            "revenue": round(engagement.revenue, 2),
            "first_seen": to_iso(engagement.first_at) if engagement.events else "",
            "last_seen": to_iso(engagement.last_at) if engagement.events else "",
            "sessions": sessions.closed + len(sessions.open),
            "session_started_at": to_iso(current.started_at) if current else "",
            "session_ended_at": to_iso(current.ended_at) if current else "",
            "session_events": current.events if current else 0,
            "cart": _json(items).decode() if items else "[]",
            "cart_items": len(items),
            "cart_total": round(sum((item["price"] or 0.0) * item["quantity"] for item in items), 2),
            "engagement_7d": round(week, 4),
            "engagement_30d": round(month, 4),
            "engagement_90d": round(quarter, 4),
        },
        log_time,
    )
