"""Engagement: how much a person does and how lately, as exponentially decayed weights, O(1) an event."""

from math import exp2
from typing import Final

import msgspec

from state.clock import DAY, NEVER
from state.commerce import Kind
from state.events import Event
from state.people import User
from state.records import Record

_WEEKS: Final = 1 / (7 * DAY)
_QUARTERS: Final = 1 / (
    90 * DAY
)  # the longest half-life, three times the middle one: its decay cubed is the middle one's

_WEIGHTS: Final = {
    Kind.OTHER: 0.5,
    Kind.BROWSE: 1.0,
    Kind.CART: 3.0,
    Kind.CHECKOUT: 4.0,
    Kind.ORDER: 10.0,
    Kind.REFUND: 0.0,
    Kind.EMAIL_OPEN: 1.0,
    Kind.EMAIL_CLICK: 2.0,
}
"""What one event is worth in the score; kinds that are not here say nothing of engagement."""

_WORTH: Final = tuple((_WEIGHTS.get(kind, 0.0), kind.is_activity) for kind in Kind)
"""By kind, since comparing or hashing an enum's member costs more than the decay: the weight, and whether the person did it."""

_ORDER: Final = Kind.ORDER


class EngagementMachine(msgspec.Struct, frozen=True):
    """Weights decayed with half-lives of 7, 30 and 90 days as of the last event, and lifetime totals.

    A late event counts as what is left of it.
    """

    soonest: int = NEVER

    def concerns(self, kind: Kind) -> bool:
        """Count what tells of interest."""
        return kind in _WEIGHTS

    def on_event(self, user: User, event: Event, record: Record) -> None:  # noqa: ARG002 - the machine protocol
        """Count an event."""
        engagement, kind, time = user.engagement, event.kind, event.time
        weight, is_activity = _WORTH[kind]
        if is_activity:
            engagement.events += 1
            if time > engagement.last_at:
                engagement.last_at = time
            if time < engagement.first_at:
                engagement.first_at = time
            if kind is _ORDER:
                engagement.orders += 1
                engagement.revenue += event.fields.amount
        age = time - engagement.at
        if age >= 0:
            quarter = exp2(-age * _QUARTERS)
            engagement.at = time
            engagement.week = engagement.week * exp2(-age * _WEEKS) + weight
            engagement.month = engagement.month * (quarter * quarter * quarter) + weight
            engagement.quarter = engagement.quarter * quarter + weight
        else:
            quarter = exp2(age * _QUARTERS)
            engagement.week += weight * exp2(age * _WEEKS)
            engagement.month += weight * (quarter * quarter * quarter)
            engagement.quarter += weight * quarter

    def on_time(self, user: User, now: int) -> None:
        """Do nothing: between events everybody's weights decay alike, which whoever reads them can work out."""

    def due(self, user: User) -> int | None:  # noqa: ARG002 - the machine protocol
        """Say that nothing is ever due."""
        return None
