"""CORS: any page may send events; the write key says whose they are, and no cookie counts."""

from typing import Final

from api.answers import JSON, Header, Headers

_ALLOWED: Final = frozenset({b"authorization", b"content-type", b"x-retry-count", b"anonymousid", b"sentat"})
_PLAIN: Final = (JSON,)


def allowing(headers: Headers) -> tuple[Header, ...]:
    """Give the headers of an answer, which let the page that asked read it.

    The origin is named rather than `*`, since beacons are sent with credentials, and then `*` counts for nothing.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return _PLAIN
    return (
        JSON,
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
    )


def preflight(headers: Headers, methods: bytes = b"POST, OPTIONS") -> list[Header]:
    """Answer what a browser asks before it sends: which of the headers that it wants to send are allowed."""
    wanted = headers.get(b"access-control-request-headers", b"")
    names = [name.strip().lower() for name in wanted.split(b",")]
    granted = [name for name in names if name in _ALLOWED or name.startswith(b"rsa-")]
    return [
        *allowing(headers)[1:],
        (b"allow", methods),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", b", ".join(granted)),
        (b"access-control-max-age", b"7200"),
    ]
