"""What comes from outside becomes a record: stamped with what we know of it, checked by the fold's own decoder, or refused."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from connectors.appending import Entry
from state import wire
from state.clock import to_iso
from state.events import Event, Reason, Rejected, decode
from state.rejections import explained

MAX_DEPTH: Final = 100

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[{}\[\]]")

_PLACEHOLDERS: Final = frozenset(
    {"-1", "null", "(null)", "undefined", "none", "nan", "anonymous", "[object object]"},
)
_ZEROS: Final = "0- "
"""What stands for an id where a program had none, and what such an id consists of. Segment's identity resolution blocks the
like; here it is absent."""

_OURS: Final = ("tenant", "receivedAt", "writeKey")
_IDS: Final = ("userId", "anonymousId", "previousId")

_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_mapping: Final = msgspec.json.Decoder(dict[str, Any])
_encode: Final = msgspec.json.Encoder().encode


class Envelope:
    """What holds for all messages of a request.

    Args:
        tenant: whose they are.
        now: when the request came, in microseconds UTC.
        type_: the type that the path says, which counts more than a message's own; None leaves it to the message.
        sent_at: when the sender sent it, as JSON; empty where that is not said.
        context: what is merged into each message's context, as JSON.
        traceparent: the W3C trace context of the request.
    """

    __slots__ = ("context", "now", "sent_at", "stamp", "tenant", "traceparent", "type")

    def __init__(
        self,
        tenant: str,
        now: int,
        type_: str | None = None,
        sent_at: bytes = b"",
        context: bytes = b"",
        traceparent: str | None = None,
    ) -> None:
        self.tenant, self.now, self.type = tenant, now, type_
        self.sent_at, self.context, self.traceparent = sent_at, context, traceparent
        self.stamp = f',"tenant":"{tenant}","receivedAt":"{to_iso(now)}"}}'.encode()


class Admitted(NamedTuple):
    """A message that may go into the log, as a record and as the event that the fold will see."""

    entry: Entry
    event: Event


def admit(message: bytes, envelope: Envelope, new_id: Callable[[], str]) -> Admitted | Rejected:
    """Stamp and check one message.

    `receivedAt` and `tenant` are ours whatever the message says, `writeKey` is left out, placeholder ids are absent.
    `new_id` names a message whose sender did not; such a one cannot be recognised when it is sent again.
    """
    if _is_too_deep(message):
        return Rejected(Reason.TOO_DEEP, f"nested more than {MAX_DEPTH} levels deep")
    try:
        fields = _fields.decode(message)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        mended = wire.mended(message) if type(error) is msgspec.DecodeError else message
        return explained(error) if mended == message else admit(mended, envelope, new_id)
    # Most messages need nothing but our stamp at their end; writing them anew would cost as much as decoding them.
    is_plain = _needs_stamp_alone(fields, envelope)
    value = _spliced(message, fields, envelope) if is_plain else _encode(_stamped(fields, envelope, new_id))
    event = decode(value, envelope.now)
    if type(event) is Event:
        if is_plain and (_is_placeholder(event.user_id) or _is_placeholder(event.anonymous_id) or event.previous_id):
            event = decode(value := _encode(_stamped(fields, envelope, new_id)), envelope.now)
            if type(event) is not Event:
                return _refused(event)
        return Admitted(Entry(event.user_id or event.anonymous_id, value, envelope.traceparent), event)
    return _refused(event)


def _refused(found: object) -> Rejected:
    if isinstance(found, Rejected):
        return found
    return Rejected(Reason.INVALID, "type: such records are written by Waxmark alone")


def _needs_stamp_alone(fields: dict[str, Raw], envelope: Envelope) -> bool:
    if envelope.context or "messageId" not in fields or any(name in fields for name in _OURS):
        return False
    if envelope.type is not None and bytes(fields.get("type", b"")) != b'"%b"' % envelope.type.encode():
        return False
    return bytes(fields["messageId"]) not in {b"null", b'""'}


def _spliced(message: bytes, fields: dict[str, Raw], envelope: Envelope) -> bytes:
    head = message.rstrip()[:-1]
    if envelope.sent_at and "sentAt" not in fields:
        return b'%b,"sentAt":%b%b' % (head, envelope.sent_at, envelope.stamp)
    return head + envelope.stamp


def _stamped(fields: dict[str, Raw], envelope: Envelope, new_id: Callable[[], str]) -> Mapping[str, object]:
    stamped: dict[str, object] = {**fields}
    if envelope.type is not None:
        stamped["type"] = envelope.type
    if bytes(fields.get("messageId", b"null")) in {b"null", b'""'}:
        stamped["messageId"] = new_id()
    for name in _IDS:
        if name in fields and ((text := _text(fields[name])) == "" or (text and _is_placeholder(text))):
            del stamped[name]
    if envelope.sent_at and "sentAt" not in fields:
        stamped["sentAt"] = Raw(envelope.sent_at)
    if envelope.context:
        stamped["context"] = _merged(envelope.context, fields.get("context"))
    for name in _OURS:
        stamped.pop(name, None)
    stamped["tenant"] = envelope.tenant
    stamped["receivedAt"] = to_iso(envelope.now)
    return stamped


def _is_placeholder(id_: str) -> bool:
    """Tell whether a text is a placeholder; nothing at all is none, as there is nothing to take out."""
    return bool(id_) and (not id_.strip(_ZEROS) or (len(id_) < 18 and id_.strip().lower() in _PLACEHOLDERS))  # noqa: PLR2004 - none is longer


def _text(raw: Raw) -> str | None:
    """Read a text or a number, null as nothing; what else it may be is left to the check."""
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return str(value) if isinstance(value, str | int) else "" if value is None else None


def _merged(batch: bytes, own: Raw | None) -> object:
    """Add the batch's context to a message's own, which counts more; objects within are merged too."""
    try:
        return _over(_mapping.decode(batch), _mapping.decode(own) if own else {})
    except (msgspec.DecodeError, RecursionError):
        return own if own is not None else {}


def _over(under: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    both = under | upper
    for name in under.keys() & upper.keys():
        if isinstance(under[name], dict) and isinstance(upper[name], dict):
            both[name] = _over(under[name], upper[name])
    return both


def _is_too_deep(message: bytes) -> bool:
    if message.count(b"{") + message.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", message)):
        depth += 1 if bracket[0] in b"{[" else -1
        if depth > MAX_DEPTH:
            return True
    return False
