"""Records that cannot be believed: each is refused with a reason that a person understands, and none raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.events import Event, Reason, Rejected, decode
from tests.shopping import START, added_to_cart, at, ordered, tracked

GOOD: dict[str, Any] = {"type": "track", "event": "Seen", "messageId": "m1", "userId": "ann"}


def but(**changes: Any) -> bytes:
    """Write a good event, but for some fields; ... takes a field away."""
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}).encode()


CASES: dict[str, tuple[bytes, Reason, str]] = {
    "empty": (b"", Reason.NOT_JSON, "truncated"),
    "truncated": (but()[:-5], Reason.NOT_JSON, "truncated"),
    "no json": (b"hello", Reason.NOT_JSON, "malformed"),
    "two documents": (but() + but(), Reason.NOT_JSON, "malformed"),
    "array": (b"[]", Reason.INVALID, "Expected object"),
    "string": (b'"x"', Reason.INVALID, "Expected object"),
    "null": (b"null", Reason.INVALID, "Expected object"),
    "bad utf-8 in what is read": (but().replace(b"ann", b"\xff\xfe"), Reason.NOT_UTF8, "byte"),
    "bad utf-8 in what is not read": (but(other="x").replace(b'"x"', b'"\xff"'), Reason.NOT_UTF8, "byte"),
    "nesting": (b'{"a":' * 100_000, Reason.TOO_DEEP, "deeply"),
    "nesting in properties": (
        but(properties=0).replace(b": 0", b": " + b"[" * 15_000 + b"]" * 15_000),
        Reason.TOO_DEEP,
        "deep",
    ),
    "a megabyte": (but(properties={"x": "y" * 1_000_000}), Reason.TOO_LARGE, "at most 32768"),
    "a byte over": (but(x="y" * (32 * 1024 + 1 - len(but(x="")))), Reason.TOO_LARGE, "32769 bytes"),
    "five megabytes": (but(x="y" * 5_000_000), Reason.TOO_LARGE, "at most"),
    "no type": (but(type=...), Reason.INVALID, "type"),
    "unknown type": (but(type="trick"), Reason.INVALID, "trick"),
    "type is a number": (but(type=1), Reason.INVALID, "type"),
    "no message id": (but(messageId=...), Reason.INVALID, "messageId"),
    "empty message id": (but(messageId=""), Reason.INVALID, "length >= 1"),
    "long message id": (but(messageId="m" * 101), Reason.INVALID, "length <= 100"),
    "no person": (but(userId=...), Reason.NO_IDENTITY, "neither userId nor anonymousId"),
    "person is empty": (but(userId="", anonymousId=""), Reason.NO_IDENTITY, "neither"),
    "person is null": (but(userId=None), Reason.NO_IDENTITY, "neither"),
    "person is a list": (but(userId=["ann"]), Reason.INVALID, "userId"),
    "person is huge": (but(userId="a" * 256), Reason.INVALID, "length <= 255"),
    "no event name": (but(event=...), Reason.INVALID, "event"),
    "empty event name": (but(event=""), Reason.INVALID, "event"),
    "event name is null": (but(event=None), Reason.INVALID, "event"),
    "NaN": (but(properties={"price": float("nan")}), Reason.NOT_JSON, "invalid character"),
    "infinity as text": (
        but(event="Product Added", properties={"product_id": 1, "price": "inf"}),
        Reason.INVALID,
        "price",
    ),
    "nan as text": (but(event="Product Added", properties={"product_id": 1, "price": "nan"}), Reason.INVALID, "price"),
    "huge number": (
        but(event="Product Added", properties=0).replace(b": 0", b': {"price":1e400}'),
        Reason.INVALID,
        "range",
    ),
    "price is a list": (but(event="Product Added", properties={"product_id": 1, "price": []}), Reason.INVALID, "price"),
    "price is a boolean": (
        but(event="Product Added", properties={"product_id": 1, "price": True}),
        Reason.INVALID,
        "price",
    ),
    "properties are a list": (but(event="Product Added", properties=[]), Reason.INVALID, "Expected object"),
    "order without its id": (but(event="Order Completed", properties={"total": 1}), Reason.INVALID, "needs order_id"),
    "product without a name": (but(event="Product Added", properties={"price": 1}), Reason.INVALID, "needs product_id"),
    "too many products": (
        but(event="Cart Viewed", properties={"products": [{}] * 201}),
        Reason.INVALID,
        "length <= 200",
    ),
    "time is no time": (but(timestamp="yesterday"), Reason.INVALID, "timestamp"),
    "time is a number": (but(timestamp=1767225600), Reason.INVALID, "timestamp"),
    "time before there were shops": (but(timestamp="1969-12-31T23:59:59Z"), Reason.BAD_TIME, "before the year 2000"),
    "year one": (but(timestamp="0001-01-01T00:00:00+05:00"), Reason.BAD_TIME, "before"),
    "next year": (but(timestamp="2027-01-01T00:00:00Z"), Reason.BAD_TIME, "after the record was appended"),
    "year 9999": (but(timestamp="9999-12-31T23:59:59-05:00"), Reason.BAD_TIME, "after"),
    "tenant is no name": (but(tenant="a/b"), Reason.INVALID, "tenant"),
    "link to nobody": (b'{"type":"link","anonymousId":"a"}', Reason.INVALID, "userId"),
    "forward of nothing": (b'{"type":"forward","anonymousId":"a","userId":"u","hops":1}', Reason.INVALID, "events"),
}


@pytest.mark.parametrize(("value", "reason", "said"), CASES.values(), ids=CASES)
def test_what_cannot_be_believed_is_refused_with_its_reason(value: bytes, reason: Reason, said: str) -> None:
    """The reason is a metric's label, the detail is for whoever has to mend the sender."""
    refused = decode(value, START)
    assert isinstance(refused, Rejected), refused
    assert refused.reason is reason
    assert said in refused.detail


def test_an_event_of_exactly_the_limit_is_taken() -> None:
    """32 KB are allowed."""
    value = but(x="y" * (32 * 1024 - len(but(x=""))))
    assert len(value) == 32 * 1024
    assert isinstance(decode(value, START), Event)


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise(value: bytes) -> None:
    """A poisonous record must not stop the log."""
    decode(value, START)


@given(
    st.sampled_from([added_to_cart(START), ordered(START), tracked("Seen", START, x=1)]),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=3),
)
def test_no_damage_to_a_good_event_raises(value: bytes, place: int, damage: bytes) -> None:
    """Nor must one that is almost right."""
    decode(value[:place] + damage + value[place + len(damage) :], START)


@pytest.mark.parametrize(
    ("stated", "sent_at", "received_at", "expected"),
    [
        (None, None, None, at(minutes=10)),
        (None, None, "2026-01-01T00:05:00Z", at(minutes=5)),
        ("2026-01-01T00:01:00Z", None, "2026-01-01T00:05:00Z", at(minutes=1)),
        ("2026-01-01T03:01:00Z", "2026-01-01T03:02:00Z", "2026-01-01T00:05:00Z", at(minutes=4)),
        ("2026-01-01T03:01:00Z", "2026-01-01T03:02:00Z", None, at(minutes=9)),
        ("2026-01-01T01:01:00+01:00", "2026-01-01T00:02:00", "2026-01-01T00:05:00Z", at(minutes=4)),
        ("2026-01-01T00:40:00Z", None, None, at(minutes=10)),
    ],
    ids=[
        "nothing",
        "received",
        "stated",
        "fast clock",
        "fast clock, no receiver",
        "offset and naive",
        "a little ahead",
    ],
)
def test_a_devices_clock_is_corrected(
    stated: str | None, sent_at: str | None, received_at: str | None, expected: int
) -> None:
    """ReceivedAt - (sentAt - timestamp), as far as they are known, and never after the append time."""
    times = {"timestamp": stated, "sentAt": sent_at, "receivedAt": received_at}
    event = decode(but(**times), at(minutes=10))
    assert isinstance(event, Event)
    assert event.time == expected


def test_v1_names_are_the_v2_events() -> None:
    """Old tracking plans go on working."""
    event = decode(but(event="Added Product", properties={"product_id": "p", "price": "19.90"}), START)
    assert isinstance(event, Event)
    assert event.name == "Product Added"
    assert event.fields.price == 19.9
