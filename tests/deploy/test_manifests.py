"""Kubernetes: every overlay builds, is valid, and says nothing that the code does not know."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors import campaign_file
from connectors.settings import Settings
from tests.deploy import manifests
from tests.deploy.manifests import BUILT, FOREIGN, ROOT, Container, Invalid, built, containers, of_kind, validate
from tests.deploy.promises import complaints
from tests.deploy.tools import require

OVERLAYS = ("overlays/dev", "overlays/production")
Manifest = dict[str, Any]


def chosen(name: str, kind: str, of: str) -> Manifest:
    """Take the one manifest of a kind and name."""
    return next(each for each in of_kind(built(of), kind) if each["metadata"]["name"] == name)


def settings_of(overlay: str, container: str = "waxmark-personalization/personalization") -> Container:
    """Take a container."""
    return next(each for each in containers(built(overlay)) if each.where == container)


def test_every_overlay_is_valid_for_kubernetes(capsys: pytest.CaptureFixture[str]) -> None:
    """Strictly: a misspelt field is refused, not passed over."""
    manifests.main()
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"k8s/{name}" for name in BUILT
    ]


def test_a_misspelt_field_is_refused() -> None:
    """The check of the check."""
    spoiled = chosen("waxmark-collector", "Deployment", "overlays/dev")
    spoiled["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(Invalid, match="livenesProbe"):
        validate(spoiled)


@pytest.mark.parametrize("name", BUILT)
def test_every_command_setting_port_and_path_is_known_to_the_code(name: str) -> None:
    """A renamed option or variable fails here, and not at three in the morning."""
    found = list(containers(built(name)))
    assert found
    assert [each for container in found for each in complaints(container)] == []


def _set(container: Container, **env: str) -> Container:
    return container._replace(env=container.env | env)


SPOILED: dict[str, tuple[Callable[[Container], Container], str]] = {
    "a command": (lambda c: c._replace(spec=c.spec | {"args": ["run", "personalisation"]}), "no such command"),
    "an option": (lambda c: c._replace(spec=c.spec | {"args": [*c.args, "--worker", "2"]}), "no such command"),
    "a setting": (lambda c: _set(c, WAXMARK_PARTITION="4"), "no such setting: WAXMARK_PARTITION"),
    "a value": (lambda c: _set(c, WAXMARK_PARTITIONS="many"), "partitions"),
    "a property of Kafka's client": (lambda c: _set(c, WAXMARK_KAFKA_SASL_USRNAME="me"), "sasl.usrname"),
    "a port of the metrics": (lambda c: _set(c, WAXMARK_METRICS_PORT="9465"), "serves metrics on 9465"),
    "a port of the cluster": (lambda c: _set(c, WAXMARK_ADDRESSES="a:2102"), "a:2102 is not on the port cluster"),
    "a host": (lambda c: _set(c, WAXMARK_METRICS_HOST="127.0.0.1"), "to nobody outside"),
    "a path": (lambda c: _set(c, WAXMARK_RECOVERY="/var/lib/waxmrk"), "/var/lib/waxmrk is on no volume"),
    "a file": (
        lambda c: c._replace(spec=c.spec | {"args": [*c.args[:-1], "/etc/waxmark/campaigns/other.yaml"]}),
        "is not in campaigns.yaml",
    ),
    "a probe": (
        lambda c: c._replace(spec=c.spec | {"livenessProbe": {"httpGet": {"path": "/health", "port": "metrics"}}}),
        "asks for /health, which nobody answers",
    ),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_what_the_code_does_not_know_is_told(spoil: str) -> None:
    """Each comparison can fail."""
    change, said = SPOILED[spoil]
    told = list(complaints(change(settings_of("overlays/dev"))))
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_that_others_name_are_ports_of_the_pods_they_select(overlay: str) -> None:
    """Services, network policies and monitors name ports; a name that no pod has would match nothing, without an error."""
    everything = built(overlay)
    pods = [
        (workload["spec"]["template"]["metadata"]["labels"], {port["name"] for port in container.get("ports", [])})
        for workload in of_kind(everything, "Deployment", "StatefulSet")
        for container in workload["spec"]["template"]["spec"]["containers"]
    ]

    def named_by(labels: dict[str, str]) -> set[str]:
        return {port for has, ports in pods if labels.items() <= has.items() for port in ports}

    for service in of_kind(everything, "Service"):
        for port in service["spec"].get("ports", []):
            assert port["targetPort"] in named_by(service["spec"]["selector"]), service["metadata"]["name"]
    for policy in of_kind(everything, "NetworkPolicy"):
        ports = [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
        assert set(ports) <= named_by(policy["spec"]["podSelector"]["matchLabels"])
    for monitor in of_kind(everything, "ServiceMonitor"):
        services = {port["name"] for each in of_kind(everything, "Service") for port in each["spec"].get("ports", [])}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= services
    for budget in of_kind(everything, "PodDisruptionBudget"):
        assert named_by(budget["spec"]["selector"]["matchLabels"]), budget["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_policy_lets_out_is_where_the_settings_say_that_things_are(overlay: str) -> None:
    """Kafka, Redis and the collector of traces."""
    everything = built(overlay)
    policy = next(each for each in of_kind(everything, "NetworkPolicy") if each["metadata"]["name"] == "waxmark")
    let_out = {str(port["port"]) for rule in policy["spec"]["egress"] for port in rule["ports"]}
    env = settings_of(overlay).env
    wanted = {address.rpartition(":")[2] for address in env["WAXMARK_KAFKA"].split(",")}
    wanted |= {env[name].rpartition(":")[2] for name in ("WAXMARK_OTLP_ENDPOINT",) if name in env}
    assert wanted | {"53", "6379"} <= let_out


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_there_is_an_address_for_each_process_and_their_number_divides_the_partitions(overlay: str) -> None:
    """The two numbers stand in two places; a pod without an address would wait for ever, or never be waited for."""
    workload = chosen("waxmark-personalization", "StatefulSet", overlay)
    name, spec = workload["metadata"]["name"], workload["spec"]
    env = settings_of(overlay).env
    namespace = workload["metadata"]["namespace"]
    addresses = env["WAXMARK_ADDRESSES"].split(";")
    headless = f"{spec['serviceName']}.{namespace}.svc.cluster.local:2101"
    assert addresses == [f"{name}-{number}.{headless}" for number in range(spec["replicas"])]
    assert int(env["WAXMARK_PARTITIONS"]) % spec["replicas"] == 0
    assert int(env["WAXMARK_RECOVERY_FILES"]) >= spec["replicas"]
    assert chosen(spec["serviceName"], "Service", overlay)["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_processes_start_stop_and_update_together_and_have_time_for_the_last_snapshot(overlay: str) -> None:
    """One that is replaced alone makes the others wait: rolling updates would restart the whole cluster once for each pod."""
    spec = chosen("waxmark-personalization", "StatefulSet", overlay)["spec"]
    assert (spec["podManagementPolicy"], spec["updateStrategy"]) == ("Parallel", {"type": "OnDelete"})
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    pod = spec["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    stop, snapshot = (Settings.model_fields[name].default for name in ("stop_seconds", "snapshot_seconds"))
    assert pod["terminationGracePeriodSeconds"] >= sleep + stop + snapshot


@pytest.mark.parametrize("name", BUILT)
def test_no_container_can_do_more_than_it_must(name: str) -> None:
    """Non-root, nothing writable but volumes, no token, no capability, and no variables that services would bring."""
    for container in containers(built(name)):
        pod, spec = container.pod, container.spec
        assert pod["automountServiceAccountToken"] is False, container.where
        assert pod["serviceAccountName"] == "waxmark", container.where
        assert pod["enableServiceLinks"] is False, "a Service waxmark-kafka would set WAXMARK_KAFKA_PORT"
        assert pod["securityContext"]["runAsNonRoot"] is True, container.where
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, container.where
        assert spec["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container.where
        assert {"cpu", "memory"} <= spec["resources"]["requests"].keys(), container.where
        assert "memory" in spec["resources"]["limits"], container.where


def test_production_brings_no_secrets_and_nothing_has_rights() -> None:
    """Secrets are named there, and made elsewhere."""
    everything = built("overlays/production")
    rights = ("Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    assert of_kind(everything, *rights) == []


def test_only_what_holds_no_state_is_scaled_by_load() -> None:
    """Recovery files do not move by themselves."""
    everything = built("overlays/production")
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(everything, "ScaledObject")}
    deployments = {each["metadata"]["name"]: each["spec"] for each in of_kind(everything, "Deployment")}
    assert scaled
    for name in scaled:
        assert "replicas" not in deployments[name], "two would own the number"
        assert not any("persistentVolumeClaim" in volume for volume in deployments[name]["template"]["spec"]["volumes"])


def test_the_campaigns_of_the_base_are_those_of_the_project() -> None:
    """Kustomize reads no file above its own folder, so there are two; a shop replaces them in its overlay."""
    base, ours = (
        path.read_text().split("\n", 1)[1] for path in (ROOT / "k8s/base/campaigns.yaml", ROOT / "campaigns.yaml")
    )
    assert base == ours
    assert campaign_file.load(ROOT / "k8s" / "base" / "campaigns.yaml")


def test_the_rescale_job_mounts_the_very_claims_of_the_stateful_set() -> None:
    """It names them one by one, in the order of the processes."""
    job = next(iter(of_kind(built("rescale"), "Job")))["spec"]["template"]["spec"]
    claims = of_kind(built("rescale"), "PersistentVolumeClaim")
    workload = chosen("waxmark-personalization", "StatefulSet", "overlays/production")
    template = workload["spec"]["volumeClaimTemplates"][0]
    names = [
        f"{template['metadata']['name']}-{workload['metadata']['name']}-{n}"
        for n in range(workload["spec"]["replicas"])
    ]
    assert [claim["metadata"]["name"] for claim in claims] == names
    assert all(claim["spec"] == template["spec"] for claim in claims)
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in job["volumes"]] == names
    args, env = job["containers"][0]["args"], settings_of("overlays/production").env
    inside = Path(env["WAXMARK_RECOVERY"]).relative_to("/var/lib/waxmark")
    mounts = [mount["mountPath"] for mount in job["containers"][0]["volumeMounts"]]
    assert args[2:-1] == [str(Path(mount) / inside) for mount in mounts]


def test_the_foreign_kinds_are_the_only_ones_that_no_schema_checks() -> None:
    """A kind that is added must be checked, or be named here."""
    for name in BUILT:
        for manifest in built(name):
            if manifest["kind"] not in FOREIGN:
                spoiled = copy.deepcopy(manifest)
                spoiled["no-such-field"] = {}
                with pytest.raises(Invalid):
                    validate(spoiled)


def test_the_alert_rules_are_valid_and_fire_when_they_should() -> None:
    """Prometheus' own unit tests of rules: see alerts_test.yaml."""
    require("promtool", "it is in Debian's package of Prometheus")
    for command in (
        ["check", "rules", "k8s/monitoring/alerts.yaml"],
        ["test", "rules", "tests/deploy/alerts_test.yaml"],
    ):
        done = subprocess.run(["promtool", *command], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[Manifest]:
    """The alerts."""
    groups = yaml.safe_load((ROOT / "k8s/monitoring/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_operator_gets_the_very_rules_that_prometheus_reads() -> None:
    """They stand twice, as kustomize cannot put one file into another."""
    plain = yaml.safe_load((ROOT / "k8s/monitoring/alerts.yaml").read_text())
    assert yaml.safe_load((ROOT / "k8s/monitoring/prometheus-rule.yaml").read_text())["spec"] == plain
