"""Whom a request comes from: the write key in its header, query or body; the read key in its header."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qs

from api.answers import Headers, Scope, too_fast, unauthorised
from api.keys import Keys, Reader, Source
from api.rates import Bucket

T = TypeVar("T")
_MOST_KNOWN: Final = 10_000


class Door(NamedTuple, Generic[T]):
    """One key's owner, and how fast they may come."""

    owner: T
    bucket: Bucket

    def pass_through(self, count: int, now: int) -> None:
        """Let `count` through. Raises Refused (429) where that is too fast."""
        wait = self.bucket.take(count, now)
        if wait:
            raise too_fast("this key is over its rate limit", wait)


class Doors:
    """The owners of all keys. Read keys are looked up by digest, so that the time it takes tells nothing of a key."""

    def __init__(self, keys: Keys) -> None:
        self._sources = {
            s.write_key.get_secret_value(): Door(s, Bucket(s.events_per_second, s.burst)) for s in keys.sources
        }
        self._by_authorization: dict[bytes, Door[Source]] = {}
        self._readers = {
            _digest(r.read_key.get_secret_value()): Door(r, Bucket(r.requests_per_second, r.burst))
            for r in keys.readers
        }

    def source(self, candidates: Iterable[str | None]) -> Door[Source]:
        """Find the source that the first key given belongs to. Raises Refused (401)."""
        key = next((candidate for candidate in candidates if candidate), None)
        if key is None:
            raise unauthorised("no write key; give it by Basic authorization, in the body or in the query")
        door = self._sources.get(key)
        if door is None:
            raise unauthorised("unknown write key")
        return door

    def source_of(self, credentials: bytes) -> Door[Source] | None:
        """Find the source whose key stands in an Authorization header; None where none does. Raises Refused (401)."""
        door = self._by_authorization.get(credentials)
        if door is None and (key := basic(credentials.decode("latin-1"))):
            door = self._by_authorization[credentials] = self.source([key])
            if len(self._by_authorization) > _MOST_KNOWN:  # one key can be written in many ways
                self._by_authorization.clear()
        return door

    def reader(self, headers: Headers) -> Door[Reader]:
        """Find the reader whose key is the bearer token, or the name of a Basic authorization. Raises Refused (401)."""
        credentials = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, token = credentials.partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else basic(credentials)
        if not key:
            raise unauthorised("no read key; give it as a bearer token")
        door = self._readers.get(_digest(key))
        if door is None:
            raise unauthorised("unknown read key")
        return door


def basic(credentials: str) -> str | None:
    """Read the name out of a Basic authorization, where SDKs put the write key."""
    scheme, _, token = credentials.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(token.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def query(scope: Scope) -> Mapping[str, list[str]]:
    """Read the query. Raises nothing: what is no text is replaced."""
    return parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace")


def write_key_in_query(scope: Scope) -> str | None:
    """Read the write key that stands in the query, if one does."""
    if not scope["query_string"]:
        return None
    found = query(scope).get("writeKey")
    return found[0] if found else None


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogateescape")).digest()
