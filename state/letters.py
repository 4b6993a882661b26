"""A trigger on its way out: the letter that is handed to a provider, and what the provider says of it."""

from enum import StrEnum
from typing import Any, NamedTuple

from state.outputs import Trigger


class Email(NamedTuple):
    """A rendered email."""

    subject: str
    html: str
    text: str


class Letter(NamedTuple):
    """One trigger, checked a last time and ready to go.

    Args:
        trigger: as it stands in the topic; `trigger_id` is the idempotency key wherever a provider takes one.
        to: the person's address now.
        data: what a template may use; a provider that renders by itself gets it as attributes.
        email: what was rendered here; None where the provider renders.
        unsubscribe_url: takes a one-click POST (RFC 8058), if there is one.
    """

    trigger: Trigger
    to: str
    data: dict[str, Any]
    email: Email | None = None
    unsubscribe_url: str | None = None


class Verdict(StrEnum):
    """What came of handing over a letter."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """The provider knew the key: an earlier call, whose answer was lost, had been accepted."""
    REJECTED = "rejected"
    """For good; trying again would change nothing."""
    RETRY = "retry"
    """Surely not accepted; another call may be."""
    AMBIGUOUS = "ambiguous"
    """Perhaps accepted: the answer was lost after the letter had been handed over."""


class Answer(NamedTuple):
    """A provider's answer. `reason` is for people and carries no personal data; `retry_after` is in seconds."""

    verdict: Verdict
    reason: str = ""
    provider_id: str = ""
    retry_after: float | None = None


class Unfit(Exception):
    """No letter can be made of a trigger, now or later. The message says what its template lacks, without personal data."""
