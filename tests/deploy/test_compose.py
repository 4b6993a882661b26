"""compose.yaml: what its services are told is known to the code, and they wait for each other by checks that exist."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors import delivery_file
from connectors.esp.options import SmtpOptions
from connectors.settings import Settings
from rendering.signed import Seals
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
    for config in service.get("configs", []):
        assert config["source"] in COMPOSE["configs"], f"{config['source']} is no config"
        mounts[config["target"]] = {}
    published = [{"name": "http", "containerPort": int(port.rpartition(":")[2])} for port in service.get("ports", [])]
    spec = {"args": service["command"], "ports": published}
    return Container(name, spec, service, service["environment"], frozenset(), mounts)


def test_all_of_the_product_is_there() -> None:
    """And what watches it."""
    assert set(OURS) == {"topics", "collector", "personalization", "learning", "delivery", "content"}
    assert {"kafka", "redis", "mail", "prometheus", "grafana", "jaeger"} <= SERVICES.keys()


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


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("collector", "http"),
        ("content", "http"),
        ("personalization", "metrics"),
        ("learning", "metrics"),
        ("delivery", "metrics"),
    ],
)
def test_the_health_checks_ask_what_is_answered(name: str, port: str) -> None:
    """By the program of the image, on the port that the service listens on."""
    *program, url = SERVICES[name]["healthcheck"]["test"]
    assert program == ["CMD", "python", "-m", "connectors.probe"]
    host, _, path = url.removeprefix("http://").partition("/")
    assert answers(SERVICES[name]["command"][0], port, f"/{path}")
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


def grace(name: str) -> int:
    """How long a service may take to stop."""
    return int(SERVICES[name]["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize("name", ["personalization", "learning"])
def test_the_last_snapshot_has_its_time(name: str) -> None:
    """Compose kills after ten seconds unless told otherwise."""
    assert (
        grace(name) >= Settings.model_fields["stop_seconds"].default + Settings.model_fields["snapshot_seconds"].default
    )


def test_the_providers_of_compose_are_services_of_it_and_calls_under_way_have_their_time(tmp_path: Path) -> None:
    """Where its own file sent emails to 127.0.0.1, they went nowhere: in a container that is the container."""
    file = tmp_path / "delivery.yaml"
    file.write_text(COMPOSE["configs"]["delivery"]["content"])
    plan = delivery_file.load(file, {})
    for options in plan.providers.values():
        assert isinstance(options, SmtpOptions)
        assert options.host in SERVICES
        assert options.host in SERVICES["delivery"]["depends_on"], "it is there before the first email"
    assert grace("delivery") > max(options.timeout for options in plan.providers.values())
    assert plan.content is not None
    published = SERVICES["content"]["ports"][0].split(":")[1]
    assert plan.content.url == f"http://localhost:{published}", "links are opened from outside"


def test_content_reads_the_links_that_delivery_writes() -> None:
    """They have one secret, and take the shop from the same templates."""
    written, read = (SERVICES[name]["environment"]["WAXMARK_CONTENT_SECRET"] for name in ("delivery", "content"))
    assert written == read
    Seals([read])
    assert not {"--templates", "--shop-name", "--currency"} & {
        part for name in ("delivery", "content") for part in SERVICES[name]["command"]
    }


def test_prometheus_is_told_where_every_process_serves_its_metrics(tmp_path: Path) -> None:
    """Each worker has a port of its own, one after the other; and Prometheus' own tool accepts the configuration."""
    text = COMPOSE["configs"]["prometheus"]["content"]
    scraped = {
        each["labels"]["component"]: each["targets"]
        for each in yaml.safe_load(text)["scrape_configs"][0]["static_configs"]
    }
    command = shlex.join(SERVICES["personalization"]["command"])
    workers = int(command.split("--workers ")[1])
    first = int(SERVICES["personalization"]["environment"]["WAXMARK_METRICS_PORT"])
    alone = {name: [f"{name}:{first}"] for name in ("learning", "delivery", "collector")}
    assert scraped == alone | {"personalization": [f"personalization:{first + n}" for n in range(workers)]}
    require("promtool", "it is in Debian's package of Prometheus")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/alerts.yaml", str(ROOT / "k8s/monitoring/alerts.yaml")))
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stdout + done.stderr
