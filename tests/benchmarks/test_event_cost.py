"""What an event costs, counted in instructions of the interpreter: not by a clock, which CI's neighbours would set."""

from functools import partial

import pytest

from benchmarks import event_cost
from benchmarks.instructions import instructions
from operators.fold import Fold
from state.records import Batch, Record

EVENTS = 3_000
PLAIN, WITH_CHURN = 1_341, 2_539
"""What they were when this was written, on Python 3.11. A change that needs more says why; one that needs less lowers them."""

SLACK = 1.03


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """A shop's log, campaigns first."""
    return event_cost.log(tmp_path_factory.mktemp("log") / "log.jsonl", events=EVENTS)


def cost(fold: Fold, records: list[Record]) -> float:
    """Count the instructions of an event, as worker takes it: in batches."""
    batches = [Batch(0, records[start : start + 500], 0) for start in range(0, len(records), 500)]
    return instructions(lambda: [fold.apply(batch) for batch in batches]) / len(records)


def test_counting_is_exact() -> None:
    """Twice the work is twice the count, and the same work the same count."""

    def squares(n: int) -> int:
        return sum(i * i for i in range(n))

    once, again, more = (instructions(partial(squares, n)) for n in (1000, 1000, 2000))
    assert once == again
    assert more - once == pytest.approx(once, rel=0.05)


def test_an_event_costs_no_more_than_it_did(records: list[Record]) -> None:
    """Nobody notices two microseconds in a review; ten such changes halve what a core does."""
    assert cost(event_cost.plain(), records) < PLAIN * SLACK


def test_churn_costs_no_more_than_it_did(records: list[Record]) -> None:
    """Features and scores come on top of every event."""
    assert cost(event_cost.scoring(), records) < WITH_CHURN * SLACK
