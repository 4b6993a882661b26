"""A backtest as one page: tables, and plots drawn into it, so that it can be sent as a file and read without anything else."""

import html
import io
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models import features
from models.comparison import Comparison, Row, differences, table
from models.metrics import Progressive, loss_of
from models.validation import Validated
from state.clock import DAY, to_iso

PERIODS: Final = 24
_SAMPLE: Final = 1000
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .9rem;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
)


class Plot(NamedTuple):
    """One plot of the page and what it says."""

    title: str
    meaning: str
    draw: Callable[[Axes, Comparison], None]


def page(title: str, comparisons: Sequence[Comparison]) -> str:
    """Write the page: a section for each tenant."""
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        *(_section(comparison) for comparison in comparisons),
    ]
    return "\n".join(parts)


def _section(comparison: Comparison) -> str:
    found = comparison.validated.examples
    first, last = to_iso(found[0].asked_at)[:10], to_iso(found[-1].asked_at)[:10]
    return "\n".join(
        [
            f"<h2>{html.escape(found[0].tenant)}</h2>",
            f"<p>{len(found)} labelled examples, asked {first} to {last}. {_judged(comparison)}</p>",
            _html(table(comparison)),
            "<h3>Difference in log loss, with its 95 % interval over users</h3>",
            _html(differences(comparison)),
            *(_plot(plot, comparison) for plot in PLOTS),
        ]
    )


def _judged(comparison: Comparison) -> str:
    day = to_iso(comparison.judged_from)[:10]
    return f"Judged are the {comparison.judged} asked from {day} on; {comparison.base_rate:.1%} of them stayed away."


def _html(rows: Sequence[Row]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    return f"<table><tr>{cells}</tr>{lines}</table>"


def _plot(plot: Plot, comparison: Comparison) -> str:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    plot.draw(figure.subplots(), comparison)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    return f"<h3>{plot.title}</h3><p>{plot.meaning}</p>{svg[svg.index('<svg') :]}"


def _periods(validated: Validated) -> list[list[int]]:
    found = validated.examples
    start = found[0].asked_at
    length = (found[-1].asked_at - start) // PERIODS + 1
    periods: list[list[int]] = [[] for _ in range(PERIODS)]
    for place, example in enumerate(found):
        periods[(example.asked_at - start) // length].append(place)
    return [period for period in periods if period]


def _over_time(axes: Axes, comparison: Comparison, of: Callable[[Progressive], float], label: str) -> None:
    found = comparison.validated.examples
    for name, scores in comparison.validated.scores.items():
        days, values = [], []
        for period in _periods(comparison.validated):
            counted = Progressive()
            for place in period:
                answer = found[place].label
                counted.update(scores[place], answer, loss_of(scores[place], answer))
            days.append((found[period[0]].asked_at - found[0].asked_at) / DAY)
            values.append(of(counted))
        axes.plot(days, values, marker=".", label=name)
    axes.set_xlabel("days since the first example")
    axes.set_ylabel(label)
    axes.legend()


def _auc(axes: Axes, comparison: Comparison) -> None:
    _over_time(axes, comparison, lambda counted: counted.auc, "AUC")


def _log_loss(axes: Axes, comparison: Comparison) -> None:
    _over_time(axes, comparison, lambda counted: counted.log_loss, "log loss")


def _calibration(axes: Axes, comparison: Comparison) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, judged in comparison.all.items():
        rows = judged.calibration
        axes.plot([score for score, _, _ in rows], [share for _, share, _ in rows], marker=".", label=name)
    axes.set_xlabel("mean score")
    axes.set_ylabel("share that stayed away")
    axes.legend()


def _gained(judged: Progressive) -> tuple[list[float], list[float]]:
    """Walk down from the highest score: the share of people written to, and the share of leavers among them."""
    zeros, ones = judged.counts
    total, leavers = sum(zeros) + sum(ones), max(sum(ones), 1)
    reached, found, people, gains = 0, 0, [0.0], [0.0]
    for zero, one in zip(reversed(zeros), reversed(ones), strict=True):
        if zero or one:
            reached, found = reached + zero + one, found + one
            people.append(reached / total)
            gains.append(found / leavers)
    return people, gains


def _gain(axes: Axes, comparison: Comparison) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, judged in comparison.all.items():
        axes.plot(*_gained(judged), label=name)
    axes.set_xlabel("share of people, the riskiest first")
    axes.set_ylabel("share of all leavers")
    axes.legend()


def _lift(axes: Axes, comparison: Comparison) -> None:
    axes.axhline(1.0, color="grey", linewidth=1)
    for name, judged in comparison.all.items():
        people, gains = _gained(judged)
        rows = [(share, gain / share) for share, gain in zip(people, gains, strict=True) if share > 0.01]  # noqa: PLR2004
        axes.plot([share for share, _ in rows], [lift for _, lift in rows], label=name)
    axes.set_xlabel("share of people, the riskiest first")
    axes.set_ylabel("leavers, times the average")
    axes.legend()


def _histogram(axes: Axes, comparison: Comparison) -> None:
    for name, judged in comparison.all.items():
        zeros, ones = judged.counts
        sizes = [sum(zeros[at : at + 25]) + sum(ones[at : at + 25]) for at in range(0, len(zeros), 25)]
        axes.stairs(sizes, [at / 40 for at in range(41)], label=name)
    axes.set_xlabel("score")
    axes.set_ylabel("examples")
    axes.legend()


def _importance(axes: Axes, comparison: Comparison) -> None:
    """Shuffle one feature among examples: what that costs in log loss is what the model owes to it."""
    validated = comparison.validated
    rnd = random.Random(0)  # noqa: S311 - repeatable, not secret
    later = [example for example in validated.examples if example.asked_at >= comparison.judged_from]
    sample = rnd.sample(later, min(_SAMPLE, len(later)))
    name, learner = next(iter(validated.learners.items()))
    order = rnd.sample(range(len(sample)), len(sample))

    def loss(place: int | None) -> float:
        total = 0.0
        for example, other in zip(sample, order, strict=True):
            x = list(example.features)
            if place is not None:
                x[place] = sample[other].features[place]
            total += loss_of(learner.predict(x), example.label)
        return total / len(sample)

    whole = loss(None)
    costs = sorted(((loss(place) - whole, feature) for place, feature in enumerate(features.NAMES)), reverse=True)[:12]
    axes.barh([feature for _, feature in reversed(costs)], [cost for cost, _ in reversed(costs)])
    axes.set_xlabel(f"rise in log loss of {name} when shuffled")


def _delay(axes: Axes, comparison: Comparison) -> None:
    found = comparison.validated.examples
    start = found[0].asked_at
    counts: list[Any] = [sorted((time - start) / DAY for time in times) for times in _times(found)]
    for times, label in zip(counts, ("asked", "label known"), strict=True):
        axes.plot(times, range(1, len(times) + 1), label=label)
    axes.set_xlabel("days since the first example")
    axes.set_ylabel("examples")
    axes.legend()


def _times(found: Sequence[Any]) -> tuple[list[int], list[int]]:
    return [example.asked_at for example in found], [example.labelled_at for example in found]


PLOTS: Final = (
    Plot("AUC over time", "How often a leaver scored above a stayer, by the time of asking.", _auc),
    Plot("Log loss over time", "Lower is better; a model that begins to fail shows it here first.", _log_loss),
    Plot("Calibration", "Of those who scored 0.7, did 70 % stay away? On the line, they did.", _calibration),
    Plot("Gain", "Writing to the riskiest share of people reaches this share of all leavers.", _gain),
    Plot("Lift", "How many more leavers are among them than among people taken at random.", _lift),
    Plot("Scores", "Where the scores lie.", _histogram),
    Plot("Importance", "What the first model owes to each feature.", _importance),
    Plot("Label delay", "A model has learned only what lies left of the second line.", _delay),
)
