"""Request bodies within bounds: of size, inflated too, and of the time that they may take."""

import asyncio
import zlib
from typing import Final

from api.answers import Headers, Receive, Refused, bad_request, too_large

MAX_BODY: Final = 500 * 1024
"""Segment's limit of a batch, inflated."""

SECONDS: Final = 15.0
"""How long a sender may take over a body; phones on a bad line do, and so do those who mean harm."""

_TYPES: Final = frozenset({b"application/json", b"text/plain", b"application/x-www-form-urlencoded", b""})
"""What JSON is sent as; RudderStack's library for Node calls what it zipped a form."""


async def body(headers: Headers, receive: Receive, limit: int = MAX_BODY) -> bytes:
    """Read a request's body, unzipped. Raises Refused: 408, 413, 415, or 400 for what is no gzip."""
    kind, coding = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"").strip().lower()
    if kind not in _TYPES and kind.partition(b";")[0].strip().lower() not in _TYPES:
        raise Refused(415, "unsupported_media_type", "send application/json or text/plain")
    if coding not in {b"", b"identity", b"gzip"}:
        raise Refused(415, "unsupported_media_type", "send gzip, or no content-encoding")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise _over(limit)
    message = await receive()
    data: bytes = message.get("body", b"")
    if message.get("more_body"):
        data = await _rest(receive, data, limit)
    return inflated(data, limit) if coding == b"gzip" else data


async def _rest(receive: Receive, start: bytes, limit: int) -> bytes:
    parts, size = [start], len(start)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise bad_request("the body ended early")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise _over(limit)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refused(408, "request_timeout", f"the body took more than {SECONDS:.0f} seconds") from None


def inflated(data: bytes, limit: int) -> bytes:
    """Unzip, but never more than the limit: a few kilobytes can hold gigabytes."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, limit + 1)
    except zlib.error:
        raise bad_request("the body is not gzip, though content-encoding says so") from None
    if len(plain) > limit:
        raise _over(limit)
    if not inflater.eof:
        raise bad_request("the gzip body ends early")
    return plain


def _over(limit: int) -> Refused:
    return too_large(f"the body has more than {limit} bytes")
