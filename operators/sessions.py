"""Sessions: visits told apart by a gap in event time, whatever the order in which their events arrive."""

from typing import Final

import msgspec

from state.clock import MINUTE
from state.commerce import Kind
from state.events import Event
from state.people import Session, User
from state.records import Record

MAX_OPEN: Final = 8

_ORDER: Final = Kind.ORDER


class SessionMachine(msgspec.Struct, frozen=True):
    """Gap sessions. A session closes `gap + lateness` after its last event arrived.

    An event later than that begins a session of its own, which closes in turn; one that bridges two open sessions joins
    them.
    """

    gap: int = 30 * MINUTE
    lateness: int = MINUTE

    @property
    def soonest(self) -> int:
        """A session that an event belongs to stays open this long."""
        return self.gap + self.lateness

    def concerns(self, kind: Kind) -> bool:
        """Sessions are made of what the person does."""
        return kind <= Kind.ORDER

    def on_event(self, user: User, event: Event, record: Record) -> None:
        """Extend, join or open a session."""
        time, now, opened = event.time, record.log_time, user.sessions.open
        if len(opened) == 1:  # the usual case, at a third of the cost
            only = opened[0]
            if 0 <= time - only.ended_at <= self.gap:
                only.ended_at, only.arrived = time, now
                only.events += 1
                if event.kind is _ORDER:
                    only.amount += event.fields.amount
                return
        amount = event.fields.amount if event.kind is _ORDER else 0.0
        near = [s for s in opened if s.started_at - self.gap <= time <= s.ended_at + self.gap]
        if not near:
            opened.append(Session(time, time, now, 1, amount))
            if len(opened) > MAX_OPEN:
                self._close(user, min(opened, key=lambda s: s.arrived))
            return
        first = near[0]
        first.started_at = min(first.started_at, time)
        first.ended_at = max(first.ended_at, time)
        first.arrived = now
        first.events += 1
        first.amount += amount
        for other in near[1:]:
            first.started_at = min(first.started_at, other.started_at)
            first.ended_at = max(first.ended_at, other.ended_at)
            first.events += other.events
            first.amount += other.amount
            opened.remove(other)

    def on_time(self, user: User, now: int) -> None:
        """Close the sessions whose gap has passed."""
        arrived = now - self.gap - self.lateness
        for session in [s for s in user.sessions.open if s.arrived <= arrived]:
            self._close(user, session)

    def due(self, user: User) -> int | None:
        """Say when the next session closes."""
        opened = user.sessions.open
        return min([session.arrived for session in opened]) + self.gap + self.lateness if opened else None

    def _close(self, user: User, session: Session) -> None:
        sessions = user.sessions
        sessions.open.remove(session)
        sessions.closed += 1
        if sessions.last is None or session.ended_at >= sessions.last.ended_at:
            sessions.last = session
