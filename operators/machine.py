"""What a machine is: the logic of one part of a person's state, fed by events and by time."""

from typing import Protocol

from state.commerce import Kind
from state.events import Event
from state.people import User
from state.records import Record


class Machine(Protocol):
    """One concern of a user. It changes only its own part of the state, and knows no other machine.

    `now` and `record.log_time` are log time; `event.time` is event time. Nothing else tells the time.
    """

    def concerns(self, kind: Kind) -> bool:
        """Tell whether events of a kind can matter, so that others are not even shown."""

    def on_event(self, user: User, event: Event, record: Record) -> None:
        """Take in an event that happened to a user."""

    def on_time(self, user: User, now: int) -> None:
        """Do what is due at `now`; nothing if nothing is."""

    def due(self, user: User) -> int | None:
        """Say when `on_time` must be called next."""
