"""The ready configurations of Kafka Connect: they name what exists, and make of a real trigger what the provider takes.

The names of properties are those that the connectors document: Lenses' in the ConfigDef of lensesio/stream-reactor
(HttpSinkConfigDef, ReporterConfig), Confluent's in the configuration references of its HTTP sink and its Filter, and those of
PatternFilter in jcustenborder/kafka-connect-transform-common. Kafka's own are asked of Kafka itself.
"""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from connectors.asyncapi import ULID, document
from tests.api.javascript import missing
from tests.deploy.manifests import ROOT
from tests.kafka.broker import NoKafka, jars
from tests.shopping import Story, added_to_cart, at, ordered, sent

LENSES: Final = ROOT / "connect" / "lenses-http-sink.json"
CONFLUENT: Final = ROOT / "connect" / "confluent-http-sink.json"
FILES: Final = (LENSES, CONFLUENT)

DOCUMENTED: Final = {
    LENSES: {
        "connect.http.method", "connect.http.endpoint", "connect.http.request.content", "connect.http.request.headers",
        "connect.http.connection.timeout.ms", "connect.http.retries.max.timeout.ms", "connect.http.retries.max.retries",
        "connect.http.retries.on.status.codes", "connect.http.retry.mode", "connect.http.retry.fixed.interval.ms",
        "connect.http.error.threshold", "connect.http.upload.sync.period", "connect.http.batch.count",
        "connect.http.batch.size", "connect.http.time.interval", "connect.http.authentication.type",
        "connect.http.authentication.basic.username", "connect.http.authentication.basic.password",
        "connect.http.json.tidy", "connect.http.null.payload.handler", "connect.http.null.payload.handler.custom",
        "connect.http.max.queue.size", "connect.http.max.queue.offer.timeout.ms", "connect.http.copy.message.headers",
        "connect.reporting.error.config.enabled", "connect.reporting.error.config.topic",
        "connect.reporting.error.config.bootstrap.servers", "connect.reporting.error.config.sasl.jaas.config",
        "connect.reporting.error.config.security.protocol", "connect.reporting.error.config.sasl.mechanism",
        "connect.reporting.error.config.partition",
    },
    CONFLUENT: {
        "http.api.url", "request.method", "request.body.format", "headers", "header.separator", "sensitive.headers",
        "auth.type", "connection.user", "connection.password", "http.connect.timeout.ms", "http.request.timeout.ms",
        "max.retries", "retry.backoff.ms", "retry.backoff.policy", "retry.on.status.codes", "behavior.on.null.values",
        "behavior.on.error", "report.errors.as", "batch.max.size", "batch.json.as.array", "batch.key.pattern",
        "batch.prefix", "batch.suffix", "batch.separator", "regex.patterns", "regex.replacements", "regex.separator",
        "reporter.bootstrap.servers", "reporter.error.topic.name", "reporter.error.topic.replication.factor",
        "reporter.result.topic.name", "reporter.result.topic.replication.factor", "confluent.topic.bootstrap.servers",
        "confluent.topic.replication.factor",
    },
}  # fmt: skip
FILTERS: Final = {
    "com.github.jcustenborder.kafka.connect.transform.common.PatternFilter$Value": {"fields", "pattern"},
    "io.confluent.connect.transforms.Filter$Value": {"filter.condition", "filter.type", "missing.or.null.behavior"},
}
PERSONAL: Final = {"email", "attributes", "subject", "payload", "anonymous_id"}
"""What a person or a shop writes in a trigger: a template that does not escape must not print it into JSON."""

JAVA: Final = """
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.config.ConfigTransformer;
import org.apache.kafka.common.config.provider.EnvVarConfigProvider;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.runtime.SinkConnectorConfig;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.transforms.Transformation;

public class Connect {
    public static void main(String[] given) throws Exception {
        var raw = new Properties();
        raw.load(System.in);
        var written = new HashMap<String, String>();
        raw.stringPropertyNames().forEach(name -> written.put(name, raw.getProperty(name)));
        var trigger = written.remove("TRIGGER").getBytes(StandardCharsets.UTF_8);
        var environment = new EnvVarConfigProvider(Map.of("WAXMARK_KAFKA", "b:9092", "CUSTOMERIO_SITE_ID", "site",
            "CUSTOMERIO_API_KEY", "key"));
        environment.configure(Map.of());
        var config = new ConfigTransformer(Map.of("env", environment)).transform(written).data();
        var converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", config.get("value.converter.schemas.enable")), false);
        var value = converter.toConnectData("t", trigger);
        var record = new SinkRecord("t", 0, null, null, value.schema(), value.value(), 7L);
        for (var name : config.get("transforms").split(",")) {
            var prefix = "transforms." + name + ".";
            var type = config.get(prefix + "type");
            if (!type.startsWith("org.apache.kafka.")) continue;
            var own = new HashMap<String, String>();
            config.forEach((key, each) -> {
                if (key.startsWith(prefix) && !key.equals(prefix + "type")) own.put(key.substring(prefix.length()), each);
            });
            @SuppressWarnings("unchecked")
            var transform = (Transformation<SinkRecord>) Class.forName(type).getDeclaredConstructor().newInstance();
            own.keySet().stream().filter(key -> !transform.config().names().contains(key))
                .forEach(key -> System.out.println("unknown=" + prefix + key));
            transform.configure(own);
            record = transform.apply(record);
        }
        System.out.println("key=" + record.key());
        System.out.println("value=" + new String(converter.fromConnectData("t", null, record.value()), StandardCharsets.UTF_8));
        System.out.println("url=" + config.get("http.api.url"));
        System.out.println("user=" + config.get("connection.user"));
        System.out.println("names=" + String.join(" ", SinkConnectorConfig.configDef().names()));
    }
}
"""


def config(path: Path) -> dict[str, str]:
    """Read a configuration, as it is posted to a worker."""
    posted: dict[str, Any] = json.loads(path.read_text())
    assert posted.keys() == {"name", "config"}
    assert all(isinstance(value, str) for value in posted["config"].values())
    return dict(posted["config"])


def trigger(**more: Any) -> dict[str, Any]:
    """Let the fold make a trigger of a cart, with names that break what does not escape."""
    story = Story()
    story.append(sent("identify", at(), traits={"email": 'a"b@example.com', "name": 'Ann "\\'}, **more), at())
    story.append(added_to_cart(at(), 'the "best" \\ Früh\u2028stück', **more), at())
    story.read_to(at(hours=2))
    (found,) = story.triggers()
    return found


@cache
def schema() -> dict[str, Any]:
    """Look up what the AsyncAPI document says of a trigger."""
    found: dict[str, Any] = document()["components"]["schemas"]["Trigger"]
    return found


@cache
def in_kafkas_hands(path: Path, value: str) -> dict[str, str]:
    """Run Kafka's own converter, transformations and secrets' provider over a trigger."""
    try:
        folder = jars()
    except NoKafka as error:
        missing(str(error))
    program = folder.parent / f"connect-{os.getpid()}" / "Connect.java"
    program.parent.mkdir(exist_ok=True)
    program.write_text(JAVA)
    given = {**config(path), "TRIGGER": value}
    properties = "".join(f"{name}={_escaped(text)}\n" for name, text in given.items())
    try:
        command = [
            "java",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Dstdout.encoding=UTF-8",
            "-cp",
            f"{folder}/*",
            str(program),
        ]
        done = subprocess.run(
            command, input=properties, capture_output=True, encoding="utf-8", check=False, timeout=120
        )
    finally:
        program.unlink()
        program.parent.rmdir()
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(line.split("=", 1) for line in done.stdout.split("\n") if "=" in line)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").encode("ascii", "backslashreplace").decode()


def filled(template: str, record: dict[str, Any], headers: dict[str, str]) -> str:
    """Fill a template as the Lenses sink does: text for text, escaping nothing, and nothing may be missing."""

    def found(tag: re.Match[str]) -> str:
        kind, _, name = tag[1].strip().partition(".")
        return str({"value": record, "header": headers}[kind][name])

    return re.sub(r"\{\{([^{}]*)}}", found, template)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_reads_the_triggers_and_only_what_was_committed(path: Path) -> None:
    """Whatever an aborted transaction wrote would be sent twice; from the beginning, a month of emails would go out."""
    settings, channel = config(path), document()["channels"]["triggers"]
    assert settings["topics"] == channel["address"].format(prefix=channel["parameters"]["prefix"]["default"])
    assert settings["consumer.override.isolation.level"] == "read_committed"
    assert settings["consumer.override.auto.offset.reset"] == "latest"
    assert settings["value.converter"].endswith("JsonConverter")
    assert settings["value.converter.schemas.enable"] == "false"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_property_is_documented(path: Path) -> None:
    """A property that a connector does not know is passed over without a word."""
    names = set(in_kafkas_hands(path, json.dumps(trigger()))["names"].split())
    assert {"topics", "tasks.max", "errors.tolerance", "errors.deadletterqueue.topic.name"} <= names
    settings = config(path)
    for name in settings:
        if name.startswith(("consumer.override.", "value.converter.")):
            continue
        if name.startswith("transforms."):
            _, transform, own = name.split(".", 2)
            kind = settings[f"transforms.{transform}.type"]
            assert own == "type" or kind not in FILTERS or own in FILTERS[kind], name
        else:
            assert name in names | DOCUMENTED[path], name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_transformations_are_listed_and_kafka_knows_its_own(path: Path) -> None:
    """One that is set up and not listed does nothing."""
    settings = config(path)
    configured = {name.split(".")[1] for name in settings if name.startswith("transforms.")}
    assert settings["transforms"].split(",") == list(dict.fromkeys(settings["transforms"].split(",")))
    assert configured == set(settings["transforms"].split(","))
    assert "unknown" not in in_kafkas_hands(path, json.dumps(trigger()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_secret_is_written_out(path: Path) -> None:
    """They come from the worker's environment."""
    for name, value in config(path).items():
        if re.search(r"password|username|connection\.user|secret|jaas", name):
            assert re.fullmatch(r"\$\{env:[A-Z_]+}", value), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_trigger_is_a_call_of_its_own(path: Path) -> None:
    """A batch that is half accepted is repeated whole."""
    settings = config(path)
    assert settings[{LENSES: "connect.http.batch.count", CONFLUENT: "batch.max.size"}[path]] == "1"
    assert settings.get("batch.json.as.array", "false") == "false"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_fails_goes_to_a_topic_and_personal_data_to_no_log(path: Path) -> None:
    """A record that nobody can read must not stop the others, and none may vanish."""
    settings = config(path)
    assert settings["errors.tolerance"] == "all"
    assert settings["errors.deadletterqueue.topic.name"] == "waxmark.connect-unreadable"
    assert settings["errors.log.include.messages"] == "false"
    refused = {LENSES: "connect.reporting.error.config.topic", CONFLUENT: "reporter.error.topic.name"}
    assert settings[refused[path]] == "waxmark.connect-refused"
    codes = {LENSES: "connect.http.retries.on.status.codes", CONFLUENT: "retry.on.status.codes"}
    retried = settings[codes[path]].split(",")
    assert {"408", "429"} <= set(retried)
    assert not {"400", "401", "404", "400-"} & set(retried)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cancel_is_not_sent_as_an_email(path: Path) -> None:
    """Triggers and cancels share the topic, and a sink sends whatever it reads."""
    story = Story()
    story.append(added_to_cart(at()), at())
    story.append(ordered(at(minutes=20)), at(minutes=90))
    kinds = [story.triggers(kind)[0]["kind"] for kind in ("send", "cancel")]
    settings = config(path)
    first = settings["transforms"].split(",")[0]
    if path == LENSES:
        assert settings[f"transforms.{first}.fields"] == "kind"
        dropped = re.compile(settings[f"transforms.{first}.pattern"])
        passed = [kind for kind in kinds if not dropped.fullmatch(kind)]
        assert dropped.fullmatch("a kind to come")
        assert dropped.fullmatch("sender")
    else:
        condition = re.fullmatch(r"\$\[\?\(@\.(\w+) == '(\w+)'\)\]", settings[f"transforms.{first}.filter.condition"])
        assert condition is not None
        assert condition[1] == "kind"
        assert settings[f"transforms.{first}.filter.type"] == "include"
        assert settings[f"transforms.{first}.missing.or.null.behavior"] == "exclude"
        passed = [kind for kind in kinds if kind == condition[2]]
    assert passed == ["send"]
    assert set(kinds) == set(schema()["properties"]["kind"]["enum"])


def test_a_template_prints_what_every_trigger_has_and_what_nobody_can_break() -> None:
    """Lenses escapes nothing, and loses a whole poll over one field that is not there."""
    settings, message = config(LENSES), document()["components"]["messages"]["Trigger"]
    written = [settings[f"connect.http.{part}"] for part in ("endpoint", "request.headers", "request.content")]
    tags = [tag.strip() for text in written for tag in re.findall(r"\{\{([^{}]*)}}", text)]
    values = {tag.removeprefix("value.") for tag in tags if tag.startswith("value.")}
    headers = {tag.removeprefix("header.") for tag in tags if tag.startswith("header.")}
    assert len(tags) == len([tag for tag in tags if tag.startswith(("value.", "header."))]) > 3
    assert values <= set(schema()["required"])
    assert headers <= set(message["headers"]["required"])
    body = {tag.strip() for tag in re.findall(r"\{\{value\.([^{}]*)}}", settings["connect.http.request.content"])}
    assert not body & (PERSONAL | {"user_id"})


def test_what_lenses_sends_is_an_event_with_the_triggers_id() -> None:
    """Customer.io takes a ULID once; the event has the name that our own delivery gives it."""
    made = trigger()
    headers = {"ce_id": made["trigger_id"]}
    settings = config(LENSES)
    body = json.loads(filled(settings["connect.http.request.content"], made, headers))
    assert body == {
        "id": made["trigger_id"],
        "name": "cart",
        "data": {name: made[name] for name in ("trigger_id", "decided_at", "expires_at")},
    }
    assert re.fullmatch(ULID, body["id"])
    address = urlsplit(filled(settings["connect.http.endpoint"], made, headers))
    assert (address.scheme, address.path) == ("https", "/api/v1/customers/ann/events")
    assert [filled(each, made, headers) for each in settings["connect.http.request.headers"].split(",")] == [
        "Content-Type:application/json",
        f"X-Waxmark-Trigger:{made['trigger_id']}",
    ]


def test_what_confluents_sink_sends_is_the_same_event_with_the_cart_in_it() -> None:
    """Kafka's own code makes it, names with quotes and line separators included."""
    made = trigger()
    done = in_kafkas_hands(CONFLUENT, json.dumps(made))
    assert json.loads(done["value"]) == {"id": made["trigger_id"], "name": "cart", "data": made["payload"]}
    assert done["url"].replace("${key}", done["key"]) == "https://track.customer.io/api/v1/customers/ann/events"
    assert done["user"] == "site"


def test_the_fields_that_confluents_transformations_name_are_fields_of_a_trigger() -> None:
    """ReplaceField passes over a field that there is not, and the event would lack it."""
    settings = config(CONFLUENT)
    included = settings["transforms.asEvent.include"].split(",")
    renamed = dict(pair.split(":") for pair in settings["transforms.asEvent.renames"].split(","))
    named = {*included, *renamed, settings["transforms.personAsKey.fields"], settings["transforms.personAsText.field"]}
    assert named <= schema()["properties"].keys()
    assert set(renamed) == set(included)


def test_a_poll_is_over_before_the_group_gives_its_partition_away() -> None:
    """Else another task sends the same again, while the first still tries."""
    settings = config(CONFLUENT)
    retries, pause = int(settings["max.retries"]), int(settings["retry.backoff.ms"])
    doubling = pause * (2**retries - 1)  # the slower of the connector's two ways to wait
    longest = (retries + 1) * int(settings["http.request.timeout.ms"]) + doubling
    records = int(settings["consumer.override.max.poll.records"])
    assert records * longest < int(settings["consumer.override.max.poll.interval.ms"])


def test_the_guide_speaks_of_files_settings_and_topics_that_there_are() -> None:
    """A guide to what was renamed helps nobody."""
    guide = (ROOT / "docs" / "connect.md").read_text()
    for link in re.findall(r"\]\(\.\./([^)]+)\)", guide):
        assert (ROOT / link).exists(), link
    every = {**config(LENSES), **config(CONFLUENT)}
    for name, value in re.findall(r"`([a-z.]+)=([\w-]+)`", guide):
        assert value == every.get(name, value), name
        assert name in every or name.startswith(("config.providers", "connector.client"))
    for topic in re.findall(r"`(waxmark\.[a-z-]+)`", guide):
        assert topic in every.values(), topic
