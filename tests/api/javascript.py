"""What the tests of JavaScript libraries need: Node, the libraries in their locked versions, and Chromium."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.turns import turn

CLIENTS = Path(__file__).parent / "clients"
INSTALLED = CLIENTS / "node_modules"


def missing(what: str) -> None:
    """Skip where something is not there; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; .ci/run is to install it")
    pytest.skip(what)


def node() -> str:
    """Find Node, and install the libraries unless they are there as locked."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        missing("Node and npm are not installed")
    assert program is not None
    assert npm is not None
    with turn(CLIENTS.parents[2] / ".waxmark" / "npm-turn"):
        _install(npm)
    return program


def _install(npm: str) -> None:
    lock, done = CLIENTS / "package-lock.json", INSTALLED / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        # Not `ci`, which fails over libraries for other systems that a registry may not have.
        command = [npm, "install", "--ignore-scripts"]
        got = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, check=False, timeout=300)
        if got.returncode:
            missing(f"npm cannot install the libraries: {got.stderr[-500:]}")
        done.touch()


def chromium() -> str:
    """Find Chromium."""
    program = shutil.which("chromium")
    if program is None:
        missing("Chromium is not installed (Debian: apt install chromium)")
    assert program is not None
    return program
