"""What a shard remembers of one person: a user, or a visitor whose name is not known yet.

Every struct is written as an array, so field order is the storage format: append fields with defaults, never reorder.
Every collection is bounded where it is filled. People are trees, never cycles, so the garbage collector
tracks none of them. Times are microseconds UTC: `*_at` in event time, `due` and `touched` in log
time.
"""

from typing import Any

import msgspec

from state.churn import Churn
from state.clock import NEVER
from state.commerce import Product


class Session(msgspec.Struct, array_like=True, gc=False):
    """One visit: what was done without a pause longer than the session gap. `arrived` is the last append time."""

    started_at: int
    ended_at: int
    arrived: int
    events: int = 1
    amount: float = 0.0


class Sessions(msgspec.Struct, array_like=True, gc=False):
    """Open sessions (several while events come out of order), the last closed one, and how many there were."""

    open: list[Session] = []
    last: Session | None = None
    closed: int = 0


class Line(msgspec.Struct, array_like=True, gc=False):
    """One product in a cart; a quantity of 0 or less is a removal that may still meet a late addition."""

    changed_at: int
    quantity: float
    name: str = ""
    price: float | None = None
    url: str = ""
    image_url: str = ""
    variant: str = ""


class Cart(msgspec.Struct, array_like=True, gc=False):
    """One cart, by product."""

    touched: int
    lines: dict[str, Line] = {}


class Carts(msgspec.Struct, array_like=True, gc=False):
    """Open carts by cart id (empty where the shop sends none); what was added up to `bought_at` is bought."""

    open: dict[str, Cart] = {}
    bought_at: int = 0


class Cause(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The record that made something happen, by its place in its partition."""

    position: str
    log_time: int
    message_id: str
    traceparent: str | None = None


class Wait(msgspec.Struct, array_like=True, gc=False):
    """A campaign that was opened and is not due yet."""

    campaign_id: str
    subject: str
    opened_at: int
    last_at: int
    due: int
    cause: Cause
    properties: dict[str, Any] = {}
    items: list[Product] = []


class Sent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A trigger that went out: remembered for re-entry and for the order that arrives late."""

    campaign_id: str
    subject: str
    trigger_id: str
    opened_at: int
    last_at: int
    decided_at: int
    expires_at: int
    cancelled: bool = False


class Waits(msgspec.Struct, array_like=True, gc=False):
    """Open waits, triggers sent, and per campaign the latest event time that cancelled it."""

    open: list[Wait] = []
    sent: list[Sent] = []
    cancelled_at: dict[str, int] = {}


class Engagement(msgspec.Struct, array_like=True, gc=False):
    """How much, how lately and for how much money: decayed weights as of `at`, and lifetime totals."""

    at: int = 0
    week: float = 0.0
    month: float = 0.0
    quarter: float = 0.0
    first_at: int = NEVER
    last_at: int = 0
    events: int = 0
    orders: int = 0
    revenue: float = 0.0


class Consent(msgspec.Struct, array_like=True, gc=False):
    """Whether the person may be written to: empty, or why not, and since when."""

    refusal: str = ""
    since: int = 0


class Contact(msgspec.Struct, array_like=True, gc=False):
    """Who the person says they are: traits as last told, and when."""

    email: str = ""
    traits: dict[str, Any] = {}
    told_at: int = 0


class User(msgspec.Struct, array_like=True, gc=False, tag=0):
    """Everything a shard knows of a person with a user id. Each machine owns one field; `seen` is dedup's."""

    tenant: str
    user_id: str
    touched: int
    seen: bytes = b""
    visitors: list[str] = []
    contact: Contact = msgspec.field(default_factory=Contact)
    consent: Consent = msgspec.field(default_factory=Consent)
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    carts: Carts = msgspec.field(default_factory=Carts)
    waits: Waits = msgspec.field(default_factory=Waits)
    engagement: Engagement = msgspec.field(default_factory=Engagement)
    churn: Churn = msgspec.field(default_factory=Churn)


class Waiting(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message of a visitor that waits for a name."""

    log_time: int
    message: bytes


class Visitor(msgspec.Struct, array_like=True, gc=False, tag=1):
    """An anonymous id: whom it turned out to be, or what it did so far."""

    tenant: str
    anonymous_id: str
    touched: int
    user_id: str = ""
    waiting: list[Waiting] = []


Person = User | Visitor


def storable(value: Any) -> bool:
    """Tell whether a value out of a message may be remembered: neither snapshots nor triggers can hold longer integers."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if isinstance(value, dict):
        return all(map(storable, value.values()))
    return all(map(storable, value)) if isinstance(value, list) else True


def user_key(tenant: str, user_id: str) -> str:
    """Name a user within a shard; a tenant has no slash, so no two people share a key."""
    return f"{tenant}/{user_id}"


def visitor_key(tenant: str, anonymous_id: str) -> str:
    """Name a visitor within a shard, apart from any user with the same id."""
    return f"{tenant}~{anonymous_id}"
