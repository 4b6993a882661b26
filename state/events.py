"""Events: what a record says happened, checked and corrected; or why it cannot be believed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Raw

from state import wire
from state.clock import HOUR, to_micros
from state.commerce import KNOWN, Kind, Known, Properties
from state.records import Record
from state.rejections import Reason, Refusal, Rejected, explained
from state.tidying import tidied

__all__ = [
    "EARLIEST",
    "FUTURE_TOLERANCE",
    "Event",
    "Reason",
    "Rejected",
    "as_mapping",
    "decode",
    "decoded",
    "parse_time",
]

FUTURE_TOLERANCE: Final = HOUR
"""How far a corrected event time may lie past its append time before the event is refused; below that it is clamped."""

EARLIEST: Final = 946_684_800_000_000
"""2000-01-01: no customer event is older; what claims to be is a clock that was never set."""

_AHEAD: Final = 100
"""So many records are decoded in a row, which keeps the decoder in the cache; the events of many more would not stay in it."""

_EMPTY: Final = frozenset({b"", b"null", b"{}", b"[]"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_PROPERTIES: Final = Properties()
_NOT_TRACKED: Final[dict[type[wire.Message], tuple[str, Kind]]] = {
    wire.Identify: ("identify", Kind.OTHER),
    wire.Group: ("group", Kind.OTHER),
    wire.Page: ("page", Kind.BROWSE),
    wire.Screen: ("screen", Kind.BROWSE),
    wire.Alias: ("alias", Kind.OTHER),
}


class _Context(msgspec.Struct, gc=False):
    traits: Raw = wire.NO_JSON


_message: Final = wire.decoder.decode
_Track: Final = wire.Track
_known: Final = KNOWN.get
_OTHER: Final = Kind.OTHER
_properties: Final[Callable[[Raw], Properties | None]] = msgspec.json.Decoder(Properties | None, strict=False).decode
_context: Final = msgspec.json.Decoder(_Context)
_mapping: Final = msgspec.json.Decoder(dict[str, Any] | list[Any] | None)


class Event(msgspec.Struct, frozen=True, gc=False):
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
    previous_id: str = ""
    decoded: dict[str, Any] | Rejected | None = None

    def mapping(self) -> dict[str, Any] | Rejected:
        """Decode the properties or traits as sent, once. Missing ones are empty; undecodable ones (1e999) are rejected."""
        if self.decoded is None:
            msgspec.structs.force_setattr(self, "decoded", as_mapping(self.raw))
        return self.decoded or {}


def decode(value: bytes, log_time: int) -> Event | wire.Control | Rejected:
    """Decode and validate one record's value in one pass.

    A lone surrogate escape (half an emoji, where a sender cut a text) is read as U+FFFD, the replacement character.

    Args:
        value: the bytes of the record, as they stand in the log.
        log_time: its append time in microseconds; event times are corrected against it where the sender gave no
            `receivedAt`, and bounded by it.

    Returns:
        An `Event`, a control record, or `Rejected`. Never raises, whatever the bytes.
    """
    try:
        if len(value) > wire.MAX_EVENT_BYTES:
            return _large(value)
        if not value.isascii():
            value.decode()  # msgspec does not look into what it skips, yet that is kept and shown too
        message = _message(value)
        if type(message) is not _Track:
            return _other(message, log_time) if isinstance(message, wire.Message) else message
        known, raw = _known(message.event), message.raw
        if known is None:
            return _event(message, log_time, "track", message.event, _OTHER, _NO_PROPERTIES, raw)
        return _event(message, log_time, "track", known.name, known.kind, _checked(known, raw), raw)
    except Refusal as refusal:
        return refusal.rejected
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        mended = wire.mended(value) if type(error) is msgspec.DecodeError else value
        return explained(error) if mended == value else decode(mended, log_time)


def decoded(records: list[Record]) -> Iterator[tuple[Record, Event | wire.Control | Rejected]]:
    """Pair each record with what `decode` makes of it, reading a little ahead."""
    return chain.from_iterable(
        zip(some, [decode(record.value, record.log_time) for record in some], strict=True)
        for some in (records[at : at + _AHEAD] for at in range(0, len(records), _AHEAD))
    )


def as_mapping(raw: Raw) -> dict[str, Any] | Rejected:
    """Decode a raw JSON object; nothing, null and PHP's empty array are empty."""
    try:
        mapping = (_mapping.decode(raw) if raw else None) or {}
    except (msgspec.DecodeError, RecursionError) as error:
        return explained(error)
    return mapping if isinstance(mapping, dict) else Rejected(Reason.INVALID, "Expected object, got array")


def _other(message: wire.Message, log_time: int) -> Event:
    name, kind = _NOT_TRACKED[type(message)]
    raw, previous_id = message.raw, ""
    if isinstance(message, wire.Identify):
        raw = _traits(message)
    elif isinstance(message, wire.Alias):
        previous_id = str(message.previous_id or "")
        if not previous_id:
            raise Refusal(Reason.INVALID, "previousId: an alias needs the earlier id")
    return _event(message, log_time, name, name, kind, _NO_PROPERTIES, raw, previous_id)


def _traits(message: wire.Identify) -> Raw:
    """Find the traits: RudderStack's libraries put them into the context alone."""
    if not message.context or bytes(message.raw) not in _EMPTY:
        return message.raw
    try:
        return _context.decode(message.context).traits
    except msgspec.ValidationError:
        return message.raw


def _event(
    message: wire.Message,
    log_time: int,
    type_: str,
    name: str,
    kind: Kind,
    fields: Properties,
    raw: Raw,
    previous_id: str = "",
) -> Event:
    user_id, anonymous_id = message.user_id, message.anonymous_id
    if not user_id and not anonymous_id:
        raise Refusal(Reason.NO_IDENTITY, "neither userId nor anonymousId is given")
    stated, sent, received = message.original_timestamp or message.timestamp, message.sent_at, message.received_at
    if stated is None or (received is None and sent is not None):
        time = _corrected(stated, sent, received, log_time)
    else:
        try:
            since = (stated if sent is None or received is None else received - (sent - stated)) - _EPOCH
            time = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        except (TypeError, OverflowError):  # zones given and omitted side by side; years that no datetime has
            time = _corrected(stated, sent, received, log_time)
    if not EARLIEST <= time <= log_time:
        time = _bounded(time, log_time)
    return Event(
        type_,
        name,
        kind,
        message.message_id,
        message.tenant,
        str(user_id) if user_id else "",
        str(anonymous_id) if anonymous_id else "",
        time,
        fields,
        raw,
        previous_id,
    )


def _corrected(stated: datetime | None, sent: datetime | None, received: datetime | None, log_time: int) -> int:
    """Correct a device's clock by the stamps there are: receivedAt - (sentAt - originalTimestamp), as Segment does."""
    if stated is None:
        return log_time if received is None else to_micros(received)
    if sent is None:
        return to_micros(stated)
    return (log_time if received is None else to_micros(received)) - (to_micros(sent) - to_micros(stated))


def _bounded(time: int, log_time: int) -> int:
    if time < EARLIEST:
        raise Refusal(Reason.BAD_TIME, "the event time lies before the year 2000")
    if time > log_time + FUTURE_TOLERANCE:
        raise Refusal(Reason.BAD_TIME, "the event time lies more than an hour after the record was appended")
    return min(time, log_time)


def _checked(known: Known, raw: Raw) -> Properties:
    """Read a known event's properties; those of older or careless senders at a second look, which costs more."""
    doubt = None
    try:
        fields = _properties(raw) if raw else None
        if fields is not None and not known.old:
            required = known.required
            if required is None or getattr(fields, required) or known.is_met_by(fields):
                return fields
    except msgspec.ValidationError as error:
        doubt = explained(error, "properties")
    mapping = as_mapping(raw)
    if isinstance(mapping, Rejected):
        raise Refusal(*(doubt or mapping))
    try:
        fields = msgspec.convert(tidied(mapping, known), Properties, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(*explained(error, "properties")) from error
    if not known.is_met_by(fields):
        detail = f"{known.name} needs {known.required} in its properties"
        raise Refusal(Reason.INVALID, f"{detail} ({doubt.detail})" if doubt else detail)
    return fields


def _large(value: bytes) -> wire.Control | Rejected:
    size = len(value)
    if size > wire.MAX_CONTROL_BYTES:
        return Rejected(Reason.TOO_LARGE, f"{size} bytes; a record has at most {wire.MAX_CONTROL_BYTES}")
    value.decode()
    message = _message(value)
    if isinstance(message, wire.Message):
        return Rejected(Reason.TOO_LARGE, f"{size} bytes; an event has at most {wire.MAX_EVENT_BYTES}")
    return message


def parse_time(text: str) -> int:
    """Read an ISO 8601 time, as a person would type it, into microseconds UTC. Raises ValueError."""
    return to_micros(datetime.fromisoformat(text))
