"""The workbench as a data scientist uses it: one command, one notebook, one file of their own."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest
from nbclient import NotebookClient

from cli.backtest import backtest
from state.clock import DAY, MINUTE, to_iso
from tests.shopping import START

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-c", "from cli.main import main; main()", "backtest")


def history(path: Path, customers: int = 160) -> Path:
    """Write a shop's messages: customers buy at their own pace until they lose interest."""
    rnd = random.Random(2)
    made = []
    for customer in range(customers):
        now, gap = START - 300 * DAY + rnd.randrange(40 * DAY), rnd.choice([3, 8, 20])
        while now < START and rnd.random() > 0.07:
            for event, lead in (("Product Viewed", 10 * MINUTE), ("Order Completed", 0)):
                properties = {"product_id": "p", "order_id": f"{now}", "total": 20}
                made.append(
                    {
                        "type": "track",
                        "event": event,
                        "messageId": f"{customer}-{now}-{event}",
                        "userId": f"customer-{customer}",
                        "timestamp": to_iso(now - lead),
                        "properties": properties,
                    }
                )
            now += int(rnd.expovariate(1 / gap) * DAY) + MINUTE
    made.sort(key=lambda message: str(message["timestamp"]))
    path.write_bytes(b"\n".join(msgspec.json.encode(message) for message in made))
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [*RUN, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_model_of_ones_own_competes_with_the_champion_by_one_command(tmp_path: Path) -> None:
    """The template is copied, named, and found in the table and the report beside the champion."""
    own = tmp_path / "my_model.py"
    own.write_text((ROOT / "models" / "template" / "my_model.py").read_text())
    first, second = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    lines = history(tmp_path / "all.jsonl").read_bytes().splitlines()
    first.write_bytes(b"\n".join(lines[: len(lines) // 2]))
    second.write_bytes(b"\n".join(lines[len(lines) // 2 :]))
    report = tmp_path / "report.html"
    done = run("--events", first, second, "--model", f"{own}:build", "--horizon", "14d", "--report", report)
    assert done.returncode == 0, done.stderr
    assert "adagrad" in done.stdout
    assert "my_model" in done.stdout
    page = report.read_text()
    titles = (
        "AUC over time",
        "Log loss over time",
        "Calibration",
        "Gain",
        "Lift",
        "Scores",
        "Importance",
        "Label delay",
    )
    assert all(f"<h3>{title}</h3>" in page for title in titles)
    assert page.count("<svg") == len(titles)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"horizon": "30"}, "--horizon"),
        ({"horizon": "900d"}, "longer than the horizon"),
        ({"model": ["nowhere.py:build"]}, "no Python file nowhere.py"),
        ({"last": 0.0}, "--last"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """A traceback tells a data scientist nothing of what to change; the command prints what a ValueError says."""
    with pytest.raises(ValueError, match=said) as raised:
        backtest(events=[history(tmp_path / "few.jsonl", 3)], report=tmp_path / "report.html", **changes)
    assert "\n" not in str(raised.value)


def test_the_notebook_runs_from_top_to_bottom() -> None:
    """An example that fails on the first cell is worse than none."""
    path = ROOT / "models" / "template" / "compare.ipynb"
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    last = notebook.cells[-1].outputs[-1].data["text/html"]
    assert "<svg" in last
