"""Fuzzed records: whatever is in the log, decoding it raises nothing, and what is taken can be read."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from state import wire
from state.events import Event, Rejected, decode, parse_time

NOW = parse_time("2026-01-02T12:00:00Z")


def message(**changes: Any) -> bytes:
    """Write a sound track message with some fields changed."""
    return json.dumps({"type": "track", "messageId": "m-1", "userId": "ann", "event": "Looked"} | changes).encode()


def known(event: str, **properties: Any) -> bytes:
    """Write an event of the e-commerce vocabulary."""
    return message(event=event, properties=properties)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise(value: bytes) -> None:
    """Whatever is in the log, the worker goes on."""
    assert isinstance(decode(value, NOW), Rejected)


SOUND = [
    known("Product Added", product_id="p", name="Shoes", price="9.90", quantity=1, url="https://shop.example/p"),
    known(
        "Order Completed", order_id="o", total=9, products=[{"product_id": 1, "price": 9}, {"sku": "s", "name": "n"}]
    ),
    known("Added Product", id=7, name=1984),
    message(
        timestamp="2026-01-02T11:00:00.123Z", sentAt="2026-01-02T11:00:01Z", receivedAt="2026-01-02T11:00:02+01:00"
    ),
    message(type="identify", traits={"email": "ann@example.com", "title": "\ud83d"}, context={"traits": {"a": 1}}),
    message(type="alias", previousId="visitor"),
    message(type="group", groupId=4),
    message(type="page", name="Home", properties={"path": "/"}),
    b'{"type":"forward","anonymousId":"a","userId":"u","hops":0,"events":[{"logTime":1,"message":{}}]}',
    b'{"type":"model","name":"churn","version":"1","schema":1,"weights":{"recency":0.5}}',
]
NUISANCES = rb'''" { } [ ] , : \ \ud800 \u0000 null true 1e999 -1 NaN "" "0001-01-01T00:00:00+14:00"'''.split()
SPLICES = st.sampled_from([*NUISANCES, b"", b"\xff", b"\0", b"9" * 400])


@given(st.data())
def test_a_spoiled_event_never_raises_and_what_is_taken_can_be_read(data: st.DataObject) -> None:
    """Bytes cut out of sound records, and awkward ones put in their place; then all that a machine may ask for."""
    value = data.draw(st.sampled_from(SOUND))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        stop = data.draw(st.integers(start, min(len(value), start + 12)))
        value = value[:start] + data.draw(SPLICES) + value[stop:]
    event = decode(value, NOW)
    if isinstance(event, Event):
        assert event.time <= NOW
        assert event.user_id or event.anonymous_id
        assert isinstance(event.mapping(), dict | Rejected)
        assert f"{event.fields.key}{event.user_id}{event.anonymous_id}{event.name}".encode()
        assert abs(event.fields.amount) <= 1e12
    else:
        assert isinstance(event, wire.Control | Rejected)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [*wire.Track.__struct_encode_fields__, *wire.Alias.__struct_encode_fields__, "type", "traits", "groupId"]
PROPERTIES = ["product_id", "id", "price", "products", "order_id", "orderId", "name", "total", "quantity"]


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    st.dictionaries(st.sampled_from(PROPERTIES), JSON, max_size=4),
    st.sampled_from(["Product Added", "Order Completed", "Added Product", "Cart Viewed", "Looked"]),
)
def test_any_json_in_any_field_never_raises(fields: dict[str, Any], properties: dict[str, Any], event: str) -> None:
    """Sound JSON, wrong in every way that a type can be wrong."""
    decode(message(**({"event": event, "properties": properties} | fields)), NOW)
