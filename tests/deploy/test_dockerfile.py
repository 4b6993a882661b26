"""The Dockerfile and its locks, without a build."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifests import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pinned(name: str) -> dict[str, str]:
    """Read the versions that a lock pins."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_hadolint_has_no_complaint_and_no_rule_is_switched_off() -> None:
    """With its default rules, all of them."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in DOCKERFILE


def test_the_default_base_is_the_official_one_by_digest() -> None:
    """A tag alone is another image tomorrow."""
    assert re.search(
        r"^ARG BASE=docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE
    )
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


@pytest.mark.parametrize("lock", ["requirements-image.lock", "requirements-build.lock"])
def test_the_locks_of_the_image_pin_the_very_versions_that_were_tested(lock: str) -> None:
    """`make lock` writes all three; one written alone would put untested versions into the image."""
    tested, used = pinned("requirements.lock"), pinned(lock)
    only_there = {"dumb-init"}
    assert {
        name: version for name, version in used.items() if name not in only_there and tested.get(name) != version
    } == {}


def test_the_image_has_every_dependency_and_none_that_is_for_developers_alone() -> None:
    """What pyproject.toml lists, in the lock that the image is installed from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[^A-Za-z0-9-]", each)[0].lower() for each in project["dependencies"]}
    used = pinned("requirements-image.lock").keys()
    assert wanted <= used
    assert not {"pytest", "mypy", "ruff", "locust", "hatchling"} & used


def test_the_build_is_sent_every_package_of_the_wheel_and_little_else() -> None:
    """A package that .dockerignore forgets would be missing in the image; anything else could leak."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(wheel) <= sent
    files = {"LICENSE", "README.md", "pyproject.toml", "requirements-build.lock", "requirements-image.lock"}
    assert sent - set(wheel) <= files
