"""What a container is told, compared with the code that hears it: commands, settings, ports, paths and probes."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cyclopts
import msgspec
from pydantic import ValidationError
from starlette.routing import Route

from api.content.app import application
from api.content.now import Shop
from api.content.pictures import Pictures
from api.content.typeface import Typeface
from cli.main import app
from connectors.catalogue import AsyncCatalogue
from connectors.health import Health, answering
from connectors.kafka_client import KafkaRefused, configured
from connectors.recorder import Metrics
from connectors.redis_append import RedisAppender
from connectors.settings import Settings
from rendering.signed import Seals
from tests.deploy.manifests import ROOT, Container

SETTINGS = {f"WAXMARK_{field.upper()}" for field in Settings.model_fields}
ANYTHING = {
    "WAXMARK_CONTENT_SECRET": "a-secret-for-the-tests",
    "WAXMARK_PROCESS_ID": "0",
    "WAXMARK_REDIS": "redis://:secret@redis:6379/0",
}
"""What stands in for values that only the cluster knows."""


def complaints(container: Container) -> Iterator[str]:
    """Say what a container is told that the code does not know."""
    for found in (_command(container), _settings(container), _ports(container), _paths(container), _probes(container)):
        for each in found:
            yield f"{container.where}: {each}"


def _command(container: Container) -> Iterator[str]:
    try:
        app.parse_args(container.args, print_error=False, exit_on_error=False)
    except cyclopts.CycloptsError as error:
        yield f"no such command: {' '.join(container.args)}: {error}"


def _settings(container: Container) -> Iterator[str]:
    stated = container.env | {name: ANYTHING.get(name, "") for name in container.secret}
    for name in stated:
        if not name.startswith("WAXMARK_"):
            yield f"{name} is no setting of Waxmark"
        elif name not in SETTINGS and not name.startswith("WAXMARK_KAFKA_"):
            yield f"no such setting: {name}"
    with patch.dict(os.environ, {name: value for name, value in stated.items() if name in SETTINGS}, clear=True):
        try:
            settings = Settings()
        except ValidationError as error:
            yield str(error)
            return
    try:
        kafka = configured(settings.model_copy(update={"kafka_file": None}), stated)
        kafka.admin()
    except KafkaRefused as error:
        yield str(error)


def _ports(container: Container) -> Iterator[str]:
    ports = container.ports
    listens = listening(container.args)
    if listens is not None and ports.get("http") != listens:
        yield f"listens on {listens}, the port http is {ports.get('http')}"
    metrics = container.env.get("WAXMARK_METRICS_PORT")
    if "metrics" in ports and str(ports["metrics"]) != metrics:
        yield f"serves metrics on {metrics}, the port metrics is {ports['metrics']}"
    if "metrics" in ports and container.env.get("WAXMARK_METRICS_HOST") != "0.0.0.0":  # noqa: S104 - in a pod of its own
        yield "serves metrics to nobody outside"
    for address in filter(None, container.env.get("WAXMARK_ADDRESSES", "").split(";")):
        if "cluster" in ports and not address.endswith(f":{ports['cluster']}"):
            yield f"{address} is not on the port cluster, {ports['cluster']}"


def _paths(container: Container) -> Iterator[str]:
    told = [*container.args, *(value for name, value in container.env.items() if name.startswith("WAXMARK_"))]
    for text in told:
        if text.startswith("/"):
            path = Path(text)
            mount = next((each for each in (path, *path.parents) if str(each) in container.mounts), None)
            if mount is None:
                yield f"{text} is on no volume"
                continue
            held = container.mounts[str(mount)].get("holds")
            if held is not None and path != mount and path.relative_to(mount).parts[0] not in held:
                yield f"{text} is not in {', '.join(sorted(held))}"


def _probes(container: Container) -> Iterator[str]:
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.spec.get(kind, {}).get("httpGet")
        if probe is None:
            continue
        if probe["port"] not in container.ports:
            yield f"{kind} asks the port {probe['port']}, which there is not"
        elif not answers(container.args[0], probe["port"], probe["path"]):
            yield f"{kind} asks for {probe['path']}, which nobody answers"


def listening(args: list[str]) -> int | None:
    """Read the port that a command is told to serve HTTP on, however it is told; None where it serves none."""
    try:
        _, bound, _ = app.parse_args(args, print_error=False, exit_on_error=False)
    except cyclopts.CycloptsError:
        return None
    return bound.arguments.get("port")


def answers(command: str, port: str, path: str) -> bool:
    """Tell whether a path is served: by the collector's or content's API on http, by the process's health on metrics."""
    if (command, port) == ("content", "http"):
        return path in _content_paths()
    if port == "http":
        contract = msgspec.json.decode((ROOT / "schemas" / "openapi.json").read_bytes())
        return path in contract["paths"]
    passed_on: list[str] = []

    def rest(environ: dict[str, Any], _: Any) -> list[bytes]:
        passed_on.append(environ["PATH_INFO"])
        return []

    list(answering(rest, Health(Metrics()), lambda: 0)({"PATH_INFO": path}, lambda *_: None))
    return not passed_on


@cache
def _content_paths() -> frozenset[str]:
    """List what content serves; nothing is connected to."""
    redis = ANYTHING["WAXMARK_REDIS"]
    served = application(
        Seals([ANYTHING["WAXMARK_CONTENT_SECRET"]]),
        AsyncCatalogue(redis),
        RedisAppender(redis, 1),
        Pictures(Typeface(), "en_US"),
        Shop("", "", "", "en_US"),
        lambda: 0,
    )
    return frozenset(route.path for route in served.routes if isinstance(route, Route))
