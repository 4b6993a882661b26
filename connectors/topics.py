"""The topics of a log, and what both transports say of writing to them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from state.churn import Example
from state.outputs import DeadLetter
from state.wire import encoder

EVENTS: Final = "events"
TRIGGERS: Final = "triggers"
DECISIONS: Final = "decisions"
EXAMPLES: Final = "examples"
DEAD_LETTERS: Final = "dead-letters"
DELIVERIES: Final = "deliveries"
TOPICS: Final = (EVENTS, TRIGGERS, DECISIONS, EXAMPLES, DEAD_LETTERS, DELIVERIES)


class Fenced(Exception):
    """Another writer has taken over a partition that is written by one: this one is a zombie and must end."""


class Buried(NamedTuple):
    """A dead letter or an example on its way to its topic."""

    id: str
    value: bytes


Wrote = Callable[[int, list[Any]], None]
"""Whoever wants to hear what a partition of a topic was just given, repeats left out."""


def nobody(partition: int, items: list[Any]) -> None:
    """Let nobody hear."""


def addressed(example: Example) -> Buried:
    """Address a labelled example for its topic."""
    return Buried(example.example_id, encoder.encode(example))


def buried(letter: DeadLetter) -> Buried:
    """Address a dead letter for its topic."""
    return Buried(letter.id, encoder.encode(letter))
