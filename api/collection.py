"""Collection: what SDKs post, by the protocols of Segment and RudderStack."""

import json
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from api.answers import FAILED, SUCCESS, Headers, Receive, Refused, Scope, Send, answer, bad_request, too_large
from api.bodies import body
from api.cors import allowing, preflight
from api.doors import Doors, write_key_in_query
from api.intake import Intake, named
from api.messages import Envelope
from connectors.recorder import Metrics
from state import wire

MAX_MESSAGES: Final = 2_500

_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")

PATHS: Final[dict[str, str]] = {
    **{f"/v1/{type_}": type_ for type_ in _TYPES},
    **{f"/v1/{type_[0]}": type_ for type_ in _TYPES},
    **dict.fromkeys(("/v1/batch", "/v1/b", "/beacon/v1/batch"), "batch"),
    "/v1/m": "metrics",
}
"""What is posted where. `/v1/m` is how Segment's browser library reports on itself: taken and ignored."""


class _Batch(msgspec.Struct, rename="camel"):
    batch: list[Raw]
    write_key: str | None = None
    sent_at: Raw = wire.NO_JSON
    context: Raw = wire.NO_JSON


class _Single(msgspec.Struct, rename="camel"):
    write_key: str | None = None


class _Posted(NamedTuple):
    messages: list[bytes]
    write_key: str | None
    sent_at: bytes
    context: bytes


_log: Final = logging.getLogger("waxmark.collect")
_batch: Final = msgspec.json.Decoder(_Batch)
_single: Final = msgspec.json.Decoder(_Single)


class Collection:
    """The ASGI application behind `PATHS`. `clock` gives the time in microseconds UTC."""

    def __init__(self, intake: Intake, doors: Doors, clock: Callable[[], int], metrics: Metrics) -> None:
        self._intake, self._doors, self._clock, self._metrics = intake, doors, clock, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: Headers = dict(scope["headers"])
        cors = allowing(headers)
        if scope["method"] == "OPTIONS":
            await answer(send, 204, b"", preflight(headers))
            return
        status = 200
        try:
            await self._collect(scope, headers, receive)
        except Refused as refused:
            status = refused.status
            await answer(send, status, refused.body, (*cors, *refused.headers))
        except Exception:  # noqa: BLE001 - whatever it is, the SDK is to be told to keep what it has
            status = 500
            _log.exception("a request failed")
            await answer(send, status, FAILED, cors)
        else:
            await answer(send, status, SUCCESS, cors)
        self._metrics.answered(status)

    async def _collect(self, scope: Scope, headers: Headers, receive: Receive) -> None:
        if scope["method"] != "POST":
            raise Refused(405, "method_not_allowed", "use POST", allow=b"POST, OPTIONS")
        kind = PATHS[scope["path"]]
        if kind == "metrics":
            await body(headers, receive)
            return
        now = self._clock()
        door = self._doors.source_of(headers.get(b"authorization", b""))
        if door is None and (key := write_key_in_query(scope)):
            door = self._doors.source([key])
        data = await body(headers, receive)
        posted = _posted(data, kind) if door is None or kind == "batch" else _Posted([data], None, b"", b"")
        if door is None:
            door = self._doors.source([posted.write_key])
        if len(posted.messages) > MAX_MESSAGES:
            raise too_large(f"a batch has at most {MAX_MESSAGES} messages, not {len(posted.messages)}")
        door.pass_through(len(posted.messages), now)
        parent = headers.get(b"traceparent")
        traceparent = None if parent is None else parent.decode("latin-1")
        type_ = None if kind == "batch" else kind
        envelope = Envelope(door.owner.tenant, now, type_, posted.sent_at, posted.context, traceparent)
        taken = await self._intake.take(posted.messages, envelope)
        if taken.refused:
            raise named(taken, single=type_ is not None)


def _posted(data: bytes, kind: str) -> _Posted:
    """Take a body apart. Raises Refused where it is not what the path is for."""
    try:
        if kind != "batch":
            return _Posted([data], _single.decode(data).write_key, b"", b"")
        found = _batch.decode(data)
        return _Posted([*map(bytes, found.batch)], found.write_key, bytes(found.sent_at), bytes(found.context))
    except msgspec.ValidationError as error:
        raise bad_request(str(error).replace("`", "")) from None
    except msgspec.DecodeError as error:
        if kind == "batch":
            mended = _leniently(data)
            if mended is not None:
                return mended
        elif (mended_single := wire.mended(data)) != data:
            return _posted(mended_single, kind)
        raise bad_request(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise bad_request("the body is nested too deeply") from None


def _leniently(data: bytes) -> _Posted | None:
    """Take a batch apart that is JSON but for some of its messages, as NaN of Python's libraries makes it.

    Only those are then refused; their neighbours did nothing wrong.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("batch"), list):
        return None
    key = found.get("writeKey")
    sent_at, context = (json.dumps(found[name]).encode() if name in found else b"" for name in ("sentAt", "context"))
    messages = [json.dumps(message).encode() for message in found["batch"]]
    return _Posted(messages, key if isinstance(key, str) else None, sent_at, context)
