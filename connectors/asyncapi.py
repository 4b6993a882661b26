"""The AsyncAPI document of what Waxmark writes for others to read: triggers, decisions, and what became of them.

`python -m connectors.asyncapi > schemas/asyncapi.json` writes it anew, from the structs that are encoded and the headers of the
writer.
"""

import inspect
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from connectors.topics import DECISIONS, DELIVERIES, TRIGGERS
from state.commerce import Product
from state.deliveries import Attempt, Deferral, Opened, Outcome
from state.outputs import MAX_TRIGGER_BYTES, CausePlace, Decision, Recheck, Trigger

PREFIX: Final = "waxmark"
ULID: Final = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"

_SCHEMAS: Final = "#/components/schemas"
_TIME: Final = {"type": "string", "format": "date-time"}
_MICROSECONDS: Final = {"type": "integer", "minimum": 0, "description": "Microseconds since 1970, UTC."}
_TOPICS: Final[dict[str, tuple[tuple[type[msgspec.Struct], ...], str]]] = {
    TRIGGERS: ((Trigger,), "Emails to send, and emails to take back. Written exactly once."),
    DECISIONS: ((Decision,), "Emails that are not sent, and why. Written exactly once."),
    DELIVERIES: (
        (Attempt, Deferral, Outcome, Opened),
        "What became of each trigger, by our own delivery: one outcome a trigger, ever. Empty where Kafka Connect delivers.",
    ),
}
_IDS: Final = {
    Trigger: "the trigger_id, an idempotency key wherever a provider takes one",
    Decision: "the decision_id",
    Attempt: "the trigger_id, a slash and the number of the attempt",
    Deferral: "the trigger_id, a slash, the number of the attempt, and /deferred",
    Outcome: "the trigger_id",
    Opened: "the run_id",
}
_ORDER: Final = (
    "Records have no key: each is in the partition of the person's own events, CRC-32 of the user id modulo P, and P never "
    "changes. What concerns one person is in order there; over partitions there is no order. Read with "
    "isolation.level=read_committed, or you see what an aborted transaction wrote."
)


def document() -> dict[str, Any]:
    """Build the document; the same code gives the same."""
    messages = {kind.__name__: kind for kinds, _ in _TOPICS.values() for kind in kinds}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Waxmark topics",
            "version": "1",
            "description": f"What Waxmark writes to Kafka for others to read. {_ORDER}",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic) for topic in _TOPICS},
        "operations": {
            **{f"write_{topic}": _operation("send", topic) for topic in _TOPICS},
            f"read_{TRIGGERS}": _operation("receive", TRIGGERS),
        },
        "components": {
            "messages": {name: _message(kind) for name, kind in messages.items()},
            "schemas": _schemas(),
        },
    }


def _channel(topic: str) -> dict[str, Any]:
    kinds, about = _TOPICS[topic]
    return {
        "address": f"{{prefix}}.{topic}",
        "description": f"{about} {_ORDER}",
        "parameters": {"prefix": {"default": PREFIX, "description": "WAXMARK_KAFKA_PREFIX of the deployment."}},
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in kinds},
        "bindings": {
            "kafka": {
                "topicConfiguration": {"cleanup.policy": ["delete"]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, topic: str) -> dict[str, Any]:
    doing = "Waxmark writes" if action == "send" else "Waxmark's delivery reads, or Kafka Connect in its place,"
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": f"{doing} {topic}.",
        "messages": [{"$ref": f"#/channels/{topic}/messages/{kind.__name__}"} for kind in _TOPICS[topic][0]],
    }


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    topic = next(topic for topic, (kinds, _) in _TOPICS.items() if kind in kinds)
    message: dict[str, Any] = {
        "name": kind.__name__,
        "title": kind.__name__,
        "contentType": "application/json",
        "summary": (kind.__doc__ or "").partition("\n")[0],
        "headers": _headers(kind, topic),
        "payload": {"$ref": f"{_SCHEMAS}/{kind.__name__}"},
    }
    if kind is Trigger:
        message["description"] = f"At most {MAX_TRIGGER_BYTES} bytes; what does not fit of the payload is left out."
        message["examples"] = [{"name": "cart", "headers": _example_headers(), "payload": _example()}]
    return message


def _headers(kind: type[msgspec.Struct], topic: str) -> dict[str, Any]:
    """Describe the headers: CloudEvents' binary mode for Kafka, and W3C trace context where the cause had one."""
    ulid = {"pattern": ULID} if kind in {Trigger, Decision, Outcome} else {}
    return {
        "type": "object",
        "required": ["ce_id", "ce_specversion", "ce_type", "ce_source", "content-type"],
        "properties": {
            "ce_id": {"type": "string", "description": f"Once in a partition: {_IDS[kind]}.", **ulid},
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_type": {"type": "string", "const": f"waxmark.{topic}"},
            "ce_source": {
                "type": "string",
                "description": "Topic and partition.",
                "pattern": rf"^[A-Za-z0-9._-]+\.{topic}/[0-9]+$",
            },
            "content-type": {"type": "string", "const": "application/json"},
            "traceparent": {
                "type": "string",
                "description": "Of the event that opened the wait, where it had one.",
            },
        },
    }


def _schemas() -> dict[str, Any]:
    kinds = [kind for kinds, _ in _TOPICS.values() for kind in kinds]
    _, schemas = msgspec.json.schema_components([*kinds, Product], ref_template=f"{_SCHEMAS}/{{name}}")
    for schema in schemas.values():
        for part in _parts(schema):
            if isinstance(part.get("description"), str):
                part["description"] = inspect.cleandoc(part["description"])
    for name in ("Trigger", "Decision"):
        properties = schemas[name]["properties"]
        for field in properties.keys() & {"occurred_at", "decided_at", "send_at", "expires_at", "opened_at"}:
            properties[field] |= _TIME
    for kind in _TOPICS[DELIVERIES][0]:
        properties = schemas[kind.__name__]["properties"]
        for field in properties.keys() & {"at", "not_before"}:
            properties[field] |= _MICROSECONDS
    schemas["Decision"]["properties"]["decision_id"]["pattern"] = ULID
    schemas["Trigger"]["properties"] |= _of_a_trigger(schemas["Trigger"]["properties"])
    return dict(sorted(schemas.items()))


def _of_a_trigger(properties: dict[str, Any]) -> dict[str, Any]:
    """Say what the types of a trigger's fields do not."""
    payload = {
        "items": {"type": "array", "items": {"$ref": f"{_SCHEMAS}/Product"}},
        "item_count": {"type": "integer", "minimum": 0, "description": "How many there are; `items` may hold fewer."},
        "total": {"type": "number"},
        "properties": {"type": "object", "description": "Those of the opening event that the campaign asks for."},
        "cancelled_by": {"type": "string", "description": "Of a cancel: the message that led to it."},
    }
    return {
        "trigger_id": {**properties["trigger_id"], "pattern": ULID},
        "kind": {
            "type": "string",
            "enum": ["send", "cancel"],
            "description": "A cancel is no email: it takes back the one that it supersedes, if that has not left yet.",
        },
        "supersedes": {**properties["supersedes"], "description": "The trigger_id that a cancel takes back."},
        "send_at": {**properties["send_at"], "description": "Not to be sent earlier."},
        "expires_at": {**properties["expires_at"], "description": "Not to be sent later."},
        "payload": {**properties["payload"], "description": "What the email shows.", "properties": payload},
        "attributes": {**properties["attributes"], "description": "The person's traits."},
        "model": {**properties["model"], "description": "Name, version and score of the model that was asked, if any."},
    }


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _parts(each)


def _example_headers() -> dict[str, str]:
    return {
        "ce_id": "01KDWXE8P08V0D2V6Q5Y9M3TRA",
        "ce_specversion": "1.0",
        "ce_type": f"waxmark.{TRIGGERS}",
        "ce_source": f"{PREFIX}.{TRIGGERS}/3",
        "content-type": "application/json",
    }


def _example() -> Any:
    return msgspec.to_builtins(
        Trigger(
            trigger_id=_example_headers()["ce_id"],
            kind="send",
            tenant="default",
            campaign_id="cart_abandonment",
            campaign_version="5f1c9a02d7b3e846",
            template_id="cart-abandonment",
            user_id="user-17",
            email="ann@example.com",
            occurred_at="2026-01-01T10:00:00.000Z",
            decided_at="2026-01-01T11:00:00.000Z",
            send_at="2026-01-01T11:00:00.000Z",
            expires_at="2026-01-02T11:00:00.000Z",
            subject="cart-1",
            payload={
                "items": [{"product_id": "P-2", "name": "Copper Kettle", "price": 89.0, "quantity": 1.0}],
                "item_count": 1,
                "total": 89.0,
            },
            attributes={"firstName": "Ann"},
            consent={"email": "not refused"},
            recheck=Recheck(orders=0, cart=True),
            cause=[CausePlace(3, "1041", "m-2f6e")],
        )
    )


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n")
