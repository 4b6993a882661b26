"""The AsyncAPI document: what is written is what the code says, AsyncAPI's parser takes it, and real records fit it."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.asyncapi import PREFIX, document
from connectors.kafka_client import Kafka
from connectors.kafka_outputs import KafkaOnceSink
from connectors.kafka_topics import Topics
from connectors.recorder import Metrics
from connectors.routing import part_names
from connectors.stopping import Stop
from connectors.topics import DECISIONS, DELIVERIES, TOPICS, TRIGGERS
from state.clock import DAY
from state.deliveries import Attempt, Deferral, Delivery, Opened, Outcome, Status, encode, id_of
from state.outputs import NotSent, Trigger, derived_id
from tests.api.javascript import CLIENTS, missing, node
from tests.kafka.broker import NoKafka, running
from tests.shopping import Story, added_to_cart, at, ordered, sent, tracked

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = document()
ID: Final = derived_id(1000, "one")
PARSE: Final = """
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";
const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const found = diagnostics.map((d) => ({ severity: d.severity, code: String(d.code), path: d.path.join("/") }));
console.log(JSON.stringify({ topics: document ? document.allChannels().all().map((c) => c.id()) : [], found }));
"""
ERROR_OR_WARNING: Final = (0, 1)


def parsed(text: str) -> dict[str, Any]:
    """Let AsyncAPI's own parser read a document."""
    command = [node(), "--input-type=module", "--eval", PARSE]
    got = subprocess.run(command, cwd=CLIENTS, input=text, capture_output=True, text=True, check=True, timeout=60)
    answer: dict[str, Any] = json.loads(got.stdout)
    answer["wrong"] = [each for each in answer["found"] if each["severity"] in ERROR_OR_WARNING]
    return answer


def fits(name: str, record: object, *, part: str = "payload") -> None:
    """Check a record, or its headers, against what the document says of its message. Raises jsonschema.ValidationError."""
    whole = {**DOCUMENT["components"]["messages"][name][part], "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(whole).validate(record)


def stories() -> list[Story]:
    """Tell what leads to triggers and decisions of every shape."""
    cart, checkout, silence = Story(), Story(), Story()
    for number in range(3):
        cart.append(added_to_cart(at(minutes=number), f"product-{number}", color='"red"'), at(minutes=number))
    cart.append(
        sent("identify", at(minutes=4), traits={"email": "ann@example.com", "plan": {"name": "x"}}), at(minutes=4)
    )
    cart.read_to(at(hours=2))
    cart.append(ordered(at(minutes=20)), at(hours=3))  # synchronised late: the trigger is taken back
    checkout.append(added_to_cart(at()), at())
    checkout.append(ordered(at(minutes=5)), at(minutes=5))
    silence.append(added_to_cart(at()), at())
    silence.append(tracked("Unsubscribed", at(minutes=1)), at(minutes=1))
    silence.read_to(at(hours=2))
    return [cart, checkout, silence]


def test_the_written_document_is_the_generated_one() -> None:
    """`python -m connectors.asyncapi > schemas/asyncapi.json` writes it anew."""
    written = (ROOT / "schemas" / "asyncapi.json").read_text(encoding="utf-8")
    assert written == msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


def test_asyncapis_own_parser_finds_nothing_wrong() -> None:
    """Neither an error nor a warning; that there is a newer version of AsyncAPI is neither."""
    answer = parsed((ROOT / "schemas" / "asyncapi.json").read_text(encoding="utf-8"))
    assert answer["wrong"] == []
    assert sorted(answer["topics"]) == [DECISIONS, DELIVERIES, TRIGGERS]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("components/messages/Trigger/headers/type", "word"),
        ("operations/write_triggers/channel/$ref", "#/channels/nowhere"),
        ("components/schemas/Trigger/properties/kind/type", "word"),
    ],
)
def test_the_parser_would_find_a_mistake(path: str, value: str) -> None:
    """A parser that passes everything proves nothing."""
    broken = document()
    *steps, last = path.split("/")
    part: Any = broken
    for step in steps:
        part = part[int(step) if isinstance(part, list) else step]
    part[last] = value
    assert parsed(json.dumps(broken))["wrong"]


def test_the_example_fits() -> None:
    """AsyncAPI's parser does not look into examples; readers copy them."""
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message.get("examples", []):
            fits(name, example["payload"])
            fits(name, example["headers"], part="headers")
            msgspec.convert(example["payload"], Trigger)
    assert DOCUMENT["components"]["messages"]["Trigger"]["examples"]


def test_what_the_fold_really_writes_fits() -> None:
    """Triggers, cancels and decisions, as they come out of the fold."""
    told = stories()
    triggers = [msgspec.json.decode(e.value) for story in told for out in story.outputs for e in out.triggers]
    decisions = [msgspec.json.decode(e.value) for story in told for out in story.outputs for e in out.decisions]
    assert {trigger["kind"] for trigger in triggers} == {"send", "cancel"}
    assert {decision["reason"] for decision in decisions} >= {NotSent.CANCELLED, NotSent.UNSUBSCRIBED}
    for trigger in triggers:
        fits("Trigger", trigger)
    for decision in decisions:
        fits("Decision", decision)


def test_every_field_that_the_fold_writes_is_described() -> None:
    """A schema that leaves a field out is kept by everything, and tells nobody of it."""
    schemas = DOCUMENT["components"]["schemas"]
    triggers = [trigger for story in stories() for kind in ("send", "cancel") for trigger in story.triggers(kind)]
    for trigger in triggers:
        assert trigger.keys() == schemas["Trigger"]["properties"].keys()
        assert trigger["payload"].keys() <= schemas["Trigger"]["properties"]["payload"]["properties"].keys()
        for item in trigger["payload"].get("items", []):
            assert item.keys() <= schemas["Product"]["properties"].keys()


@given(price=st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e9), name=st.text(max_size=300))
@settings(max_examples=50, deadline=None)
def test_whatever_is_in_a_cart_the_trigger_fits(price: float, name: str) -> None:
    """Names in any script and prices of any size come from shops, not from us."""
    story = Story()
    story.append(
        tracked("Product Added", at(), product_id="p", name=name, price=price, quantity=2, cart_id=name[:20]), at()
    )
    story.read_to(at(hours=2))
    for trigger in story.triggers():
        fits("Trigger", trigger)


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ({"kind": "resend"}, "kind"),
        ({"trigger_id": "not-a-ulid"}, "trigger_id"),
        ({"payload": {"items": {}}}, "payload"),
        ({"cause": [{"partition": "3"}]}, "cause"),
    ],
)
def test_what_is_no_trigger_does_not_fit(broken: dict[str, Any], path: str) -> None:
    """A schema that takes everything would tell nothing."""
    [trigger] = stories()[0].triggers()
    with pytest.raises(jsonschema.ValidationError) as refusal:
        fits("Trigger", trigger | broken)
    assert refusal.value.absolute_path[0] == path


@pytest.mark.parametrize(
    "record",
    [
        Opened("run-1/0", DAY),
        Attempt(ID, "mail", 1, DAY),
        Deferral(ID, "mail", 1, DAY, 2 * DAY, "429 Too Many Requests"),
        Outcome(ID, DAY, Status.ACCEPTED),
        Outcome(
            ID,
            DAY,
            Status.REJECTED,
            "no such template",
            "default",
            "cart",
            "ann",
            "mail",
            "",
            3,
            "2026-01-01",
            {"a": 1},
        ),
    ],
    ids=id_of,
)
def test_every_record_of_a_delivery_fits_its_message_and_no_other(record: Delivery) -> None:
    """They share a topic; a reader tells them apart by `type`."""
    written, name = msgspec.json.decode(encode(record)), type(record).__name__
    fits(name, written)
    messages = DOCUMENT["channels"][DELIVERIES]["messages"].keys()
    assert messages == {"Attempt", "Deferral", "Outcome", "Opened"}
    for other in messages - {name}:
        with pytest.raises(jsonschema.ValidationError):
            fits(other, written)


@pytest.fixture
def kafka(given_kafka: str | None, tmp_path: Path) -> Iterator[Kafka]:
    """A real Kafka with topics of one partition."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    try:
        with ExitStack() as stack:
            bootstrap = given_kafka or stack.enter_context(running(tmp_path / "kafka")).bootstrap
            kafka = Kafka(prefix, {"bootstrap.servers": bootstrap})
            Topics(kafka, 1, retention_days=7).create_and_check()
            yield kafka
    except NoKafka as error:
        missing(str(error))


def test_what_is_in_kafka_has_the_headers_and_no_key(kafka: Kafka) -> None:
    """Whoever wants to read by person reads partitions. A trace is continued where there is one."""
    [emission] = [e for out in stories()[0].outputs for e in out.triggers if e.label == "send"]
    traced = msgspec.structs.replace(
        emission, id=derived_id(1000, "traced"), traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
    sink = KafkaOnceSink(kafka, 1, TRIGGERS, Stop(), Metrics(enabled=False)).build_part(
        "triggers", part_names(1)[0], None
    )
    sink.write_batch([msgspec.structs.replace(emission, traceparent=None), traced])
    sink.snapshot()
    place = TopicPartition(kafka.topic(TRIGGERS), 0, OFFSET_BEGINNING)
    messages = [m for seen in kafka.read_to_end(place) for m in seen if m.error() is None and m.value()]
    sink.close()
    headers = [{name: value.decode() for name, value in message.headers()} for message in messages]
    described = DOCUMENT["components"]["messages"]["Trigger"]["headers"]["properties"].keys()
    assert [set(each) for each in headers] == [described - {"traceparent"}, set(described)]
    assert [message.key() for message in messages] == [None, None]
    for each, message in zip(headers, messages, strict=True):
        fits("Trigger", each, part="headers")
        fits("Trigger", msgspec.json.decode(message.value()))
    assert headers[0]["ce_id"] == msgspec.json.decode(messages[0].value())["trigger_id"]


def test_the_topics_are_topics_of_a_log() -> None:
    """Under the names that `waxmark topics` creates, with the prefix that a deployment chooses."""
    assert set(DOCUMENT["channels"]) <= set(TOPICS)
    for topic, channel in DOCUMENT["channels"].items():
        assert channel["address"].format(prefix=channel["parameters"]["prefix"]["default"]) == f"{PREFIX}.{topic}"
