"""What stands on the wire: Segment messages and our own control records, as one closed tagged union.

msgspec decodes and validates a record in one pass; only what the fold reads is declared, the rest is skipped unread (though
it must be JSON). Properties and traits stay raw until someone asks for them.

No struct here can be part of a reference cycle, so the garbage collector tracks none of them.
"""

import re
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, field

MAX_EVENT_BYTES: Final = 32 * 1024
MAX_MESSAGE_ID: Final = 100
MAX_CONTROL_BYTES: Final = 4 * 1024 * 1024
"""Control records are our own: a forward carries a visitor's whole bounded history, a model its weights."""

MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_MESSAGE_ID)]
PersonId = Annotated[str, Meta(max_length=255)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Segment's libraries send strings; its HTTP API also takes numbers, which become strings. Empty and 0 mean absent."""

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Tenant = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
Count = Annotated[int, Meta(ge=0, lt=2**62)]

NO_JSON: Final = Raw()


class Message(msgspec.Struct, rename="camel", tag_field="type", kw_only=True, frozen=True, gc=False):
    """What all kinds of message have in common. `raw` is the properties, or for identify and group the traits, as sent."""

    message_id: MessageId
    user_id: PersonId | None = None
    anonymous_id: PersonId | None = None
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None
    received_at: datetime | None = None
    tenant: Tenant = "default"
    raw: Raw = field(default=NO_JSON, name="properties")


class Track(Message, tag="track", kw_only=True, frozen=True):
    """Something a person did."""

    event: Name


class Identify(Message, tag="identify", kw_only=True, frozen=True):
    """Who a person is, with traits."""

    context: Raw = NO_JSON
    raw: Raw = field(default=NO_JSON, name="traits")


class Page(Message, tag="page", frozen=True):
    """A page seen on the web."""


class Screen(Message, tag="screen", frozen=True):
    """A screen seen in an app."""


class Group(Message, tag="group", kw_only=True, frozen=True):
    """A person belongs to a company or household."""

    group_id: PersonId
    raw: Raw = field(default=NO_JSON, name="traits")


class Alias(Message, tag="alias", kw_only=True, frozen=True):
    """An earlier id and a user id are one person."""

    previous_id: PersonId


class _Control(msgspec.Struct, rename="camel", tag_field="type", kw_only=True, frozen=True, gc=False):
    tenant: Tenant = "default"


class Link(_Control, tag="link", kw_only=True, frozen=True):
    """A visitor turned out to be a user. Keyed by the visitor."""

    anonymous_id: Name
    user_id: Name
    hops: Count = 0


class Forwarded(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """One message of a visitor, with the append time it had under the visitor's key."""

    log_time: Count
    message: Raw


class Forward(_Control, tag="forward", kw_only=True, frozen=True):
    """What a visitor did, told under the user's key, in the order in which it was appended.

    `hops` counts how often these events have been forwarded, so that two ids aliased to each other cannot bounce them for
    ever.
    """

    anonymous_id: Name
    user_id: Name
    hops: Count
    events: list[Forwarded]


class Model(_Control, tag="model", kw_only=True, frozen=True):
    """The weights that score from here on."""

    name: Name
    version: Name
    schema: Count
    weights: dict[str, float]


class CampaignsInForce(_Control, tag="campaigns", kw_only=True, frozen=True):
    """The campaign definitions that hold from here on; `digest` recognises a repeat."""

    digest: Name
    campaigns: Raw


class Delete(_Control, tag="delete", kw_only=True, frozen=True, omit_defaults=True):
    """A person asked to be forgotten. Keyed by the user, or by one of their devices, which it names then."""

    user_id: Name
    anonymous_id: Name | None = None


Spoken = Track | Identify | Page | Screen | Group | Alias
Control = Link | Forward | Model | CampaignsInForce | Delete

decoder: Final[msgspec.json.Decoder[Spoken | Control]] = msgspec.json.Decoder(Spoken | Control)
encoder: Final = msgspec.json.Encoder()

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}(?P<low>\\u[dD][c-fC-F][\da-fA-F]{2})?|u[dD][c-fC-F][\da-fA-F]{2}|(?P<other>.))",
    re.DOTALL,
)


def mended(value: bytes) -> bytes:
    """Replace lone surrogate escapes by U+FFFD; libraries send them where a text was cut in the middle of an emoji."""
    return _ESCAPE.sub(lambda escape: escape[0] if escape["low"] or escape["other"] else rb"\ufffd", value)
