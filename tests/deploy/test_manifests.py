"""Kubernetes: every overlay builds, is valid, and says nothing that the code does not know."""

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors import campaign_file, delivery_file
from connectors.delivery_model import Delivery
from connectors.esp.opening import mailbox
from connectors.esp.options import SmtpOptions
from connectors.settings import Settings
from rendering.renderer import Renderer
from rendering.template_folder import BUILT_IN, shop_of, template_folder
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
    "a port of the HTTP service": (
        lambda c: c._replace(spec=c.spec | {"args": ["content", "--port=8091"]}),
        "listens on 8091, the port http is None",
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
    assert scaled == {"waxmark-collector", "waxmark-content"}
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


def secret() -> str:
    """Make a secret that a key for DKIM may be too."""
    unencrypted = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Ed25519PrivateKey.generate().private_bytes(*unencrypted).decode().strip().replace("\n", "\\n")


def plan_of(overlay: str) -> Delivery:
    """Read the overlay's file of providers as delivery does, with something for each secret that it names."""
    path = ROOT / "k8s" / overlay / "delivery.yaml"
    return delivery_file.load(path, dict.fromkeys(re.findall(r"\$\{(\w+)\}", path.read_text()), secret()))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_file_of_providers_is_one_that_delivery_takes(overlay: str) -> None:
    """It also names no campaign that there is not: a slip would send its emails to the default."""
    campaigns = campaign_file.load(ROOT / "k8s" / "base" / "campaigns.yaml")
    plan = plan_of(overlay)
    assert plan.strangers(campaign.id for campaign in campaigns) == []
    delivery = settings_of(overlay, "waxmark-delivery/delivery")
    assert delivery.args[-1] in {f"{mount}/delivery.yaml" for mount in delivery.mounts}


def test_development_has_every_key_that_its_files_name() -> None:
    """Production's are made elsewhere."""
    secrets = {each["metadata"]["name"]: each.get("data", {}) for each in of_kind(built("overlays/dev"), "Secret")}
    for container, file in (("waxmark-collector/collector", "keys"), ("waxmark-delivery/delivery", "delivery")):
        named = set(re.findall(r"\$\{(\w+)\}", (ROOT / f"k8s/overlays/dev/{file}.yaml").read_text()))
        sources = settings_of("overlays/dev", container).spec["envFrom"]
        given = {key for source in sources if "secretRef" in source for key in secrets[source["secretRef"]["name"]]}
        assert named <= given


def test_production_says_which_secrets_to_make() -> None:
    """All that any pod mounts or reads."""
    text = (ROOT / "k8s/overlays/production/kustomization.yaml").read_text()
    told = set(re.findall(r"^#   (waxmark-[a-z]+) ", text, re.MULTILINE))
    wanted = set()
    for container in containers(built("overlays/production")):
        wanted |= {each["secretRef"]["name"] for each in container.spec.get("envFrom", []) if "secretRef" in each}
        sources = [each["valueFrom"] for each in container.spec.get("env", []) if "valueFrom" in each]
        wanted |= {source["secretKeyRef"]["name"] for source in sources if "secretKeyRef" in source}
        wanted |= {each["secret"]["secretName"] for each in container.pod.get("volumes", []) if "secret" in each}
    assert told == wanted


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_delivery_is_one_process_that_ends_before_the_next_begins_and_may_finish_its_calls(overlay: str) -> None:
    """A provider's pace is one number; and what is cut off by a kill is ambiguous at providers without keys."""
    spec = chosen("waxmark-delivery", "Deployment", overlay)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    pod = spec["template"]["spec"]
    assert not any("persistentVolumeClaim" in volume for volume in pod["volumes"]), "its state is what it writes"
    assert pod["terminationGracePeriodSeconds"] > max(each.timeout for each in plan_of(overlay).providers.values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_delivery_is_let_out_to_where_its_file_sends(overlay: str) -> None:
    """Each provider's port; and nobody else reaches the internet, nor delivery the cluster's network or a cloud's secrets."""
    policies = of_kind(built(overlay), "NetworkPolicy")
    let_out: set[int] = set()
    for policy in policies:
        labels = policy["spec"]["podSelector"]["matchLabels"]
        blocks = [
            to["ipBlock"] for rule in policy["spec"].get("egress", []) for to in rule.get("to", []) if "ipBlock" in to
        ]
        if labels.get("app.kubernetes.io/component") == "delivery":
            rules_ = policy["spec"].get("egress", [])
            let_out |= {port["port"] for rule in rules_ for port in rule["ports"]}
            for block in blocks:
                private = {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
                assert {*block["except"]} >= (private if block["cidr"] == "0.0.0.0/0" else {"fc00::/7", "fe80::/10"})
        else:
            assert blocks == [], policy["metadata"]["name"]
    wanted = set()
    plan = plan_of(overlay)
    for options in plan.providers.values():
        url = urlsplit(str(getattr(options, "url", "https://vendor.example")))
        wanted.add(mailbox(options, plan.shop).port if isinstance(options, SmtpOptions) else url.port or 443)
    assert wanted <= let_out
    if overlay == "overlays/production":
        assert let_out == {443, 587, 465, 25}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_content_reads_the_links_that_delivery_writes(overlay: str) -> None:
    """They have one secret, by reference."""
    references = [
        each["valueFrom"]
        for name in ("waxmark-delivery/delivery", "waxmark-content/content")
        for each in settings_of(overlay, name).spec["env"]
        if each["name"] == "WAXMARK_CONTENT_SECRET"
    ]
    written, read = (each["secretKeyRef"] for each in references)
    assert written == read
    assert (re.sub("-[0-9a-z]{10}$", "", read["name"]), read["key"]) == ("waxmark-content", "secret")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_process_that_serves_health_is_probed_and_every_one_with_metrics_is_scraped(overlay: str) -> None:
    """A part that is added without probes is never restarted, one without a labelled service never seen."""
    everything = built(overlay)
    scraped = {
        each["spec"]["selector"]["app.kubernetes.io/component"]
        for each in of_kind(everything, "Service")
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "waxmark"
        and "metrics" in {port["name"] for port in each["spec"]["ports"]}
    }
    monitoring = {
        policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        for policy in of_kind(everything, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        if {"port": "metrics", "protocol": "TCP"} in rule["ports"]
    }
    assert scraped == monitoring == {"collector", "delivery", "learning", "personalization"}
    for container in containers(everything):
        if container.args[0] in {"collect", "content", "run"}:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.spec.keys(), container.where


def test_a_shop_brings_its_own_templates_as_a_component(tmp_path: Path) -> None:
    """As kubelet lays them out, behind symbolic links, they compile; none of the image's partials is forgotten."""
    shutil.copytree(BUILT_IN, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    emails = sorted(path.relative_to(tmp_path) for path in (tmp_path / "shop").glob("*.*"))
    partials = sorted(path.relative_to(tmp_path) for path in (tmp_path / "shop" / "partials").glob("*.*"))
    overlay = {
        "resources": [os.path.relpath(ROOT / "k8s/overlays/dev", tmp_path.resolve())],
        "components": [os.path.relpath(ROOT / "k8s/templates", tmp_path.resolve())],
        "namespace": "waxmark-dev",
        "configMapGenerator": [
            {"name": "waxmark-templates", "files": list(map(str, emails))},
            {"name": "waxmark-partials", "files": list(map(str, partials))},
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    everything = built(str(tmp_path.resolve()))
    for manifest in everything:
        validate(manifest)
    given = {"waxmark-delivery/delivery", "waxmark-content/content"}
    one, other = (each for each in containers(everything) if each.where in given)
    for container in (one, other):
        assert list(complaints(container)) == []
        assert container.args[-2:] == ["--templates", "/etc/waxmark/templates"]
    assert one.mounts["/etc/waxmark/templates"] == other.mounts["/etc/waxmark/templates"]
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(everything, "ConfigMap")}
    mounted = tmp_path / "mounted"
    for source in one.mounts["/etc/waxmark/templates"]["projected"]["sources"]:
        data = maps[source["configMap"]["name"]]
        items = source["configMap"].get("items", [{"key": key, "path": key} for key in data])
        assert {item["key"] for item in items} == data.keys()
        for item in items:
            file = mounted / "..data" / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(data[item["key"]])
    for path in (mounted / "..data").iterdir():
        (mounted / path.name).symlink_to(Path("..data") / path.name)
    load = template_folder(mounted)
    assert shop_of(load) == shop_of(template_folder(BUILT_IN))
    names = sorted(path.stem for path in mounted.glob("*.mjml"))
    assert names == sorted(path.stem for path in BUILT_IN.glob("*.mjml"))
    for name in names:
        Renderer(load).compiled(name)
