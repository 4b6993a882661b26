"""What stands on the wire: Segment messages and our own control records, as one closed tagged union.

msgspec decodes and validates a record in one pass; only what the fold reads is declared, the rest is skipped unread.
Properties and traits stay raw until someone asks for them.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

MAX_EVENT_BYTES: Final = 32 * 1024
MAX_MESSAGE_ID: Final = 100
MAX_CONTROL_BYTES: Final = 4 * 1024 * 1024
"""Control records are our own: a forward carries a visitor's whole bounded history, a model its weights."""

MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_MESSAGE_ID)]
PersonId = Annotated[str, Meta(max_length=255)]
"""Segment's libraries send strings; its HTTP API also takes numbers, which become strings. Empty means absent."""

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Tenant = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")]

NO_JSON: Final = Raw()


class _Message(msgspec.Struct, rename="camel", tag_field="type", kw_only=True, frozen=True):
    message_id: MessageId
    user_id: PersonId | int | None = None
    anonymous_id: PersonId | int | None = None
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None
    received_at: datetime | None = None
    tenant: Tenant = "default"
    context: Raw = NO_JSON


class Track(_Message, tag="track", frozen=True):
    """Something a person did."""

    event: Name
    properties: Raw = NO_JSON


class Identify(_Message, tag="identify", frozen=True):
    """Who a person is, with traits."""

    traits: Raw = NO_JSON


class Page(_Message, tag="page", frozen=True):
    """A page seen on the web."""

    name: Annotated[str, Meta(max_length=2048)] | None = None
    properties: Raw = NO_JSON


class Screen(_Message, tag="screen", frozen=True):
    """A screen seen in an app."""

    name: Annotated[str, Meta(max_length=2048)] | None = None
    properties: Raw = NO_JSON


class Group(_Message, tag="group", frozen=True):
    """A person belongs to a company or household."""

    group_id: PersonId | int
    traits: Raw = NO_JSON


class Alias(_Message, tag="alias", frozen=True):
    """An earlier id and a user id are one person."""

    previous_id: PersonId | int


class _Control(msgspec.Struct, rename="camel", tag_field="type", kw_only=True, frozen=True):
    tenant: Tenant = "default"


class Link(_Control, tag="link", frozen=True):
    """A visitor turned out to be a user. Keyed by the visitor."""

    anonymous_id: str
    user_id: str
    hops: int = 0


class Forwarded(msgspec.Struct, rename="camel", frozen=True):
    """One message of a visitor, with the append time it had under the visitor's key."""

    log_time: int
    message: Raw


class Forward(_Control, tag="forward", frozen=True):
    """What a visitor did, told under the user's key, in the order in which it was appended.

    `hops` counts how often these events have been forwarded, so that two ids aliased to each other cannot bounce them for
    ever.
    """

    anonymous_id: str
    user_id: str
    hops: int
    events: list[Forwarded]


class Model(_Control, tag="model", frozen=True):
    """The weights that score from here on."""

    name: str
    version: str
    schema: int
    weights: dict[str, float]


class CampaignsInForce(_Control, tag="campaigns", frozen=True):
    """The campaign definitions that hold from here on; `digest` recognises a repeat."""

    digest: str
    campaigns: Raw


class Delete(_Control, tag="delete", frozen=True):
    """A person asked to be forgotten. Keyed by the user."""

    user_id: str


Message = Track | Identify | Page | Screen | Group | Alias
Control = Link | Forward | Model | CampaignsInForce | Delete

decoder: Final = msgspec.json.Decoder(Message | Control)
encoder: Final = msgspec.json.Encoder()
