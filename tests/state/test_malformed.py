"""Malformed records: each gives a `Rejected` whose detail a person understands, and none raises."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from state import wire
from state.events import Event, Reason, Rejected, decode, parse_time
from state.rejections import MAX_DETAIL

NOW = parse_time("2026-01-02T12:00:00Z")


def message(**changes: Any) -> bytes:
    """Write a sound track message with some fields changed; `...` leaves one out."""
    sound = {"type": "track", "messageId": "m-1", "userId": "ann", "event": "Looked"}
    return json.dumps({k: v for k, v in (sound | changes).items() if v is not ...}).encode()


def raw(**fields: bytes) -> bytes:
    """Write a sound track message with extra fields in JSON that no encoder would write."""
    extra = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in fields.items())
    return message()[:-1] + extra + b"}"


def known(event: str, **properties: Any) -> bytes:
    """Write an event of the e-commerce vocabulary."""
    return message(event=event, properties=properties)


def added(price: bytes) -> bytes:
    """Write a product added to a cart at a price that no encoder would write."""
    return message(event="Product Added", properties=0).replace(
        b'"properties": 0', b'"properties": {"product_id": "p", "price": ' + price + b"}"
    )


NOT_JSON = [
    ("nothing", b"", "truncated"),
    ("white space", b" \n\t ", "truncated"),
    ("plain text", b"hello", "invalid character (byte 0)"),
    ("a truncated event", message()[:-7], "truncated"),
    ("two events in one record", message() + message(), "trailing characters"),
    ("a NUL after the event", message() + b"\0", "trailing characters"),
    ("a byte order mark", b"\xef\xbb\xbf" + message(), "invalid character (byte 0)"),
    ("single quotes", message().replace(b'"', b"'"), "object keys must be strings"),
    ("a trailing comma", message()[:-1] + b",}", "trailing comma"),
    ("a comment", b"/* x */" + message(), "malformed"),
    ("a NUL byte in a text that is read", message().replace(b"ann", b"a\0n"), "invalid character"),
    ("a NUL byte in a text that is not read", raw(foo=b'"a\0b"'), "invalid character"),
    ("a line break in a text", message().replace(b"ann", b"a\nn"), "invalid character"),
    ("NaN in a part that is not read", raw(foo=b"NaN"), "invalid character"),
    ("NaN in properties that stay raw", message(properties={"price": float("nan")}), "invalid character"),
    ("Infinity as a price", added(b"Infinity"), "invalid character"),
    ("a price with a leading zero", added(b"007"), "invalid number"),
    ("a bad escape in properties that stay raw", raw(properties=rb'{"a":"\x"}'), "invalid escaped character"),
    ("half a literal", raw(foo=b"tru"), "invalid character"),
]

NOT_UTF8 = [
    ("a bad byte in a text that is read", message().replace(b"ann", b"\xff"), "invalid start byte"),
    ("a bad byte in a part that is not read", raw(foo=b'"\xff"'), "invalid start byte"),
    ("a bad byte in a name", message()[:-1] + b',"\xc3(": 1}', "invalid continuation byte"),
    ("a surrogate written as UTF-8", raw(foo=b'"\xed\xa0\x80"'), "invalid continuation byte"),
    ("Latin-1", message(event="Blau").replace(b"Blau", "Grün".encode("latin-1")), "invalid"),
    ("gzip", b"\x1f\x8b\x08\x00", "invalid start byte at byte 1"),
    ("UTF-16", message().decode().encode("utf-16"), "at byte 0"),
]

WRONG_SHAPE = [
    ("an array at the top", b"[" + message() + b"]", "Expected object, got array"),
    ("a text at the top", b'"track"', "Expected object, got str"),
    ("null at the top", b"null", "Expected object, got null"),
    ("an empty object", b"{}", "missing required field type"),
    ("no type", message(type=...), "missing required field type"),
    ("an unknown type", message(type="purchase"), "type: Invalid value 'purchase'"),
    ("a type in capitals", message(type="Track"), "type: Invalid value 'Track'"),
    ("a type of null", message(type=None), "type: Expected str"),
    ("a type that is a number", message(type=1), "type: Expected str"),
    ("no messageId", message(messageId=...), "missing required field messageId"),
    ("an empty messageId", message(messageId=""), "messageId: Expected str of length >= 1"),
    ("a messageId of 101 characters", message(messageId="m" * 101), "messageId: Expected str of length <= 100"),
    ("a messageId of null", message(messageId=None), "messageId: Expected str, got null"),
    ("a messageId that is a number", message(messageId=5), "messageId: Expected str, got int"),
    ("no event", message(event=...), "missing required field event"),
    ("an empty event", message(event=""), "event: Expected str of length >= 1"),
    ("an endless event", message(event="e" * 256), "event: Expected str of length <= 255"),
    ("an event of null", message(event=None), "event: Expected str, got null"),
    ("an event that is a number", message(event=404), "event: Expected str, got int"),
    ("a userId of 256 characters", message(userId="u" * 256), "userId: Expected str of length <= 255"),
    ("a userId that is a boolean", message(userId=True), "userId: Expected int | str | null, got bool"),
    ("a userId that is a fraction", message(userId=1.5), "userId: Expected int | str | null, got float"),
    ("a userId that is an array", message(userId=["ann"]), "userId: Expected int | str | null, got array"),
    ("a userId that is an object", message(userId={"id": 1}), "userId: Expected int | str | null, got object"),
    ("an anonymousId of 1e400", raw(anonymousId=b"1e400"), "anonymousId"),
    ("an anonymousId of 400 digits", raw(anonymousId=b"1" * 400), "anonymousId: Expected int <= 9223372036854775807"),
    ("an anonymousId of 5000 digits", raw(anonymousId=b"1" * 5000), "anonymousId: Integer value out of range"),
    ("a tenant with a slash", message(tenant="a/b"), "tenant: Expected str matching regex"),
    ("a tenant with a line break at its end", message(tenant="shop\n"), "tenant: Expected str matching regex"),
    ("a tenant in capitals", message(tenant="SHOP"), "tenant: Expected str matching regex"),
    ("an empty tenant", message(tenant=""), "tenant: Expected str matching regex"),
    ("a timestamp in words", message(timestamp="yesterday"), "timestamp: Expected a time as in RFC 3339"),
    ("a day without a time", message(timestamp="2026-01-02"), "timestamp: Expected a time as in RFC 3339"),
    ("an empty timestamp", message(timestamp=""), "timestamp: Expected a time as in RFC 3339"),
    ("an American date", message(sentAt="01/02/2026 10:00:00"), "sentAt: Expected a time as in RFC 3339"),
    ("a 30th of February", message(timestamp="2026-02-30T00:00:00Z"), "timestamp: Expected a time as in RFC 3339"),
    ("a leap second", message(timestamp="2025-12-31T23:59:60Z"), "timestamp: Expected a time as in RFC 3339"),
    ("a negative year", message(timestamp="-001-01-01T00:00:00Z"), "timestamp: Expected a time as in RFC 3339"),
    ("a time as a number", message(timestamp=1_767_355_200), "timestamp: Expected datetime | null, got int"),
    ("a negative time", message(timestamp=-1), "timestamp: Expected datetime | null, got int"),
    ("a group without its id", message(type="group", event=...), "missing required field groupId"),
    ("an alias without the earlier id", message(type="alias"), "missing required field previousId"),
    ("an alias of nobody", message(type="alias", previousId=""), "previousId: an alias needs the earlier id"),
    ("two types", raw(type=b'"link"'), "type: Invalid value 'link'"),
]

WRONG_PROPERTIES = [
    ("an order without order_id", known("Order Completed", total=9), "Order Completed needs order_id"),
    ("an order with an empty order_id", known("Order Completed", order_id=""), "Order Completed needs order_id"),
    ("an order without properties", message(event="Order Completed"), "Order Completed needs order_id"),
    ("an order of null", message(event="Order Completed", properties=None), "Order Completed needs order_id"),
    ("a product without product", known("Product Added", price=1), "Product Added needs product_id"),
    ("an old name without product", known("Added Product", price=1), "Product Added needs product_id"),
    ("properties in an array", message(event="Product Added", properties=[1]), "properties: Expected object"),
    (
        "no properties, as PHP writes it",
        message(event="Product Added", properties=[]),
        "Product Added needs product_id in its properties (properties: Expected object",
    ),
    ("properties in a text", message(event="Cart Viewed", properties="{}"), "properties: Expected object"),
    ("a price that is a boolean", known("Product Added", product_id=1, price=True), "properties.price: Expected float"),
    ("a price in words", known("Product Added", product_id=1, price="free"), "properties.price: Expected float"),
    ("a price with a comma", known("Product Added", product_id=1, price="9,90"), "properties.price: Expected float"),
    ("a price with a currency", known("Product Added", product_id=1, price="$9"), "properties.price: Expected float"),
    ("a price in an array", known("Product Added", product_id=1, price=[9]), "properties.price: Expected float"),
    ("a price of nan in a text", known("Product Added", product_id=1, price="nan"), "properties.price: Expected float"),
    ("a price of inf in a text", known("Product Added", product_id=1, price="inf"), "properties.price: Expected float"),
    ("a price of -inf in a text", known("Product Added", product_id=1, price="-inf"), "properties.price: Expected"),
    ("a price of 1e400", added(b"1e400"), "properties.price: Number out of range"),
    ("a price of 1e400 in a text", added(b'"1e400"'), "properties.price: Number out of range"),
    ("a price of 10^400", added(b"1" + b"0" * 400), "properties.price: Number out of range"),
    ("a price of 10^13", added(b"1e13"), "properties.price: Expected float <= 1000000000000.0"),
    ("a product_id of 10^400", known("Product Added", product_id=10**400), "properties.product_id: Expected int <="),
    ("a product_id that is a fraction", known("Product Added", product_id=1.5), "properties.product_id: Expected int"),
    ("an order_id that is an object", known("Order Completed", order_id={"n": 1}), "properties.order_id: Expected int"),
    ("products in an object", known("Cart Viewed", products={"0": {}}), "properties.products: Expected array"),
    ("a product of null", known("Cart Viewed", products=[{}, None]), "properties.products[1]: Expected object"),
    ("a bad price deep inside", known("Cart Viewed", products=[{"price": "x"}]), "properties.products[0].price: Expec"),
    ("201 products", known("Cart Viewed", products=[{}] * 201), "properties.products: Expected array of length <= 200"),
    (
        "10000 products",
        known("Cart Viewed", products=[{}] * 10_000).replace(b"}, {", b"},{"),
        "products: Expected array of",
    ),
]

NOBODY = [
    ("no ids", message(userId=...)),
    ("an empty userId", message(userId="")),
    ("a userId of null", message(userId=None)),
    ("a userId of 0", message(userId=0)),
    ("two empty ids", message(userId="", anonymousId="")),
]

PAST, FUTURE = "before the year 2000", "more than an hour after the record was appended"
BAD_TIMES = [
    ("1970", message(timestamp="1970-01-01T00:00:00Z"), PAST),
    ("1999", message(timestamp="1999-12-31T23:59:59.999999Z"), PAST),
    ("year 1", message(timestamp="0001-01-01T00:00:00Z"), PAST),
    ("year 1, before it in UTC", message(timestamp="0001-01-01T00:00:00+14:00"), PAST),
    ("year 1 as the time of sending", message(timestamp="2026-01-02T12:00:00Z", sentAt="0001-01-01T00:00:00Z"), FUTURE),
    ("year 1, received", message(receivedAt="0001-01-01T00:00:00+14:00"), PAST),
    ("year 9999", message(timestamp="9999-12-31T23:59:59Z"), FUTURE),
    ("year 9999, after it in UTC", message(timestamp="9999-12-31T23:59:59-14:00"), FUTURE),
    ("year 9999, received", message(receivedAt="9999-12-31T23:59:59-14:00"), FUTURE),
    ("tomorrow", message(timestamp="2026-01-03T12:00:00Z"), FUTURE),
    (
        "sent ten years before it happened",
        message(timestamp="2026-01-02T12:00:00Z", sentAt="2016-01-02T12:00:00Z", receivedAt="2026-01-02T12:00:00Z"),
        FUTURE,
    ),
    (
        "sent 9998 years before it happened",
        message(timestamp="9999-01-01T00:00:00Z", sentAt="0001-01-01T00:00:00Z", receivedAt="2026-01-02T12:00:00Z"),
        FUTURE,
    ),
    (
        "sent 9998 years after it happened",
        message(timestamp="0001-01-01T00:00:00Z", sentAt="9999-01-01T00:00:00Z", receivedAt="2026-01-02T12:00:00Z"),
        PAST,
    ),
]

TOO_DEEP = [
    ("deep in properties that are read", message(event="Cart Viewed", properties=0), b"[", b"]"),
    ("deep in properties that stay raw", message(properties=0), b'{"a":', b"}"),
    ("deep in the context", message(properties=0).replace(b"properties", b"context"), b"[", b"]"),
    ("deep in a part that is not read", message(properties=0).replace(b"properties", b"foo"), b'{"a":', b"}"),
]


def nested(value: bytes, opening: bytes, closing: bytes) -> bytes:
    """Replace the 0 in a message by brackets as deep as an event has room for."""
    levels = (wire.MAX_EVENT_BYTES - len(value)) // len(opening + closing)
    return value.replace(b": 0", b": " + opening * levels + b"1" + closing * levels)


CONTROL = [
    ("a link without a visitor", {"type": "link", "userId": "u"}, "missing required field anonymousId"),
    ("a link without a user", {"type": "link", "anonymousId": "a"}, "missing required field userId"),
    ("a link to nobody", {"type": "link", "anonymousId": "a", "userId": ""}, "userId: Expected str of length >= 1"),
    (
        "a link that hops backwards",
        {"type": "link", "anonymousId": "a", "userId": "u", "hops": -1},
        "hops: Expected int",
    ),
    ("a link with a number", {"type": "link", "anonymousId": 1, "userId": "u"}, "anonymousId: Expected str, got int"),
    ("an empty forward", {"type": "forward"}, "missing required field"),
    (
        "a forward without messages",
        {"type": "forward", "anonymousId": "a", "userId": "u", "hops": 1},
        "missing required field events",
    ),
    (
        "a forward of one message",
        {"type": "forward", "anonymousId": "a", "userId": "u", "hops": 0, "events": {}},
        "events: Expected array",
    ),
    (
        "a forward of a bare message",
        {"type": "forward", "anonymousId": "a", "userId": "u", "hops": 0, "events": [{"message": {}}]},
        "events[0]: Object missing required field logTime",
    ),
    (
        "a forward from before 1970",
        {"type": "forward", "anonymousId": "a", "userId": "u", "hops": 0, "events": [{"logTime": -1, "message": {}}]},
        "events[0].logTime: Expected int >= 0",
    ),
    (
        "a model with a weight in a text",
        {"type": "model", "name": "churn", "version": "1", "schema": 1, "weights": {"recency": "nan"}},
        "weights[...]: Expected float, got str",
    ),
    (
        "a model with weights in an array",
        {"type": "model", "name": "churn", "version": "1", "schema": 1, "weights": [1.0]},
        "weights: Expected object",
    ),
    ("campaigns without a digest", {"type": "campaigns", "campaigns": []}, "missing required field digest"),
    ("campaigns without campaigns", {"type": "campaigns", "digest": "d"}, "missing required field campaigns"),
    ("a deletion of nobody", {"type": "delete", "userId": ""}, "userId: Expected str of length >= 1"),
    ("a deletion of a visitor", {"type": "delete", "anonymousId": "a"}, "missing required field userId"),
    ("control for no tenant", {"type": "delete", "userId": "u", "tenant": "*"}, "tenant: Expected str matching regex"),
]


def refused(value: bytes) -> Rejected:
    """Decode a record that must be refused."""
    rejected = decode(value, NOW)
    assert isinstance(rejected, Rejected), rejected
    return rejected


def named(cases: list[tuple[Any, ...]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrise by cases whose first element is their name."""
    values = [case[1:] for case in cases]
    return pytest.mark.parametrize("case", values, ids=[case[0] for case in cases])


def test_the_message_that_the_cases_spoil_is_sound() -> None:
    """Otherwise every case below could be refused for another reason than its own."""
    assert isinstance(decode(message(), NOW), Event)
    assert isinstance(decode(raw(foo=b"{}"), NOW), Event)
    assert isinstance(decode(added(b"9.9"), NOW), Event)


@named(NOT_JSON)
def test_what_is_not_json_is_refused(case: tuple[bytes, str]) -> None:
    """The detail says what is wrong and at which byte."""
    value, said = case
    rejected = refused(value)
    assert rejected.reason is Reason.NOT_JSON
    assert said in rejected.detail


@named(NOT_UTF8)
def test_what_is_not_utf8_is_refused_even_where_nobody_reads_it(case: tuple[bytes, str]) -> None:
    """The bytes are forwarded and shown among the dead letters: they must be text throughout."""
    value, said = case
    rejected = refused(value)
    assert rejected.reason is Reason.NOT_UTF8
    assert said in rejected.detail


@named(WRONG_SHAPE + WRONG_PROPERTIES)
def test_what_has_the_wrong_shape_is_refused_by_its_place(case: tuple[bytes, str]) -> None:
    """The detail names the field by its path in the message, as its sender knows it."""
    value, said = case
    rejected = refused(value)
    assert rejected.reason is Reason.INVALID
    assert said in rejected.detail


@named(NOBODY)
def test_what_nobody_did_is_refused(case: tuple[bytes]) -> None:
    """An event without a person belongs to no partition and no profile."""
    assert refused(case[0]) == (Reason.NO_IDENTITY, "neither userId nor anonymousId is given")


@named(BAD_TIMES)
def test_what_happened_at_an_impossible_time_is_refused(case: tuple[bytes, str]) -> None:
    """Years at the ends of the calendar must not overflow anything on the way."""
    value, said = case
    rejected = refused(value)
    assert rejected.reason is Reason.BAD_TIME
    assert said in rejected.detail


@named(TOO_DEEP)
def test_what_is_nested_too_deeply_is_refused(case: tuple[bytes, bytes, bytes]) -> None:
    """Deep nesting must exhaust no stack, wherever it is."""
    value = nested(*case)
    assert len(value) <= wire.MAX_EVENT_BYTES
    assert refused(value) == (Reason.TOO_DEEP, "nested too deeply")


def test_an_unclosed_flood_of_brackets_is_refused() -> None:
    """It is refused before anything has gone to its missing end."""
    assert refused(b"[" * wire.MAX_EVENT_BYTES).reason is Reason.INVALID
    assert refused(b'{"a":' * 5_000).reason is Reason.TOO_DEEP
    assert refused(b'{"a":' * 500_000).reason is Reason.TOO_DEEP


@named(CONTROL)
def test_a_control_record_of_the_wrong_shape_is_refused(case: tuple[dict[str, Any], str]) -> None:
    """Control records are ours, and still checked: a bug in one release must not poison the state of the next."""
    record, said = case
    rejected = refused(json.dumps(record).encode())
    assert rejected.reason is Reason.INVALID
    assert said in rejected.detail


@pytest.mark.parametrize("value", [b'{"w":NaN}', b'{"w":1e999}', b'{"w":-Infinity}'])
def test_a_model_with_a_weight_that_is_no_number_never_enters(value: bytes) -> None:
    """One NaN among the weights would silence every score from then on."""
    model = b'{"type":"model","name":"churn","version":"1","schema":1,"weights":' + value + b"}"
    assert refused(model).reason in {Reason.INVALID, Reason.NOT_JSON}


def of_size(size: int, **changes: Any) -> bytes:
    """Write an event of exactly so many bytes."""
    return message(foo="x" * (size - len(message(foo="", **changes))), **changes)


def test_an_event_of_32_kb_is_taken_and_of_one_byte_more_refused() -> None:
    """The limit is that of Segment's API."""
    assert isinstance(decode(of_size(32 * 1024), NOW), Event)
    assert refused(of_size(32 * 1024 + 1)) == (Reason.TOO_LARGE, "32769 bytes; an event has at most 32768")


def test_an_event_of_a_megabyte_is_refused() -> None:
    """It is refused for its size even though it is sound otherwise; past what any record may have, unread."""
    assert refused(of_size(1_000_000)) == (Reason.TOO_LARGE, "1000000 bytes; an event has at most 32768")
    assert refused(of_size(5_000_000)) == (Reason.TOO_LARGE, "5000000 bytes; a record has at most 4194304")


def test_a_control_record_may_be_larger_than_an_event_but_not_endless() -> None:
    """A forward carries a visitor's whole history; even so, four megabytes is the end, whatever is in them."""
    forward = {"type": "forward", "anonymousId": "a", "userId": "u", "hops": 0, "events": []}
    value = json.dumps(forward | {"events": [{"logTime": 1, "message": {"x": "y" * 1000}}] * 100}).encode()
    assert len(value) > wire.MAX_EVENT_BYTES
    assert isinstance(decode(value, NOW), wire.Forward)
    assert refused(b" " * wire.MAX_CONTROL_BYTES + value).reason is Reason.TOO_LARGE


def test_a_detail_is_short_whatever_was_sent() -> None:
    """A sender's 30 KB of nonsense as a type must not fill the logs."""
    assert len(refused(message(type="x" * 30_000)).detail) <= MAX_DETAIL


def test_of_a_name_given_twice_the_last_counts() -> None:
    """So do JavaScript and Python read it, hence the collector and the fold agree on what was sent."""
    event = decode(raw(userId=b'"bob"'), NOW)
    assert isinstance(event, Event)
    assert event.user_id == "bob"


def test_a_control_record_cannot_hide_behind_a_second_type() -> None:
    """A collector that looks at the first or at the last `type` must not be told apart from us."""
    spoken, smuggled = b'"type":"track"', b'"type":"delete"'
    rest = b',"messageId":"m","event":"e","userId":"u"'
    for first, last in ((spoken, smuggled), (smuggled, spoken)):
        assert refused(b"{" + first + rest + b"," + last + b"}").reason is Reason.INVALID


@pytest.mark.parametrize("type_", ["link", "forward", "model", "campaigns", "delete"])
def test_a_control_record_is_told_from_an_event_by_its_type_alone(type_: str) -> None:
    """Whoever writes to the log must hold back these types: nothing else in a record says that it is ours."""
    records: dict[str, dict[str, Any]] = {
        "link": {"anonymousId": "a", "userId": "u"},
        "forward": {"anonymousId": "a", "userId": "u", "hops": 0, "events": []},
        "model": {"name": "churn", "version": "1", "schema": 1, "weights": {}},
        "campaigns": {"digest": "d", "campaigns": []},
        "delete": {"userId": "u"},
    }
    disguised = records[type_] | {"type": type_, "messageId": "m", "event": "Looked", "anonymousId": "a"}
    assert isinstance(decode(json.dumps(disguised).encode(), NOW), wire.Control)
