"""compose.yaml: what its services are told is known to the code, and they wait for each other by checks that exist."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.settings import Settings
from tests.deploy.manifests import ROOT, Container
from tests.deploy.promises import answers, complaints
from tests.deploy.tools import require

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "waxmark"]


def container(name: str) -> Container:
    """See a service as a container of a pod."""
    service = SERVICES[name]
    mounts: dict[str, Any] = {path: {} for path in service.get("tmpfs", [])}
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        assert not source.startswith(".") or (ROOT / source).exists(), f"{source} is mounted and does not exist"
        assert source.startswith(".") or source in COMPOSE["volumes"], f"{source} is no volume"
        mounts[target] = {}
    published = [{"name": "http", "containerPort": int(port.rpartition(":")[2])} for port in service.get("ports", [])]
    spec = {"args": service["command"], "ports": published}
    return Container(name, spec, service, service["environment"], frozenset(), mounts)


def test_all_of_the_product_is_there() -> None:
    """And what watches it."""
    assert set(OURS) == {"topics", "collector", "personalization", "learning"}
    assert {"kafka", "redis", "prometheus", "grafana", "jaeger"} <= SERVICES.keys()


@pytest.mark.parametrize("name", OURS)
def test_every_command_setting_and_path_is_known_to_the_code(name: str) -> None:
    """The same comparison as for Kubernetes."""
    assert list(complaints(container(name))) == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_that_stays_has_a_health_check_and_waits_for_what_has_one(name: str) -> None:
    """A dependency on the health of a service without a check would wait for ever."""
    service = SERVICES[name]
    assert service["healthcheck"].get("disable") or service["healthcheck"]["test"][0] == "CMD"
    waited_for = service.get("depends_on", {})
    conditions = waited_for.items() if isinstance(waited_for, dict) else [(each, {}) for each in waited_for]
    for other, condition in conditions:
        ends = SERVICES[other]["healthcheck"].get("disable", False)
        wanted = "service_completed_successfully" if ends else "service_healthy"
        assert condition.get("condition", wanted) == wanted


@pytest.mark.parametrize(("name", "port"), [("collector", "http"), ("personalization", "metrics")])
def test_the_health_checks_ask_what_is_answered(name: str, port: str) -> None:
    """By the program of the image, on the port that the service listens on."""
    *program, url = SERVICES[name]["healthcheck"]["test"]
    assert program == ["CMD", "python", "-m", "connectors.probe"]
    host, _, path = url.removeprefix("http://").partition("/")
    assert answers(port, f"/{path}")
    environment, command = SERVICES[name]["environment"], SERVICES[name]["command"]
    listens = environment["WAXMARK_METRICS_PORT"] if port == "metrics" else command[command.index("--port") + 1]
    assert host == f"127.0.0.1:{listens}"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_read_only_and_without_capabilities(name: str) -> None:
    """As on Kubernetes."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_last_snapshot_has_its_time() -> None:
    """Compose kills after ten seconds unless told otherwise."""
    grace = int(SERVICES["personalization"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings.model_fields["stop_seconds"].default + Settings.model_fields["snapshot_seconds"].default


def test_prometheus_is_told_where_every_process_serves_its_metrics(tmp_path: Path) -> None:
    """Each worker has a port of its own, one after the other; and Prometheus' own tool accepts the configuration."""
    text = COMPOSE["configs"]["prometheus"]["content"]
    scraped = yaml.safe_load(text)["scrape_configs"][0]["static_configs"][0]["targets"]
    command = shlex.join(SERVICES["personalization"]["command"])
    workers = int(command.split("--workers ")[1])
    first = int(SERVICES["personalization"]["environment"]["WAXMARK_METRICS_PORT"])
    collector = SERVICES["collector"]["environment"]["WAXMARK_METRICS_PORT"]
    assert scraped == [*(f"personalization:{first + n}" for n in range(workers)), f"collector:{collector}"]
    require("promtool", "it is in Debian's package of Prometheus")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/alerts.yaml", str(ROOT / "k8s/monitoring/alerts.yaml")))
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stdout + done.stderr
