"""Delayed progressive validation: a model is asked when production would ask it, and told when production would know.

River's `simulate_qa` reveals the labels that are left at the end of the log, and knows them all along. Here an answer is
known when its example was labelled, and what the log's end left open is not among the examples.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from models.estimator import Build
from models.learner import Learner, Publishing
from state.churn import Example


class Validated(NamedTuple):
    """Examples in the order in which they were asked, what each model said then, and the learners at the end."""

    examples: Sequence[Example]
    scores: Mapping[str, "array[float]"]
    learners: Mapping[str, Learner]


def validate(examples: Sequence[Example], builds: Mapping[str, Build]) -> Validated:
    """Ask and teach every model along one log. `examples` are in order of `asked_at`."""
    learners = {
        name: Learner(examples[0].tenant if examples else "", name, build, Publishing(10**9, 10**18))
        for name, build in builds.items()
    }
    scores = {name: array("d") for name in builds}
    known = sorted(range(len(examples)), key=lambda place: (examples[place].labelled_at, place))
    taught = 0
    for example in examples:
        while examples[known[taught]].labelled_at < example.asked_at:
            _teach(learners, examples[known[taught]], known[taught], scores)
            taught += 1
        for name, learner in learners.items():
            scores[name].append(learner.predict(example.features))
    for place in known[taught:]:
        _teach(learners, examples[place], place, scores)
    return Validated(examples, scores, learners)


def _teach(learners: Mapping[str, Learner], example: Example, place: int, scores: Mapping[str, "array[float]"]) -> None:
    said = {name: ("backtest", scores[name][place]) for name in learners}
    answered = msgspec.structs.replace(example, scores=said)
    for learner in learners.values():
        learner.learn(answered)
