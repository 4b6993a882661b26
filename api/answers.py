"""Answers: one shape for success, one for errors, as SDKs expect them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
Headers = Mapping[bytes, bytes]
"""A request's headers, by their names in lower case; of one that is given twice, the last."""

SUCCESS: Final = b'{"success":true}'
FAILED: Final = b'{"success":false,"code":"internal_error","message":"this is our fault; send it again"}'
JSON: Final = (b"content-type", b"application/json")

_encode: Final = msgspec.json.Encoder().encode


class Refused(Exception):
    """A request that is answered by an error. `message` names no person and quotes no key."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        allow: bytes = b"",
        more: Mapping[str, object] = {},
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = _encode({"success": False, "code": code, "message": message, **more})
        self.headers: list[Header] = [(b"allow", allow)] if allow else []
        if retry_after is not None:
            # Whole seconds, rounded up: the header has no fractions, and 0 would bring everyone back at once.
            self.headers.append((b"retry-after", b"%d" % max(1, -int(-retry_after // 1))))


def bad_request(message: str, **more: object) -> Refused:
    """Refuse what cannot be understood."""
    return Refused(400, "invalid_request", message, more=more)


def unauthorised(message: str) -> Refused:
    """Refuse whom we do not know."""
    return Refused(401, "unauthorized", message)


def too_large(message: str) -> Refused:
    """Refuse what is over a limit, and will be however often it is sent."""
    return Refused(413, "payload_too_large", message)


def too_fast(message: str, retry_after: float) -> Refused:
    """Put a sender off who is over the limit of their key."""
    return Refused(429, "rate_limited", message, retry_after=retry_after)


def unavailable(message: str, retry_after: float) -> Refused:
    """Put a sender off while we cannot keep what they send."""
    return Refused(503, "unavailable", message, retry_after=retry_after)


async def answer(send: Send, status: int, body: bytes, headers: Iterable[Header] = (JSON,)) -> None:
    """Send a whole answer."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
