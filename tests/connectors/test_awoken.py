"""What a sink's partition gets to hear of each batch, and in which order."""

from collections.abc import Iterable
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.awoken import Answered, Awoken

Heard = list[Any]


class Plain(StatefulSinkPartition[str, None]):
    """Notes what it is told."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def write_batch(self, values: list[str]) -> None:
        """Note what is to be written."""
        self.heard.append(values)

    def snapshot(self) -> None:
        """Do nothing."""


class Late(Plain, Answered[str]):
    """Hears answers later."""

    def listen(self) -> None:
        """Note that answers may be there."""
        self.heard.append("listen")


class Sink(FixedPartitionedSink[str, None]):
    """Has one partition."""

    def __init__(self, part: Plain) -> None:
        self.part = part

    def list_parts(self) -> list[str]:
        """Name it."""
        return ["0"]

    def part_fn(self, item_key: str) -> int:
        """Send everything to it."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Plain:  # noqa: ARG002 - the engine's
        """Give it out."""
        return self.part


def told(part: Plain, *batches: Iterable[str]) -> Heard:
    """Give batches to a partition behind another writer, and say what was heard."""
    part.heard.clear()
    awoken = Awoken(Sink(part), first=lambda: part.heard.append("first")).build_part("sink", "0", None)
    for batch in batches:
        awoken.write_batch([tuple(batch)])
    return part.heard


def test_what_must_be_there_earlier_is_waited_for_before_each_write_and_only_then() -> None:
    """A provider once told to send an email looks the profile up: it must be the one that the trigger was decided by."""
    assert told(Plain([]), "ab", "", "c") == ["first", ["a", "b"], "first", ["c"]]


def test_who_left_answers_for_later_is_told_of_batches_that_led_to_nothing() -> None:
    """On a quiet log nothing else would count what was written, until the snapshot ten seconds later."""
    assert told(Late([]), "a", "") == ["first", ["a"], "listen"]
