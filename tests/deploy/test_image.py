"""The image: really built, and run as its own user, without a container runtime."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cyclopts
import pytest

from cli.main import app
from connectors.redis_server import free_port
from tests.deploy.manifests import BUILT, ROOT, built, containers
from tests.deploy.tools import require

TAG = "localhost/waxmark:test"
ENVIRONMENT = os.environ | {"BUILDAH_ISOLATION": "chroot"}
WAXMARK = (sys.executable, "-c", "from cli.main import main; main()")


def ran(*command: str, **environment: str) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run(
        command, env=ENVIRONMENT | environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def image() -> str:
    """Build it as `make image` does, on a base from Debian's packages."""
    for program in ("buildah", "mmdebstrap"):
        require(program, "apt-get install --no-install-recommends buildah mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("buildah builds by chroot, which only root may")
    ran(".ci/image", BASE="debian", TAG=TAG)
    return TAG


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    """A container of the image, gone after the tests."""
    name = ran("buildah", "from", "--pull-never", image).strip()
    yield name
    ran("buildah", "rm", name)


@pytest.fixture(scope="module")
def config(image: str) -> dict[str, Any]:
    """What the image says of itself."""
    found: dict[str, Any] = json.loads(ran("buildah", "inspect", "--type", "image", image))["Docker"]["config"]
    return found


def commands(group: cyclopts.App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Name every command there is, those in groups too."""
    for name in group:
        if not name.startswith("-"):
            yield (*path, name)
            yield from commands(group[name], (*path, name))


def test_every_command_shows_its_help_inside(container: str, config: dict[str, Any]) -> None:
    """As the image's user: everything that any of them imports is installed. The entry point is asked once."""
    entry = [*config["Entrypoint"], "run", "--help"]
    assert "personalization" in ran("buildah", "run", container, "--", *entry)
    all_of_them = [list(each) for each in commands(app)]
    assert ["run"] in all_of_them
    assert ["recovery", "share-out"] in all_of_them
    script = """
import json, sys
from cli.main import app
for command in json.loads(sys.argv[1]):
    try:
        app([*command, "--help"])
    except SystemExit as end:
        assert not end.code
"""
    said = ran("buildah", "run", container, "--", "python", "-c", script, json.dumps(all_of_them))
    assert said.count("Usage: ") == len(all_of_them)


def test_it_says_its_version_and_has_the_templates(container: str) -> None:
    """What is not imported as code is easily left out of a wheel, or of what the build is sent."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ran("buildah", "run", container, "--", "waxmark", "--version").strip() == version
    script = "from rendering.template_folder import BUILT_IN as b; print(*sorted(p.name for p in b.rglob('*.*ml')))"
    there = ran("buildah", "run", container, "--", "python", "-c", script).split()
    assert there == sorted(path.name for path in (ROOT / "templates").rglob("*.*ml"))


def test_a_replay_inside_decides_the_very_same_as_one_outside(container: str, tmp_path: Path) -> None:
    """The same bytes, from another Python with packages from the lock alone."""
    log, outside = tmp_path / "log.jsonl", tmp_path / "outside.jsonl"
    ran(*WAXMARK, "simulate", str(log), "--events", "3000")
    until = ["--until", "2100-01-01"]  # let every wait happen
    ran(*WAXMARK, "replay", str(log), "--triggers", str(outside), *until)
    tmp_path.chmod(0o755)
    inside = ["waxmark", "replay", "/data/log.jsonl", "--triggers", "/tmp/inside.jsonl", *until]  # noqa: S108 - the container's
    ran("buildah", "run", "--volume", f"{tmp_path}:/data:ro", container, "--", *inside)
    found = ran("buildah", "run", container, "--", "cat", "/tmp/inside.jsonl")  # noqa: S108 - same
    assert found == outside.read_text()
    assert found.count("\n") > 20


def test_it_runs_as_nobody_special_who_can_write_nowhere_but_where_volumes_are_mounted(
    container: str, config: dict[str, Any]
) -> None:
    """Its root file system may be read-only: its user can write to what the manifests mount, and Debian's scratch."""
    who = ran("buildah", "run", container, "--", "id")
    assert who.startswith("uid=10001(waxmark) gid=10001(waxmark)")
    assert config["User"] == "10001:10001"
    search = "find / -xdev -writable -not -type l -not -path '/proc/*' 2>/dev/null | sort || true"
    writable = set(ran("buildah", "run", container, "--", "sh", "-c", search).split())
    places = {path for path in writable if str(Path(path).parent) not in writable}
    assert places <= {"/tmp", "/var/tmp", "/run/lock", "/var/lib/waxmark"}  # noqa: S108 - the container's
    absent = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ['pip', 'pytest', 'mypy', 'hatchling'])))"
    ran("buildah", "run", container, "--", "python", "-c", absent)


def test_it_starts_is_healthy_and_stops_gracefully(container: str, config: dict[str, Any], redis_url: str) -> None:
    """The health check is the image's own; SIGTERM goes to the entry point, and the dataflow ends with code 0."""
    port = free_port()
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    check = " ".join(config["Healthcheck"]["Test"][1:]).replace("9464", str(port))
    script = f"""
        {" ".join(config["Entrypoint"])} run personalization --campaigns /data/campaigns.yaml &
        pid=$!
        for attempt in $(seq 300); do {check} && break; sleep 0.2; done
        {check} && echo healthy
        kill -TERM $pid
        wait $pid
        echo ended with $?
        ls {"$WAXMARK_RECOVERY"}
    """
    given = {"WAXMARK_REDIS": redis_url, "WAXMARK_METRICS_PORT": str(port)}
    environment = [part for name, value in given.items() for part in ("--env", f"{name}={value}")]
    mount = ["--volume", f"{ROOT / 'campaigns.yaml'}:/data/campaigns.yaml:ro"]
    said = ran("buildah", "run", *environment, *mount, container, "--", "sh", "-c", script).splitlines()
    assert said[:2] == ["healthy", "ended with 0"]
    assert "part-0.sqlite3" in said


def test_the_manifests_say_what_the_image_says(config: dict[str, Any]) -> None:
    """Ports, the folder of the recovery files, and the user."""
    exposed = {int(port.partition("/")[0]) for port in config["ExposedPorts"]}
    said = dict(variable.split("=", 1) for variable in config["Env"])
    for name in BUILT:
        for each in containers(built(name)):
            assert set(each.ports.values()) - {2101} <= exposed
            assert (
                f"{each.pod['securityContext']['runAsUser']}:{each.pod['securityContext']['runAsGroup']}"
                == config["User"]
            )
            for variable in ("WAXMARK_METRICS_PORT", "WAXMARK_RECOVERY"):
                assert each.env.get(variable, said[variable]) == said[variable]
    assert list(config["Volumes"]) == [str(Path(said["WAXMARK_RECOVERY"]).parent)]
