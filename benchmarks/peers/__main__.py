"""`make bench-peers`: ours and each peer in turn on the same input, N times; equal counts or it is an error.

    python -m benchmarks.peers [--events 1000000] [--runs 5] [--only flink-java,quix] [--again]

Of each contender, the runs are of its whole input and of a third of it; what lies between is the warm slope. Rows of earlier
calls for other contenders or sizes stay in the results. `--again` prints and draws what was measured before.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.peers import report
from benchmarks.peers.contenders import CACHE, CONTENDERS, ROOT, Contender, NotToBeHad, ours
from benchmarks.peers.filling import filled
from benchmarks.peers.measuring import Failed, Measured, measured
from benchmarks.peers.traffic import Traffic, written
from tests.kafka.broker import NoKafka, running

_PART: Final = 3
"""The smaller input is one in so many of the events."""


class Inputs:
    """The traffic in files and, once somebody asks, in a Kafka."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._bootstrap = stack, ""
        self._topics: dict[tuple[int, int], str] = {}

    def arguments(self, contender: Contender, events: int) -> list[str]:
        """Write the traffic where this contender reads it, and say so in the words of `asked`."""
        partitions = contender.partitions
        files = written(CACHE / "data", Traffic(events=events), partitions)
        common = ["--events", str(events), "--partitions", str(partitions)]
        if not contender.kafka:
            return [*common, "--files", *map(str, files)]
        if not self._bootstrap:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._bootstrap = self._stack.enter_context(running(folder)).bootstrap
        if (events, partitions) not in self._topics:
            self._topics[events, partitions] = filled(self._bootstrap, files)
        return [*common, "--kafka", self._bootstrap, "--topic", self._topics[events, partitions]]


def main() -> None:
    """Measure who was asked for, and print, keep and draw the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))
    unknown = wanted - {contender.name for contender in CONTENDERS}
    if unknown:
        raise SystemExit(f"no such contender: {', '.join(sorted(unknown))}")
    if not options.again:
        with ExitStack() as stack:
            inputs = Inputs(stack)
            for contender in CONTENDERS:
                if not wanted or contender.name in wanted:
                    report.keep(_row(contender, inputs, options.events, options.runs))
    report.tell()


def _row(contender: Contender, inputs: Inputs, events: int, runs: int) -> report.Row:
    events = int(events * contender.scale) // 6 * 6
    row = report.Row(contender.name, contender.what, events, contender.partitions, contender.kafka)
    print(f"{contender.name}: {contender.what}; {events} events", flush=True)
    try:
        contender.install()
        for number in range(runs):  # a third beside each whole, since their difference is the warm slope
            for size in (events, events // _PART):
                for side, result in _pair(contender, inputs.arguments(contender, size), ours_first=number % 2 == 0):
                    row.take(side, whole=size == events, run=result, load=os.getloadavg()[0])
                print(f"  {size} events, run {number + 1}: {row.last(whole=size == events)}", flush=True)
    except report.Unequal as error:
        raise SystemExit(str(error)) from error
    except (NotToBeHad, NoKafka, Failed) as error:
        row.failure = str(error)
        print(f"  left out: {error}", flush=True)
    return row


def _pair(contender: Contender, arguments: list[str], *, ours_first: bool) -> Iterator[tuple[str, Measured]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        own = [argument.replace("{folder}", folder) for argument in contender.arguments]
        sides = {"ours": ours(), "theirs": [*contender.command(), *own]}
        for side in sides if ours_first else reversed(sides):
            yield side, measured([*sides[side], *arguments], ROOT, environment)


if __name__ == "__main__":
    main()
