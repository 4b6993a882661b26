"""The documented list of metrics and the list in the code are one list."""

import re
from itertools import pairwise
from pathlib import Path

from connectors.metrics import INSTRUMENTS, Kind

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>waxmark_\w+)` \| (?P<kind>\w+) \| (?P<unit>\w+) \|(?P<labels>[^|]*)\|", re.MULTILINE)


def test_the_doc_lists_the_metrics_of_the_code_with_their_types_units_and_labels() -> None:
    """A metric that is added, renamed or given a label without its line in the doc fails here, and so does a stale line."""
    documented = [
        (row["name"], row["kind"], row["unit"], tuple(re.findall(r"`(\w+)`", row["labels"])))
        for row in ROW.finditer(DOC.read_text(encoding="utf-8"))
    ]
    coded = [(each.name, each.kind.value, each.unit, each.labels) for each in INSTRUMENTS]
    assert sorted(documented) == sorted(coded)


def test_every_metric_that_the_doc_speaks_of_exists() -> None:
    """An alert on a metric that was renamed would stay silent for ever."""
    spoken_of = set(re.findall(r"\bwaxmark_\w+", DOC.read_text(encoding="utf-8")))
    series = {each.name for each in INSTRUMENTS} | {f"{each.name}_bucket" for each in INSTRUMENTS if each.bounds}
    assert spoken_of <= series


def test_names_say_their_type_and_unit_as_prometheus_wants_it() -> None:
    """The exporter appends what a name lacks: then the name in the code would not be the name that is served."""
    endings = {"s": "_seconds", "By": "_bytes", "1": ""}
    for each in INSTRUMENTS:
        assert each.name.endswith(endings[each.unit])
        assert each.name.endswith("_total") is (each.kind is Kind.COUNTER)


def test_latency_buckets_run_from_a_millisecond_to_a_minute_no_two_more_than_a_factor_of_two_apart() -> None:
    """An interpolated p99 can be wrong by the width of its bucket."""
    bounds = next(each.bounds for each in INSTRUMENTS if each.name == "waxmark_event_to_profile_seconds")
    assert (bounds[0], bounds[-1]) == (0.001, 60.0)
    assert all(low < high <= 2 * low for low, high in pairwise(bounds))
