"""Backtest: a log through the fold of production, for the examples that it gives any number of models to learn from."""

from collections.abc import Mapping

from dataflows.replay import Records, replay
from models import features
from models.estimator import Build
from models.scoring import compiled
from models.validation import Validated, validate
from operators.churn import Churning, ChurnMachine
from operators.fold import Limits
from state.churn import Example
from state.wire import Model


def examples(
    records: Records, partitions: int, churning: Churning, *, feed_back: bool = False, read_to: int = 0
) -> list[Example]:
    """Take a log's labelled examples, in the order in which they were asked.

    What is still open at the log's end (`read_to`, or the last record) has no label and is not among them.
    """

    def churn_over(models: dict[str, Model]) -> ChurnMachine:
        return ChurnMachine(features, compiled, models, churning)

    found: list[Example] = []
    outputs = replay(records, partitions, Limits(), feed_back=feed_back, read_to=read_to, churn_over=churn_over)
    for output in outputs:
        found += output.examples
    found.sort(key=lambda example: (example.asked_at, example.example_id))
    return found


def backtest(found: list[Example], builds: Mapping[str, Build]) -> Mapping[str, Validated]:
    """Let models compete on the examples of each tenant."""
    by_tenant: dict[str, list[Example]] = {}
    for example in found:
        by_tenant.setdefault(example.tenant, []).append(example)
    return {tenant: validate(theirs, builds) for tenant, theirs in by_tenant.items()}
