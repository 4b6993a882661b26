"""Alerts, dashboards and documents speak of the same metrics, and every alert has a paragraph for whoever it wakes."""

import json
import re

import pytest

from connectors.metrics import INSTRUMENTS
from tests.deploy.manifests import ROOT
from tests.deploy.test_manifests import rules

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SERIES = {each.name for each in INSTRUMENTS} | {f"{each.name}_bucket" for each in INSTRUMENTS if each.bounds}


def test_alerts_and_dashboards_name_metrics_that_exist() -> None:
    """An alert on a metric that was renamed would stay silent for ever."""
    dashboard = json.loads((ROOT / "k8s/monitoring/dashboards/waxmark.json").read_text())
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for expression in asked for name in re.findall(r"\bwaxmark_\w+", expression)}
    assert len(named) > 10
    assert named <= SERIES


def test_labels_that_expressions_group_by_or_select_are_labels_of_their_metrics() -> None:
    """Grouped by a label that there is not, all series fall into one."""
    labels = {each.name: {*each.labels, "le"} for each in INSTRUMENTS}
    dashboard = json.loads((ROOT / "k8s/monitoring/dashboards/waxmark.json").read_text())
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in asked:
        names = {name.removesuffix("_bucket") for name in re.findall(r"\bwaxmark_\w+", expression)}
        known = set.union(*(labels[name] for name in names))
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        selected = set(re.findall(r"[{,]\s*(\w+)=", expression))
        assert grouped | selected <= known, expression


def test_the_alerts_are_those_of_the_list_in_the_docs() -> None:
    """docs/metrics.md says what to alert on; the rules are that list, and one for when nothing runs at all."""
    table = (ROOT / "docs/metrics.md").read_text().partition("### What to alert on")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| [^|`]+ \| `([^`]+)`(?: for (\d+) (\w)\w*)? \|", table, re.MULTILINE)
    wanted = {(expression, f"{number}{unit}" if number else "") for expression, number, unit in listed}
    have = {(rule["expr"], rule.get("for", "")) for rule in rules()}
    assert len(wanted) > 5
    assert have - wanted == {("absent(waxmark_last_look_timestamp_seconds)", "5m")}
    assert wanted <= have


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_has_its_paragraph(rule: dict[str, dict[str, str]]) -> None:
    """The link in the alert leads to a heading."""
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert path == "docs/operations.md"
    headings = {heading.strip().lower() for heading in re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)}
    assert anchor in headings
