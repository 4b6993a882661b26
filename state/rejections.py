"""Why a record cannot be believed, for a metric and for a person."""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

MAX_DETAIL: Final = 200
"""Characters; a detail may quote what was sent."""


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


class Refusal(Exception):
    """Carries a `Rejected` from where it is found to where a record's decoding ends."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.rejected = Rejected(reason, detail)


def explained(error: Exception, where: str = "") -> Rejected:
    """Say what an error of msgspec or of UTF-8 decoding means; `where` names the part of the record that was read."""
    if isinstance(error, UnicodeDecodeError):
        return Rejected(Reason.NOT_UTF8, f"not UTF-8: {error.reason} at byte {error.start}")
    if isinstance(error, RecursionError):
        return Rejected(Reason.TOO_DEEP, "nested too deeply")
    what, _, path = str(error).replace("`", "").partition(" - at $")
    if not isinstance(error, msgspec.ValidationError):
        return Rejected(Reason.NOT_JSON, what)
    place = (where + path).removeprefix(".")
    if "RFC3339" in what:
        what = "Expected a time as in RFC 3339, like 2026-01-31T23:59:59.123Z"
    return Rejected(Reason.INVALID, (f"{place}: {what}" if place else what)[:MAX_DETAIL])
