"""Events: what a record says happened, checked and corrected; or why it cannot be believed."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, get_args

import msgspec
from msgspec import Raw

from state import wire
from state.clock import HOUR, to_micros
from state.commerce import KNOWN, Kind, Properties

FUTURE_TOLERANCE: Final = HOUR
"""How far a corrected event time may lie past its append time before the event is refused; below that it is clamped."""

EARLIEST: Final = 946_684_800_000_000
"""2000-01-01: no customer event is older; what claims to be is a clock that was never set."""

_NO_PROPERTIES: Final = Properties()
_properties: Final = msgspec.json.Decoder(Properties, strict=False)
_mapping: Final = msgspec.json.Decoder(dict[str, Any])


class Reason(StrEnum):
    """Why a record went to the dead letters; a closed list, since it is a metric's label."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    INVALID = "invalid"
    NO_IDENTITY = "no_identity"
    BAD_TIME = "bad_time"


class Rejected(NamedTuple):
    """A record that cannot be processed, with a reason for metrics and a sentence for a person."""

    reason: Reason
    detail: str


class Event(msgspec.Struct, frozen=True):
    """One fact about one person, in the form that every machine reads.

    `name` is canonical: a track event's v2 name, else the message's type. `time` is the corrected event time in
    microseconds UTC and is never later than the append time of its record. `raw` is the properties (for identify and
    group: the traits) as sent, `fields` the e-commerce properties checked.
    """

    type: str
    name: str
    kind: Kind
    message_id: str
    tenant: str
    user_id: str
    anonymous_id: str
    time: int
    fields: Properties
    raw: Raw
    context: Raw
    previous_id: str = ""

    def mapping(self) -> dict[str, Any] | Rejected:
        """Decode the properties or traits as sent. Missing ones are empty; undecodable ones (1e999) are rejected."""
        return as_mapping(self.raw)


def as_mapping(raw: Raw) -> dict[str, Any] | Rejected:
    """Decode a raw JSON object; null and nothing are empty."""
    if not raw or raw == b"null":
        return {}
    try:
        return _mapping.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        return _explain(error)


def decode(value: bytes, log_time: int) -> Event | wire.Control | Rejected:
    """Decode and validate one record's value in one pass.

    Args:
        value: the bytes of the record, as they stand in the log.
        log_time: its append time in microseconds; event times are corrected against it where the sender gave no
            `receivedAt`, and bounded by it.

    Returns:
        An `Event`, a control record, or `Rejected`. Never raises, whatever the bytes.
    """
    try:
        if not value.isascii():
            value.decode()
        message = wire.decoder.decode(value)
        normalise = _NORMALISE.get(type(message))
        size = len(value)
        if size > (wire.MAX_CONTROL_BYTES if normalise is None else wire.MAX_EVENT_BYTES):
            return Rejected(Reason.TOO_LARGE, f"{size} bytes; an event has at most {wire.MAX_EVENT_BYTES}")
        return message if normalise is None else normalise(message, log_time)
    except (ValueError, RecursionError, OverflowError) as error:
        return _explain(error)


def _track(message: wire.Track, log_time: int) -> Event | Rejected:
    known = KNOWN.get(message.event)
    if known is None:
        return _event(message, log_time, message.event, Kind.OTHER, _NO_PROPERTIES, message.properties)
    raw = message.properties
    fields = _properties.decode(raw) if raw and raw != b"null" else _NO_PROPERTIES
    need = known.required
    if need is not None and not (fields.key if need == "product_id" else fields.order_id):
        return Rejected(Reason.INVALID, f"{known.name} needs {need} in its properties")
    return _event(message, log_time, known.name, known.kind, fields, raw)


def _seen(message: wire.Page | wire.Screen, log_time: int) -> Event | Rejected:
    return _event(message, log_time, _TYPES[type(message)], Kind.BROWSE, _NO_PROPERTIES, message.properties)


def _described(message: wire.Identify | wire.Group, log_time: int) -> Event | Rejected:
    return _event(message, log_time, _TYPES[type(message)], Kind.OTHER, _NO_PROPERTIES, message.traits)


def _alias(message: wire.Alias, log_time: int) -> Event | Rejected:
    previous_id = str(message.previous_id)
    return _event(message, log_time, "alias", Kind.OTHER, _NO_PROPERTIES, wire.NO_JSON, previous_id)


def _event(
    message: wire.Message, log_time: int, name: str, kind: Kind, fields: Properties, raw: Raw, previous_id: str = ""
) -> Event | Rejected:
    user_id, anonymous_id = message.user_id or "", message.anonymous_id or ""
    if not user_id and not anonymous_id:
        return Rejected(Reason.NO_IDENTITY, "neither userId nor anonymousId is given")
    time = _corrected(message, log_time)
    if time < EARLIEST:
        return Rejected(Reason.BAD_TIME, "the event time lies before the year 2000")
    if time > log_time:
        if time > log_time + FUTURE_TOLERANCE:
            return Rejected(Reason.BAD_TIME, "the event time lies more than an hour after the record was appended")
        time = log_time
    return Event(
        _TYPES[type(message)],
        name,
        kind,
        message.message_id,
        message.tenant,
        str(user_id),
        str(anonymous_id),
        time,
        fields,
        raw,
        message.context,
        previous_id,
    )


_TYPES: Final[dict[type, str]] = {cls: str(cls.__struct_config__.tag) for cls in get_args(wire.Message)}
_NORMALISE: Final[dict[type, Callable[[Any, int], Event | Rejected]]] = {
    wire.Track: _track,
    wire.Identify: _described,
    wire.Group: _described,
    wire.Page: _seen,
    wire.Screen: _seen,
    wire.Alias: _alias,
}


def _corrected(message: wire.Message, log_time: int) -> int:
    """Correct a device's clock: receivedAt - (sentAt - originalTimestamp), as Segment does."""
    stated, sent, received = message.original_timestamp or message.timestamp, message.sent_at, message.received_at
    if stated is None:
        return log_time if received is None else to_micros(received)
    if sent is None:
        return to_micros(stated)
    return (log_time if received is None else to_micros(received)) - (to_micros(sent) - to_micros(stated))


def _explain(error: Exception) -> Rejected:
    if isinstance(error, UnicodeDecodeError):
        return Rejected(Reason.NOT_UTF8, f"not UTF-8: {error.reason} at byte {error.start}")
    if isinstance(error, RecursionError):
        return Rejected(Reason.TOO_DEEP, "nested too deeply")
    if isinstance(error, msgspec.ValidationError):
        return Rejected(Reason.INVALID, str(error).replace("`", ""))
    return Rejected(Reason.NOT_JSON, str(error))


def parse_time(text: str) -> int:
    """Read an ISO 8601 time, as a person would type it, into microseconds UTC. Raises ValueError."""
    return to_micros(datetime.fromisoformat(text))
