"""The full job, `make bench-job`: the product's own processes over a backlog, everything on, and where the CPU goes.

Identity, all machines, a champion's churn scores, the campaigns of campaigns.yaml, policy, profiles in a real Redis, triggers
and decisions exactly once, a snapshot every ten seconds, metrics. From Redis Streams one process; from Kafka one, and two.

CPU is that of the worker's process tree, not Redis's and not Kafka's. Each run is of the whole log and of a third; the
difference leaves the start out. The parts are measured inside one process, in the same way, over the same Redis, and right
after each run of a worker, since machines have slower and faster hours; what snapshots and telemetry cost is the difference to
workers without them, and the engine is what is then left.
"""

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.document import put, table
from benchmarks.job_log import Day, of_peers, of_shop
from benchmarks.job_parts import Steps, parts, steps
from benchmarks.job_run import NotSane, Run, Setup, filled_redis, in_redis, over_kafka, over_redis
from connectors.redis_server import free_port
from tests.kafka.broker import Brokers, NoKafka, running

RESULTS: Final = Path(__file__).parent / "results" / "full_job.json"
TARGET, STRETCH, TARGET_RATIO = 100_000, 120_000, 1.8
Generate = Callable[[int, int, float], Day]
"""Makes so many events of so many users, so many a second."""

TRAFFIC: Final[dict[str, Generate]] = {"shop": of_shop, "peers": of_peers}
REDIS: Final = Setup("Redis Streams, 1 process")
NO_SNAPSHOTS: Final = Setup("without snapshots", snapshots=False)
BARE: Final = Setup("without snapshots and telemetry", snapshots=False, telemetry=False)
ONE: Final = Setup("Kafka, 1 process", kafka=True)
TWO: Final = Setup("Kafka, 2 processes", kafka=True, workers=2)

_TOGETHER: Final = "together: a worker over Redis Streams"

Pairs = dict[str, list[tuple[Run, Run]]]
"""By setup, a run of a third of the log and one of the whole, as often as was asked."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, print each target as met or missed, and keep the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=20.0, help="events a second, while they happened")
    parser.add_argument("--traffic", choices=TRAFFIC, default="shop")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-kafka", action="store_true", help="Redis Streams alone")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    generate = TRAFFIC[options.traffic]
    third, whole = (generate(count, options.users, options.rate) for count in (options.events // 3, options.events))
    length = sum(len(sent.value) for sent in whole.sent) / len(whole.sent)
    users = len(whole.users())
    print(
        f"{len(whole.sent)} events of {length:.0f} bytes on average, by {users} of {options.users} users, "
        f"{whole.seconds / 3600:.1f} hours of a shop; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    with broker(wanted=not options.no_kafka) as brokers:
        pairs, taken = measured(third, whole, options.runs, brokers)
    broken = broken_down(len(whole.sent) - len(third.sent), taken, pairs)
    judged = report(pairs, broken)
    kept = {
        "traffic": options.traffic,
        "events": len(whole.sent),
        "bytes": round(length),
        "users": users,
        "of_users": options.users,
        "rate": options.rate,
        "runs": {name: [[run._asdict() for run in pair] for pair in each] for name, each in pairs.items()},
        "parts": broken,
    }
    if options.results == RESULTS:
        is_usual = all(
            getattr(options, name) == parser.get_default(name) for name in ("events", "users", "rate", "traffic")
        )
        if not (is_usual and ONE.name in pairs):
            print("not kept, since it is not the job of which the page speaks; --results says where else")
            return
        document(pairs, broken, judged)
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(kept, indent=1) + "\n")


@contextlib.contextmanager
def broker(*, wanted: bool) -> Iterator[Brokers | None]:
    """Run a Kafka, if one is wanted and to be had."""
    with contextlib.ExitStack() as stack:
        brokers = None
        if wanted:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            try:
                brokers = stack.enter_context(running(Path(folder) / "kafka"))
            except NoKafka as error:
                print(f"Kafka is not measured: {error}")
        yield brokers


def measured(third: Day, whole: Day, runs: int, brokers: Brokers | None) -> tuple[Pairs, list[tuple[Steps, Steps]]]:
    """Run all setups in turn, so often, and the parts of each run over Redis right after it. Raises NotSane."""
    pairs: Pairs = {}
    taken = []
    for number in range(runs):
        (first, its_steps), (second, all_steps) = (_with_steps(day) for day in (third, whole))
        _keep(pairs, REDIS, (first, second))
        taken.append((its_steps, all_steps))
        for setup in (NO_SNAPSHOTS, BARE):
            _keep(pairs, setup, (over_redis(third, setup), over_redis(whole, setup)))
        if brokers is not None:
            for setup in (ONE, TWO):
                prefix = f"job-{number}-{setup.workers}-{free_port()}"
                first, second = (
                    over_kafka(brokers.bootstrap, f"{prefix}-{len(day.sent)}", day, setup) for day in (third, whole)
                )
                _keep(pairs, setup, (first, second))
    return pairs, taken


def _with_steps(day: Day) -> tuple[Run, Steps]:
    """Run a worker over a day, then the parts, over what it fed back too: that belongs to the log."""
    with filled_redis(day) as (folder, url):
        return in_redis(day, REDIS, folder, url), steps(url)


def _keep(pairs: Pairs, setup: Setup, both: tuple[Run, Run]) -> None:
    if both[0].triggers >= both[1].triggers:
        raise NotSane(f"{setup.name}: a third of the log brought as many triggers as the whole: {both}")
    pairs.setdefault(setup.name, []).append(both)
    print(f"{setup.name:34} {_said([both])}; load {os.getloadavg()[0]:.1f}", flush=True)


def broken_down(events: int, taken: list[tuple[Steps, Steps]], pairs: Pairs) -> dict[str, float]:
    """Say what each part costs, in CPU microseconds an event: they add up to the worker over Redis Streams at its lowest.

    Of each step the lowest counts too, since what else runs only adds; `events` is by how many the two logs differ.
    """
    third, whole = (Steps(*map(min, zip(*(pair[n] for pair in taken), strict=True))) for n in (0, 1))
    found = parts(third, whole, events)
    full, no_snapshots, bare = (_lowest(pairs[setup.name]) for setup in (REDIS, NO_SNAPSHOTS, BARE))
    found["snapshots"] = full - no_snapshots
    found["telemetry"] = no_snapshots - bare
    found["the engine, and what is left"] = full - sum(found.values())
    return found


def report(pairs: Pairs, broken: dict[str, float]) -> list[str]:
    """Print the figures, the parts, and the targets; return the targets."""
    for name, each in pairs.items():
        print(f"{name:34} {_said(each)}")
    print("where the CPU goes, us an event, by the lowest of the runs")
    for name, cost in broken.items():
        print(f"{name:66} {cost:6.2f}")
    print(f"{_TOGETHER:66} {sum(broken.values()):6.2f}")
    judged = []
    for setup in (REDIS, ONE):
        if setup.name in pairs:
            rate = median(map(_rate, pairs[setup.name]))
            said = f"{_judged(rate, TARGET)}, {_judged(rate, STRETCH)}"
            judged.append(f"{setup.name}: {rate:,.0f} events a CPU second: {said}")
    if TWO.name in pairs:
        both = list(zip(pairs[ONE.name], pairs[TWO.name], strict=True))
        ratios = [_wall(two) / _wall(one) for one, two in both]
        wholes = [one[1].wall / two[1].wall for one, two in both]
        said = f"{_judged(median(ratios), TARGET_RATIO)}; of whole runs {_spread(wholes, '.2f')}"
        judged.append(f"two processes against one, by the wall: {_spread(ratios, '.2f')}: {said}")
    print("\n".join(judged), flush=True)
    return judged


def document(pairs: Pairs, broken: dict[str, float], judged: list[str]) -> None:
    """Write the tables and the targets into the page."""
    head = f"over | {' | '.join(FIGURES)}"
    rows = [[s.name, *_figures(pairs[s.name])] for s in (REDIS, ONE, TWO) if s.name in pairs]
    put("job", [*table(head, rows), "", *(f"- {line}" for line in judged)])
    costs = [*broken.items(), (_TOGETHER, sum(broken.values()))]
    put("job-parts", table("part | us", [[name, f"{cost:.1f}"] for name, cost in costs]))


def _figures(each: list[tuple[Run, Run]]) -> list[str]:
    return [_spread([*map(figure, each)], ",.0f") for figure in FIGURES.values()]


def _said(each: list[tuple[Run, Run]]) -> str:
    said = (f"{name} {figure}" for name, figure in zip(FIGURES, _figures(each), strict=True))
    return f"{'; '.join(said)}; {each[-1][1].triggers} triggers"


def _cost(pair: tuple[Run, Run]) -> float:
    """Say what an event after the first third costs, in CPU microseconds."""
    third, whole = pair
    return (whole.cpu - third.cpu) / (whole.events - third.events) * 1e6


def _lowest(each: list[tuple[Run, Run]]) -> float:
    """Say what an event after the first third costs by the lowest of the runs: what else runs only adds."""
    third, whole = (min((pair[n] for pair in each), key=lambda run: run.cpu) for n in (0, 1))
    return _cost((third, whole))


def _a_second(pair: tuple[Run, Run], seconds: Callable[[Run], float]) -> float:
    """Say how many events after the first third are read in a second.

    Nothing (nan) where the whole took no longer than its third: of a short log the start, which varies, is the most.
    """
    third, whole = pair
    taken = seconds(whole) - seconds(third)
    return (whole.events - third.events) / taken if taken > 0 else nan


def _rate(pair: tuple[Run, Run]) -> float:
    return _a_second(pair, lambda run: run.cpu)


def _wall(pair: tuple[Run, Run]) -> float:
    return _a_second(pair, lambda run: run.wall)


def _spread(values: list[float], how: str) -> str:
    if len(values) == 1:
        return format(values[0], how)
    return f"{median(values):{how}} ({min(values):{how}} to {max(values):{how}})"


def _judged(figure: float, target: float) -> str:
    return f"target {target:,g}: {'met' if figure >= target else f'missed, {figure / target:.0%} of it'}"


FIGURES: Final[dict[str, Callable[[tuple[Run, Run]], float]]] = {
    "events/CPU s": _rate,
    "whole run": lambda pair: pair[1].events / pair[1].cpu,
    "events/s": _wall,
    "whole run, by the wall": lambda pair: pair[1].events / pair[1].wall,
    "MB": lambda pair: pair[1].peak_mb,
}
"""What is said of each pair of runs; after the first third, unless it says of the whole run."""


if __name__ == "__main__":
    main()
