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

    @property
    def soonest(self) -> int:
        """Say how long after an event the machine can first want to be called, at the earliest.

        Whoever is to be called by then anyway need not be asked again after every event.
        """

    def concerns(self, kind: Kind) -> bool:
        """Tell whether events of a kind can matter, so that others are not even shown."""

    def on_event(self, user: User, event: Event, record: Record) -> None:
        """Take in an event that happened to a user."""

    def on_time(self, user: User, now: int) -> None:
        """Do what is due at `now`; nothing if nothing is."""

    def due(self, user: User) -> int | None:
        """Say when `on_time` must be called next."""
