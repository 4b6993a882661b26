"""Models compared on the examples of one tenant that count: those asked from a moment on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.metrics import Paired, Progressive, group_of, loss_of
from models.validation import Validated

Row = Sequence[str]


class Comparison(NamedTuple):
    """The figures of every model on the examples judged; `against` holds differences to the first model."""

    validated: Validated
    judged_from: int
    judged: int
    base_rate: float
    all: Mapping[str, Progressive]
    eligible: Mapping[str, Progressive]
    against: Mapping[str, Paired]


def compare(validated: Validated, last: float) -> Comparison:
    """Judge what was asked in the last share of the span of examples."""
    found = validated.examples
    start, end = found[0].asked_at, found[-1].asked_at
    judged_from = round(end - last * (end - start))
    every = {name: Progressive() for name in validated.scores}
    eligible = {name: Progressive() for name in validated.scores}
    first, *others = validated.scores
    against = {name: Paired() for name in others}
    judged = stayed = 0
    for place, example in enumerate(found):
        if example.asked_at < judged_from:
            continue
        judged += 1
        stayed += example.label
        group = group_of(example.tenant, example.user_id)
        theirs = loss_of(validated.scores[first][place], example.label)
        for name, scores in validated.scores.items():
            score = scores[place]
            loss = loss_of(score, example.label)
            every[name].update(score, example.label, loss)
            if example.eligible:
                eligible[name].update(score, example.label, loss)
            if name != first:
                against[name].update(loss - theirs, group)
    return Comparison(validated, judged_from, judged, stayed / max(judged, 1), every, eligible, against)


def table(comparison: Comparison) -> list[Row]:
    """Write the figures as rows of text, the head first."""
    rows: list[Row] = [
        ("model", "examples", "AUC", "log loss", "Brier", "calibration error", "AUC eligible", "refused")
    ]
    for name, judged in comparison.all.items():
        figures = comparison.validated.learners[name].figures
        rows.append(
            (
                name,
                str(judged.n),
                f"{judged.auc:.4f}",
                f"{judged.log_loss:.4f}",
                f"{judged.brier:.4f}",
                f"{judged.calibration_error:.4f}",
                f"{comparison.eligible[name].auc:.4f}",
                str(figures.refused + figures.unlearned),
            )
        )
    return rows


def differences(comparison: Comparison) -> list[Row]:
    """Write the differences in log loss to the first model; below 0 is better."""
    first = next(iter(comparison.all))
    rows: list[Row] = [(f"less {first}", "mean", "from", "to")]
    for name, paired in comparison.against.items():
        low, high = paired.interval
        rows.append((name, f"{paired.mean:+.5f}", f"{low:+.5f}", f"{high:+.5f}"))
    return rows
