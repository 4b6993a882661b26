"""Engagement: how much a person does and how lately, as exponentially decayed counts, O(1) an event."""

from typing import Final

import msgspec

from state.clock import DAY
from state.commerce import Kind
from state.events import Event
from state.people import Activity, User
from state.records import Record

HALF_LIVES: Final = (7 * DAY, 30 * DAY, 90 * DAY)

WEIGHTS: Final[dict[int, float]] = {
    Kind.OTHER: 0.5,
    Kind.BROWSE: 1.0,
    Kind.CART: 3.0,
    Kind.CHECKOUT: 4.0,
    Kind.ORDER: 10.0,
    Kind.EMAIL_OPEN: 1.0,
    Kind.EMAIL_CLICK: 2.0,
}
"""What one event is worth in the score; kinds that are not here say nothing of engagement."""


class EngagementMachine(msgspec.Struct, frozen=True):
    """Decayed counts by kind of event and half-life, and lifetime totals. A late event counts as what is left of it."""

    def concerns(self, kind: Kind) -> bool:
        """Count what tells of interest."""
        return kind in WEIGHTS or kind is Kind.REFUND

    def on_event(self, user: User, event: Event, record: Record) -> None:  # noqa: ARG002 - the machine protocol
        """Count an event."""
        engagement, kind, time = user.engagement, int(event.kind), event.time
        if event.kind.is_activity:
            engagement.first_at = min(engagement.first_at, time)
            engagement.last_at = max(engagement.last_at, time)
            engagement.events += 1
        if event.kind is Kind.ORDER:
            engagement.orders += 1
            engagement.revenue += event.fields.amount
        activity = engagement.by_kind.get(kind)
        if activity is None:
            engagement.by_kind[kind] = Activity(time, [1.0] * len(HALF_LIVES))
            return
        age = time - activity.at
        if age >= 0:
            activity.at = time
            activity.decayed = [n * 0.5 ** (age / h) + 1 for n, h in zip(activity.decayed, HALF_LIVES, strict=True)]
        else:
            activity.decayed = [n + 0.5 ** (-age / h) for n, h in zip(activity.decayed, HALF_LIVES, strict=True)]

    def on_time(self, user: User, now: int) -> None:
        """Do nothing: decay is worked out when the score is read."""

    def due(self, user: User) -> int | None:  # noqa: ARG002 - the machine protocol
        """Say that nothing is ever due."""
        return None


def scores(user: User, now: int) -> list[float]:
    """Add up the weighted counts as of `now`, for each half-life in `HALF_LIVES`."""
    totals = [0.0] * len(HALF_LIVES)
    for kind, activity in user.engagement.by_kind.items():
        weight = WEIGHTS.get(kind, 0.0)
        age = max(0, now - activity.at)
        for i, half_life in enumerate(HALF_LIVES):
            totals[i] += weight * activity.decayed[i] * 0.5 ** (age / half_life)
    return totals
