"""Contact: who the person says they are, and whether they may be written to."""

from typing import Any, Final

import msgspec

from state.clock import NEVER
from state.commerce import Kind
from state.events import Event, Rejected
from state.people import User, storable
from state.records import Record

MAX_TRAITS: Final = 50
MAX_TRAIT_CHARS: Final = 500

_REFUSALS: Final = {Kind.UNSUBSCRIBE: "unsubscribed", Kind.BOUNCE: "bounced", Kind.COMPLAINT: "complained"}


class ContactMachine(msgspec.Struct, frozen=True):
    """Traits by the latest identify in event time; consent by the latest refusal.

    The trait `subscribed: true`, told after the refusal, takes an unsubscription back. Nothing takes back a complaint.
    """

    soonest: int = NEVER

    def concerns(self, kind: Kind) -> bool:
        """Identify is of no kind of its own; the rest are refusals."""
        return kind is Kind.OTHER or kind in _REFUSALS

    def on_event(self, user: User, event: Event, record: Record) -> None:  # noqa: ARG002 - the machine protocol
        """Take in traits or a refusal."""
        refusal = _REFUSALS.get(event.kind)
        if refusal is not None:
            if event.time >= user.consent.since and user.consent.refusal != "complained":
                user.consent.refusal, user.consent.since = refusal, event.time
        elif event.type == "identify":
            traits = event.mapping()
            if not isinstance(traits, Rejected):
                _tell(user, traits, event.time)

    def on_time(self, user: User, now: int) -> None:
        """Do nothing."""

    def due(self, user: User) -> int | None:  # noqa: ARG002 - the machine protocol
        """Say that nothing is ever due."""
        return None


def _tell(user: User, traits: dict[str, Any], time: int) -> None:
    contact = user.contact
    told = {name: value for name, value in traits.items() if _is_plain(value)}
    contact.traits = contact.traits | told if time >= contact.told_at else told | contact.traits
    for name in [name for name, value in contact.traits.items() if value is None] + list(contact.traits)[MAX_TRAITS:]:
        contact.traits.pop(name, None)
    contact.told_at = max(contact.told_at, time)
    email = contact.traits.get("email")
    contact.email = email if isinstance(email, str) else ""
    if traits.get("subscribed") is True and user.consent.refusal == "unsubscribed" and time > user.consent.since:
        user.consent.refusal, user.consent.since = "", time


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TRAIT_CHARS
    return (value is None or isinstance(value, bool | int | float)) and storable(value)
