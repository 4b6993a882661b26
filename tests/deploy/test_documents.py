"""Alerts, dashboards and documents speak of the same metrics, and every alert has a paragraph for whoever it wakes."""

import json
import re

import pytest

from connectors.metrics import INSTRUMENTS
from tests.deploy.manifests import ROOT
from tests.deploy.test_manifests import rules

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PANELS = json.loads((ROOT / "k8s/monitoring/dashboards/waxmark.json").read_text())["panels"]
ASKED = [rule["expr"] for rule in rules()] + [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
SCRAPED = {"component"}
"""Labels that a scrape adds, as k8s/monitoring/service-monitor.yaml and compose.yaml say."""

SERIES = {each.name for each in INSTRUMENTS} | {f"{each.name}_bucket" for each in INSTRUMENTS if each.bounds}


def test_alerts_and_dashboards_name_metrics_that_exist() -> None:
    """An alert on a metric that was renamed would stay silent for ever."""
    named = {name for expression in ASKED for name in re.findall(r"\bwaxmark_\w+", expression)}
    assert len(named) > 10
    assert named <= SERIES


def test_labels_that_expressions_group_by_or_select_are_labels_of_their_metrics() -> None:
    """Grouped by a label that there is not, all series fall into one."""
    labels = {each.name: {*each.labels, *SCRAPED, "le"} for each in INSTRUMENTS}
    for expression in ASKED:
        names = {name.removesuffix("_bucket") for name in re.findall(r"\bwaxmark_\w+", expression)}
        known = set.union(*(labels[name] for name in names))
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        selected = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
        assert grouped | selected <= known, expression


def test_the_alerts_are_those_of_the_list_in_the_docs() -> None:
    """docs/metrics.md says what to alert on; the rules are that list, and no other."""
    table = (ROOT / "docs/metrics.md").read_text().partition("### What to alert on")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| [^|`]+ \| `([^`]+)`(?: for (\d+) (\w)\w*)? \|", table, re.MULTILINE)
    wanted = {(expression, f"{number}{unit}" if number else "") for expression, number, unit in listed}
    have = {(rule["expr"], rule.get("for", "")) for rule in rules()}
    assert len(wanted) > 5
    assert have == wanted


def test_panels_do_not_lie_on_each_other_and_have_ids_of_their_own() -> None:
    """Grafana moves what overlaps, and mixes up what shares an id."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_parts_that_read_partitions_are_told_apart_wherever_partitions_are_asked_for() -> None:
    """Learning and delivery look at partitions too: without the label, a lag of one would be said of another."""
    for expression in ASKED:
        for name in ("waxmark_last_look_timestamp_seconds", "waxmark_log_lag_seconds"):
            if name in expression:
                assert "component" in expression, expression


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_has_its_paragraph(rule: dict[str, dict[str, str]]) -> None:
    """The link in the alert leads to a heading."""
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert path == "docs/operations.md"
    headings = {heading.strip().lower() for heading in re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)}
    assert anchor in headings
