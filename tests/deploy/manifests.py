"""The manifests as they reach a cluster: built by kustomize, taken apart, and checked against Kubernetes' own schemas.

`python -m tests.deploy.manifests` is the part of `make lint` that needs no test runner.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

ROOT: Final = Path(__file__).parents[2]
BUILT: Final = ("overlays/dev", "overlays/production", "rescale")
VERSION: Final = "1.34"
FOREIGN: Final = frozenset({"PrometheusRule", "ScaledObject", "ServiceMonitor"})
"""Kinds of operators that Kubernetes' schemas do not know."""

Manifest = dict[str, Any]


class Invalid(Exception):
    """A manifest that Kubernetes would refuse."""


class Container(NamedTuple):
    """A container with what it is given: `mounts` are volumes by path, `env` the names whose values a manifest states."""

    where: str
    spec: Manifest
    pod: Manifest
    env: dict[str, str]
    secret: frozenset[str]
    mounts: dict[str, Manifest]

    @property
    def args(self) -> list[str]:
        """The arguments of the image's entry point."""
        return list(map(str, self.spec.get("args", [])))

    @property
    def ports(self) -> dict[str, int]:
        """The ports by name."""
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}


def built(name: str) -> list[Manifest]:
    """Build an overlay as `kubectl apply -k` does."""
    return list(yaml.load_all(_text(name), yaml.CSafeLoader))


@cache
def _text(name: str) -> str:
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl") or "kubectl"
    command = [kubectl, "kustomize", str(ROOT / "k8s" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"k8s/{name}: {done.stderr}")
    return done.stdout


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Choose by kind."""
    return [each for each in manifests if each["kind"] in kinds]


def containers(manifests: list[Manifest]) -> Iterator[Container]:
    """Yield every container of our image, init containers too."""
    for workload in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        pod = workload["spec"]["template"]["spec"]
        claimed = workload["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"]: {"claim": claim} for claim in claimed}
        for spec in [*pod.get("initContainers", []), *pod["containers"]]:
            if "waxmark" in spec["image"]:
                mounts = {
                    mount["mountPath"]: _filled(volumes[mount["name"]], manifests)
                    for mount in spec.get("volumeMounts", [])
                }
                where = f"{workload['metadata']['name']}/{spec['name']}"
                yield Container(where, spec, pod, *_environment(spec, manifests), mounts)


def _filled(volume: Manifest, manifests: list[Manifest]) -> Manifest:
    """Add the names of the files in a volume, where a manifest says them."""
    name = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
    data = [
        each.get("data", {}) for each in of_kind(manifests, "ConfigMap", "Secret") if each["metadata"]["name"] == name
    ]
    return volume | {"holds": set(data[0])} if data else volume


def _environment(spec: Manifest, manifests: list[Manifest]) -> tuple[dict[str, str], frozenset[str]]:
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    stated: dict[str, str] = {}
    for source in spec.get("envFrom", []):
        if "configMapRef" in source:
            stated |= maps[source["configMapRef"]["name"]]
    stated |= {each["name"]: each["value"] for each in spec.get("env", []) if "value" in each}
    return stated, frozenset(each["name"] for each in spec.get("env", []) if "valueFrom" in each)


def validate(manifest: Manifest) -> None:
    """Check one manifest against Kubernetes' own schema. Raises Invalid."""
    try:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise Invalid(f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}") from error


def main() -> None:
    """Build every overlay and validate what Kubernetes' schemas know."""
    for name in BUILT:
        manifests = built(name)
        for manifest in manifests:
            if manifest["kind"] not in FOREIGN:
                validate(manifest)
        sys.stdout.write(f"k8s/{name}: {len(manifests)} manifests are valid for Kubernetes {VERSION}\n")


if __name__ == "__main__":
    main()
