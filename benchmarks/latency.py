"""How long until an event is seen, `make bench-latency`: Redis Streams, Kafka, and from a client through the collector.

Open loop: fifty probes a second are due at their times, whatever is slow, and time counts from then; so nothing is left out
that a stall would have delayed. A probe is an event of a new person; then its profile is asked for, and the trigger that it
causes (its campaign waits a millisecond), until they are there. The load comes from a process of its own; personalization is a
process of its own too, with 100,000 people in its state, the shop's campaigns in force and a champion that scores, and takes a
snapshot every ten seconds. Where there are targets a scenario is measured several times, and judged by the medians.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl

from benchmarks.delivery import RESULTS, ROOT
from benchmarks.document import put, table
from benchmarks.latency_load import Load
from benchmarks.latency_probes import Found
from benchmarks.latency_stages import COLLECTOR, KAFKA, REDIS, Options, measured
from tests.kafka.broker import NoKafka

_SUSTAINED_SECONDS: Final = 1.0
"""Where the p99 is longer, the worker falls behind, and latency says only for how long it was let."""


class Scenario(NamedTuple):
    """One measurement: over what, at which rate; targets are quantiles of the time to the profile, in milliseconds."""

    over: str
    rate: int
    targets: dict[str, float] = {}  # noqa: RUF012 - never changed

    @property
    def name(self) -> str:
        """What it is called in results and plot."""
        return f"{self.over}, {self.rate:,} events/s"


SCENARIOS: Final = (
    Scenario(REDIS, 1_000),
    Scenario(REDIS, 5_000, {"p99": 10, "p99.9": 60}),
    Scenario(REDIS, 10_000),
    Scenario(REDIS, 20_000, {"p99": 25, "p99.9": 60}),
    Scenario(KAFKA, 1_000),
    Scenario(KAFKA, 5_000),
    Scenario(KAFKA, 10_000),
    Scenario(COLLECTOR, 2_000, {"p50": 15, "p99": 50}),
)
SLOWER: Final = tuple(Scenario(REDIS, rate) for rate in (17_500, 15_000, 12_500))
"""Tried in turn where 20,000 a second are too many."""


def main(arguments: list[str] | None = None) -> None:
    """Measure each scenario on a stage of its own; print, keep and plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--warm-up", type=int, default=15)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3, help="how often to measure a scenario that has targets")
    parser.add_argument("--only", help="a part of the names of the scenarios to measure")
    parser.add_argument("--results", type=Path, default=RESULTS / "latency.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "performance-latency.svg")
    asked = parser.parse_args(arguments)
    options = Options(asked.seconds, asked.warm_up, asked.users)
    waiting = [each for each in SCENARIOS if (asked.only or "").lower() in each.name.lower()]
    found: dict[str, dict[str, Any]] = {}
    spreads: dict[str, list[float]] = {}
    while waiting:
        scenario = waiting.pop(0)
        try:
            runs = _runs(scenario, options, asked.runs)
        except NoKafka as error:
            print(f"{scenario.name}: not measured: {error}")
            continue
        figures, spreads[scenario.name] = runs[len(runs) // 2]
        found[scenario.name] = figures
        figures["runs"] = [each["profile"] for each, _ in runs]
        figures["targets"] = {
            name: figures["sustained"] and _median(figures, name) * 1000 <= most
            for name, most in scenario.targets.items()
        }
        for line in _judged(scenario, figures):
            print(f"  {line}", flush=True)
        if not figures["sustained"] and scenario.over == REDIS and scenario.rate > SLOWER[-1].rate:
            waiting.insert(0, next(each for each in SLOWER if each.rate < scenario.rate))
    if asked.results == parser.get_default("results"):
        if asked.only:
            print("not kept, since it is not all; --results and --plot say where else")
            return
        document(found)
    asked.results.write_text(json.dumps(found, indent=1) + "\n")
    plot({name: seconds for name, seconds in spreads.items() if found[name]["sustained"]}, asked.plot)


def document(found: dict[str, dict[str, Any]]) -> None:
    """Write the table and the targets into the page."""
    rows, judged = [], []
    for scenario in (*SCENARIOS, *SLOWER):
        figures = found.get(scenario.name)
        if figures is None:
            continue
        cells = [
            ", ".join(f"{1000 * value:.0f}" for value in figures[what].values()) for what in ("profile", "trigger")
        ]
        rows.append([scenario.name if figures["sustained"] else f"{scenario.name}: not sustained", *cells])
        judged += [f"- {line}" for line in _judged(scenario, figures)]
    head = "over | profile p50, p99, p99.9, most (ms) | trigger p50, p99, p99.9, most (ms)"
    put("latency", [*table(head, rows), "", *judged])


def _runs(scenario: Scenario, options: Options, number: int) -> list[tuple[dict[str, Any], list[float]]]:
    """Measure a scenario so often, once where it has no targets or is not sustained; return the runs by their p99."""
    runs = []
    for _ in range(number if scenario.targets else 1):
        took, load = measured(scenario.over, scenario.rate, options)
        runs.append((_figures(scenario, took, load), took.profiles))
        _tell(scenario, runs[-1][0])
        if not runs[-1][0]["sustained"]:
            break
    return sorted(runs, key=lambda run: run[0]["profile"].get("p99", 0.0))


def _median(figures: dict[str, Any], name: str) -> float:
    return float(statistics.median(run[name] for run in figures["runs"]))


def _judged(scenario: Scenario, figures: dict[str, Any]) -> list[str]:
    lines = []
    for name, most in scenario.targets.items():
        met = "met" if figures["targets"][name] else "missed"
        each = [run[name] * 1000 for run in figures["runs"]]
        spread = f", the median of {len(each)} runs ({min(each):.1f} to {max(each):.1f})" if len(each) > 1 else ""
        lines.append(f"{scenario.name}, {name} {most:g} ms: {met}: {1000 * _median(figures, name):.1f}{spread}")
    return lines


def _figures(scenario: Scenario, took: Found, load: Load) -> dict[str, Any]:
    profile = _quantiles(took.profiles)
    kept_up = load.sent >= 0.99 * scenario.rate * load.seconds
    sustained = kept_up and not took.missing and profile["p99"] < _SUSTAINED_SECONDS
    return {
        "profile": profile,
        "trigger": _quantiles(took.triggers),
        "missing": took.missing,
        "sent": load._asdict(),
        "sustained": sustained,
        "load": os.getloadavg()[0],
    }


def _tell(scenario: Scenario, figures: dict[str, Any]) -> None:
    for what in ("profile", "trigger"):
        if figures[what]:
            said = "  ".join(f"{name} {value * 1000:.1f} ms" for name, value in figures[what].items())
            print(f"{scenario.name}: to the {what} readable: {said}")
    sent = figures["sent"]
    print(
        f"  missing {figures['missing']}; sent {sent['sent'] / sent['seconds']:,.0f} a second, late by at most "
        f"{sent['behind'] * 1000:.0f} ms; {'' if figures['sustained'] else 'NOT '}sustained",
        flush=True,
    )


def _quantiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=1000, method="inclusive")
    return {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998], "max": max(seconds)}


def plot(spreads: dict[str, list[float]], path: Path) -> None:
    """Draw how many probes took how long."""
    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name, seconds in spreads.items():
        bins = [0.001 * 10 ** (step / 20) for step in range(61)]
        axes.hist(seconds, bins=bins, histtype="step", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds from an event's due time to its readable profile")
    axes.set_ylabel("probes")
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
