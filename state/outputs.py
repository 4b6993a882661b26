"""What the fold says: triggers, decisions not to send, profiles, dead letters, and records back to the log."""

import hashlib
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from state.churn import Example
from state.clock import MILLISECOND
from state.wire import Delete, Forward, Link

MAX_TRIGGER_BYTES: Final = 32 * 1024
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _CROCKFORD for second in _CROCKFORD)


class CausePlace(msgspec.Struct, frozen=True):
    """Where in the log a trigger comes from."""

    partition: int
    offset: str
    message_id: str


class Recheck(msgspec.Struct, frozen=True):
    """What must still be so when the email goes out: no order after the `orders` that were known, the items in the cart."""

    orders: int | None = None
    cart: bool = False


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """One email to send, or one to take back. Its id is derived from its cause: the same log gives the same trigger.

    `occurred_at` is the event time of the opening event, the other times are log times; all ISO 8601 UTC. The id is a ULID
    and serves as an idempotency key wherever an ESP takes one.
    """

    trigger_id: str
    kind: str
    supersedes: str | None = None
    tenant: str
    campaign_id: str
    campaign_version: str
    template_id: str
    user_id: str
    anonymous_id: str | None = None
    email: str | None = None
    occurred_at: str
    decided_at: str
    send_at: str
    expires_at: str
    subject: str
    payload: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    consent: dict[str, Any] = {}
    recheck: Recheck | None = None
    caps: dict[str, Any] = {}
    experiment: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    cause: list[CausePlace]


class NotSent(StrEnum):
    """Why a wait ended without a trigger; a closed list, since it is a metric's label."""

    CANCELLED = "cancelled"
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    REENTRY = "reentry"
    EMPTY_CART = "empty_cart"
    WITHDRAWN = "withdrawn"
    CROWDED_OUT = "crowded_out"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One email not sent, and why. Its id, like a trigger's, is derived from its cause."""

    decision_id: str
    tenant: str
    campaign_id: str
    user_id: str
    subject: str
    reason: NotSent
    detail: str = ""
    opened_at: str
    decided_at: str
    cause: list[CausePlace]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that could not be processed: why, from where, and its bytes (`base64` where they are not UTF-8)."""

    id: str
    reason: str
    detail: str
    partition: int
    position: str
    log_time: int
    value: str | None = None
    base64: str | None = None


class ProfileUpdate(NamedTuple):
    """A user's profile as flat fields, ready for a hash; None forgets the user. `log_time` is the record that caused it."""

    tenant: str
    user_id: str
    fields: dict[str, str | int | float] | None
    log_time: int


class Emission(msgspec.Struct, frozen=True, gc=False):
    """A trigger or decision on its way to its topic: id, bytes, and what telemetry needs to know without decoding them."""

    id: str
    value: bytes
    campaign_id: str
    label: str
    decided_at: int
    caused_at: int
    """Append time of the record that opened the wait."""
    traceparent: str | None


class Feedback(NamedTuple):
    """A record back to the log, under the key of the person whom it concerns."""

    key: str
    record: Link | Forward | Delete


class Outputs(msgspec.Struct):
    """What one batch led to, and counts for telemetry. Profiles hold each touched user once."""

    partition: int
    profiles: list[ProfileUpdate] = []
    triggers: list[Emission] = []
    decisions: list[Emission] = []
    dead_letters: list[DeadLetter] = []
    feedback: list[Feedback] = []
    examples: list[Example] = []
    records: int = 0
    types: dict[str, int] = {}
    repeats: int = 0
    late: int = 0


def derived_id(decided_at: int, *parts: str) -> str:
    """Derive the id of a trigger or decision from its log time in microseconds and its cause.

    It is a ULID: the time in milliseconds, and 80 bits of a hash of the parts that make the thing unique.
    """
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=10).digest()
    n, millis, p = int.from_bytes(digest, "big"), decided_at // MILLISECOND, _PAIRS
    # Written out: base64's own base 32 is Python in 3.11, and a loop costs twice as much.
    return (
        f"{_quarter_hour(millis >> 20)}{p[millis >> 10 & 1023]}{p[millis & 1023]}"
        f"{p[n >> 70]}{p[n >> 60 & 1023]}{p[n >> 50 & 1023]}{p[n >> 40 & 1023]}"
        f"{p[n >> 30 & 1023]}{p[n >> 20 & 1023]}{p[n >> 10 & 1023]}{p[n & 1023]}"
    )


@lru_cache(maxsize=1024)
def _quarter_hour(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in (20, 10, 0)])
