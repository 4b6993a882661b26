"""What became of triggers: the records of the `deliveries` topic, from which delivery itself resumes.

A trigger gets one `outcome`, ever. Before each call to a provider stands an `attempt`; where the provider put it off, a
`deferral` follows. An attempt with nothing after it was under way when its process died. Times are microseconds UTC.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec


class Status(StrEnum):
    """How a delivery ended; a closed list, since it is a metric's label."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """By the provider or by its template, for good. The record holds the trigger whole: it is its dead letter."""
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    """What the trigger was for is no longer so, or a `cancel` came in time. No provider was asked."""
    DUPLICATE = "duplicate"
    """Accepted by an earlier call, whose answer was lost; the provider knew the key."""
    AMBIGUOUS = "ambiguous"
    """Perhaps accepted: the provider takes no key, and the answer was lost. Not sent again."""


class Attempt(msgspec.Struct, frozen=True, tag_field="type", tag="attempt"):
    """A call to a provider that is about to be made."""

    trigger_id: str
    provider: str
    number: int
    at: int


class Deferral(msgspec.Struct, frozen=True, tag_field="type", tag="deferral"):
    """A call of which nothing was accepted, and when the next one may be made."""

    trigger_id: str
    provider: str
    number: int
    at: int
    not_before: int
    reason: str


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="outcome"):
    """How one trigger ended. `trigger` is the trigger itself, where it was rejected and can be read."""

    trigger_id: str
    at: int
    status: Status
    reason: str = ""
    tenant: str = ""
    campaign_id: str = ""
    user_id: str = ""
    provider: str = ""
    provider_id: str = ""
    attempts: int = 0
    decided_at: str = ""
    trigger: Any = None
    kind: str = "send"
    """`cancel` where it is the outcome of one."""


class Opened(msgspec.Struct, frozen=True, tag_field="type", tag="opened"):
    """A process took over this partition; whoever wrote to it before is fenced by this very record."""

    run_id: str
    at: int


Delivery = Attempt | Deferral | Outcome | Opened

_decoder: Final[msgspec.json.Decoder[Delivery]] = msgspec.json.Decoder(Attempt | Deferral | Outcome | Opened)
_encode: Final = msgspec.json.Encoder().encode


def decode(value: bytes) -> Delivery:
    """Read a record. Raises msgspec.DecodeError."""
    return _decoder.decode(value)


def encode(record: Delivery) -> bytes:
    """Write a record."""
    return _encode(record)


def id_of(record: Delivery) -> str:
    """Name a record: an outcome by its trigger, so that it stands out as the only one."""
    match record:
        case Outcome():
            return record.trigger_id
        case Opened():
            return record.run_id
        case Attempt():
            return f"{record.trigger_id}/{record.number}"
        case Deferral():
            return f"{record.trigger_id}/{record.number}/deferred"
