"""What was measured, as a file, as lines with their targets, as a table and as a plot."""

import json
import re
from statistics import median
from typing import Any, Final

import msgspec

from benchmarks.peers.contenders import CONTENDERS, ROOT
from benchmarks.peers.measuring import Measured

RESULTS: Final = ROOT / "benchmarks" / "results" / "peers.json"
DOCUMENT: Final = ROOT / "docs" / "performance.md"
PLOT: Final = ROOT / "docs" / "performance-peers.svg"
_MEASURES: Final = {"cpu": "CPU", "warm": "CPU, warm", "wall": "wall"}
_BETWEEN: Final = re.compile(r"(<!-- peers -->\n).*?(<!-- /peers -->)", re.DOTALL)


class Unequal(Exception):
    """Two contenders counted differently: one of them does another job."""


class Side(msgspec.Struct):
    """One side's runs: CPU and wall seconds of the whole input and of the smaller one, peak memory in MB."""

    cpu: list[float] = []
    wall: list[float] = []
    small_cpu: list[float] = []
    small_wall: list[float] = []
    peak_mb: list[float] = []


class Row(msgspec.Struct):
    """Ours against one contender."""

    name: str
    what: str
    events: int
    partitions: int
    kafka: bool
    ours: Side = msgspec.field(default_factory=Side)
    theirs: Side = msgspec.field(default_factory=Side)
    counts: dict[str, int] = {}
    small_counts: dict[str, int] = {}
    load: float = 0.0
    failure: str = ""

    def take(self, side: str, *, whole: bool, run: Measured, load: float) -> None:
        """Take in a run. Raises Unequal where its counts differ from those of the runs before."""
        known = self.counts if whole else self.small_counts
        if known and known != run.counts:
            raise Unequal(f"{self.name}: {side} counted {run.counts}, not {known}")
        known.update(run.counts)
        to: Side = getattr(self, side)
        self.load = max(self.load, round(load, 2))
        (to.cpu if whole else to.small_cpu).append(round(run.cpu, 3))
        (to.wall if whole else to.small_wall).append(round(run.wall, 3))
        if whole:
            to.peak_mb.append(round(run.peak_mb))

    def last(self, *, whole: bool) -> str:
        """Say what the last pair of runs took."""
        sides = self.ours, self.theirs
        cpu = " : ".join(f"{(side.cpu if whole else side.small_cpu)[-1]:.2f}" for side in sides)
        wall = " : ".join(f"{(side.wall if whole else side.small_wall)[-1]:.2f}" for side in sides)
        return f"CPU s {cpu}, wall s {wall}"

    def ratios(self, measure: str) -> list[float]:
        """Say, run by run, how many of their events ours does in the same time."""
        ours, theirs = self.ours, self.theirs
        if measure == "warm":
            pairs = zip(ours.cpu, ours.small_cpu, theirs.cpu, theirs.small_cpu, strict=False)
            return [(c - d) / (a - b) for a, b, c, d in pairs if a > b]
        mine, his = (ours.wall, theirs.wall) if measure == "wall" else (ours.cpu, theirs.cpu)
        return [b / a for a, b in zip(mine, his, strict=False)]

    def rate(self, side: Side, measure: str) -> str:
        """Say how many thousand events a second of CPU, warm CPU or wall time brings."""
        if measure == "warm":
            slopes = [whole - small for whole, small in zip(side.cpu, side.small_cpu, strict=False)]
            slope = median(slopes) if slopes else 0.0
            return f"{(self.events - self.events // 3) / slope / 1000:,.1f}k" if slope > 0 else "?"
        return f"{self.events / median(side.wall if measure == 'wall' else side.cpu) / 1000:,.1f}k"


def kept() -> list[Row]:
    """Read the rows that there are, in the order of the contenders."""
    rows = msgspec.json.decode(RESULTS.read_bytes(), type=list[Row]) if RESULTS.exists() else []
    order = [contender.name for contender in CONTENDERS]
    return sorted((row for row in rows if row.name in order), key=lambda row: order.index(row.name))


def keep(row: Row) -> None:
    """Put a row in the place of the one it had, unless this one failed and that one did not."""
    rows = [each for each in kept() if each.name != row.name or (row.failure and not each.failure)]
    if any(each.name == row.name for each in rows):
        return
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(msgspec.to_builtins([*rows, row]), indent=1) + "\n")


def tell() -> None:
    """Print every target as met or missed, and write the table and the plot."""
    rows = kept()
    for row in rows:
        print("\n".join(_judged(row)))
    good = [row for row in rows if not row.failure]
    if good:
        _draw(good)
        table = "\n".join(_table(good))
        if DOCUMENT.exists():
            DOCUMENT.write_text(_BETWEEN.sub(lambda found: f"{found[1]}{table}\n{found[2]}", DOCUMENT.read_text()))


def _spread(ratios: list[float]) -> str:
    if not ratios:
        return "too short to tell"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _judged(row: Row) -> list[str]:
    if row.failure:
        return [f"{row.name}: left out: {row.failure}"]
    targets = next(contender.targets for contender in CONTENDERS if contender.name == row.name)
    said = []
    for measure, least in targets:
        ratios = row.ratios(measure)
        name = f"{row.name}, {row.events} events, {_MEASURES[measure]}"
        said.append(f"{name}: {_spread(ratios)}, target {_verdict(ratios, least)}")
    return said or [f"{row.name}, {row.events} events, CPU: {_spread(row.ratios('cpu'))}, no target"]


def _table(rows: list[Row]) -> list[str]:
    lines = [
        "| against | events, from | theirs, events/CPU s, whole run / warm | ours | CPU ratio | warm | wall | MB | target |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        targets = next(contender.targets for contender in CONTENDERS if contender.name == row.name)
        cells = [
            row.what,
            f"{row.events:,}, {'Kafka' if row.kafka else 'file'}",
            *(f"{row.rate(side, 'cpu')} / {row.rate(side, 'warm')}" for side in (row.theirs, row.ours)),
            *(_spread(row.ratios(measure)) for measure in ("cpu", "warm", "wall")),
            f"{median(row.theirs.peak_mb):,.0f} / {median(row.ours.peak_mb):,.0f}",
            "; ".join(f"{_MEASURES[name]} {_verdict(row.ratios(name), least)}" for name, least in targets) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _verdict(ratios: list[float], least: float) -> str:
    if not ratios:
        return f"{least}: not measured"
    got = median(ratios)
    return f"{least}: {'met' if got >= least else f'missed by {least - got:.2f}'}"


def _draw(rows: list[Row]) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - loads slowly, and nothing else here needs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    mpl.rcParams["svg.hashsalt"] = "peers"
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(rows) + 1.4), layout="constrained")
    for place, row in enumerate(rows):
        measure = "wall" if row.partitions > 1 else "cpu"
        for shift, side, colour, label in (
            (-0.19, row.ours, "#c4472b", "Waxmark"),
            (0.19, row.theirs, "#8a8f98", "peer"),
        ):
            rate = row.events / median(side.wall if measure == "wall" else side.cpu) / 1000
            axes.barh(place + shift, rate, height=0.36, color=colour, label=label if place == 0 else None)
            axes.text(rate, place + shift, f" {rate:,.0f}k", va="center", fontsize=8)
    names: list[Any] = [f"{r.name}{' (wall)' if r.partitions > 1 else ''}\n{r.events:,} events" for r in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("thousand events per second of CPU, whole run (of wall time where marked)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)
