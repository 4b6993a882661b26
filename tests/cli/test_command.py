"""The command: help with an example everywhere, and one clear line for what goes wrong."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "demo",
    "run",
    "simulate",
    "profile",
    "triggers",
    "export",
    "import",
    "replay",
    "topics",
    "render",
    "deliveries",
]


def waxmark(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would."""
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"WAXMARK_REDIS": "redis://127.0.0.1:1/0", "COLUMNS": "200"} | environment,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    """Nobody should have to read the code."""
    done = waxmark(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "personalization"], "Redis cannot be reached"),
        (["triggers"], "Redis cannot be reached"),
        (["replay", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["replay", "README.md"], "README.md:1"),
        (["run", "personalization", "--campaigns", "README.md"], "README.md:"),
        (["run", "dancing"], "dancing"),
        (["simulate", "shop.jsonl", "--events", "-1"], "--events: -1"),
        (["simulate", "shop.jsonl", "--rate", "0"], "rate above 0"),
        (["simulate", "no-such-folder/shop.jsonl"], "no-such-folder/shop.jsonl"),
        (["export", "log.jsonl", "--partition", "4"], "--partition: there is no 4"),
        (["import", "README.md"], "README.md:1: no log header"),
        (["replay", "--no-such-option"], "no-such-option"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line_and_a_code(arguments: list[str], said: str) -> None:
    """No traceback, whatever it is."""
    done = waxmark(*arguments)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_version_is_the_one_that_is_installed() -> None:
    """It was said to be 0.0.0: the command's package has another name than the distribution."""
    done = waxmark("--version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (done.returncode, done.stdout.strip()) == (0, project["version"])


def test_a_setting_that_makes_no_sense_is_named() -> None:
    """By the name of its variable."""
    done = waxmark("triggers", WAXMARK_PARTITIONS="none")
    assert done.returncode == 2
    assert "WAXMARK_PARTITIONS" in done.stderr


def test_a_simulated_log_can_be_replayed_twice_with_equal_triggers(tmp_path: Path) -> None:
    """Simulate, replay, replay again: the same bytes."""
    log = tmp_path / "shop.jsonl"
    assert waxmark("simulate", str(log), "--events", "2000", "--shoppers", "100").returncode == 0
    found = []
    for name in ("one", "two"):
        triggers = tmp_path / name
        until = ["--until", "2099-01-01"]
        done = waxmark("replay", str(log), "--triggers", str(triggers), *until)
        assert done.returncode == 0, done.stderr
        found.append(triggers.read_bytes())
    assert found[0] == found[1] != b""
