"""Events: times corrected as Segment does, one form for all kinds of message, and what careless senders get away with."""

import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from state import wire
from state.clock import DAY, HOUR, MINUTE, SECOND, to_iso, to_micros
from state.commerce import Kind, Properties
from state.events import EARLIEST, FUTURE_TOLERANCE, Event, Reason, Rejected, decode, decoded, parse_time
from state.records import Record

NOW = parse_time("2026-01-02T12:00:00Z")
HAPPENED, REPEATED, SENT, RECEIVED = (NOW - n * MINUTE for n in (40, 30, 20, 5))


def message(**changes: Any) -> bytes:
    """Write a sound track message with some fields changed; `...` leaves one out."""
    sound = {"type": "track", "messageId": "m-1", "userId": "ann", "event": "Looked"}
    return json.dumps({k: v for k, v in (sound | changes).items() if v is not ...}).encode()


def taken(value: bytes, log_time: int = NOW) -> Event:
    """Decode a record that must be an event."""
    event = decode(value, log_time)
    assert isinstance(event, Event), event
    return event


def told_at(**times: str) -> int:
    """Say at what time an event with these stamps happened."""
    return taken(message(**times)).time


# fmt: off
CORRECTED = {
    # (originalTimestamp, timestamp, sentAt, receivedAt) are given: the time that follows
    (False, False, False, False): NOW,
    (False, False, False, True):  RECEIVED,
    (False, False, True,  False): NOW,
    (False, False, True,  True):  RECEIVED,
    (False, True,  False, False): REPEATED,
    (False, True,  False, True):  REPEATED,
    (False, True,  True,  False): NOW - (SENT - REPEATED),
    (False, True,  True,  True):  RECEIVED - (SENT - REPEATED),
    (True,  False, False, False): HAPPENED,
    (True,  False, False, True):  HAPPENED,
    (True,  False, True,  False): NOW - (SENT - HAPPENED),
    (True,  False, True,  True):  RECEIVED - (SENT - HAPPENED),
    (True,  True,  False, False): HAPPENED,
    (True,  True,  False, True):  HAPPENED,
    (True,  True,  True,  False): NOW - (SENT - HAPPENED),
    (True,  True,  True,  True):  RECEIVED - (SENT - HAPPENED),
}
# fmt: on
STAMPS = {"originalTimestamp": HAPPENED, "timestamp": REPEATED, "sentAt": SENT, "receivedAt": RECEIVED}


@pytest.mark.parametrize("given_", list(product([False, True], repeat=4)), ids=str)
@pytest.mark.parametrize("absent", [..., None], ids=["absent", "null"])
def test_a_time_is_corrected_by_whatever_stamps_there_are(given_: tuple[bool, bool, bool, bool], absent: Any) -> None:
    """It is receivedAt - (sentAt - originalTimestamp), with the append time for a missing receivedAt; null is absent."""
    stamps = {
        name: to_iso(at) if is_given else absent for (name, at), is_given in zip(STAMPS.items(), given_, strict=True)
    }
    assert taken(message(**stamps)).time == CORRECTED[given_]


def test_a_device_whose_clock_is_three_years_slow_is_corrected() -> None:
    """A phone that lost its battery says 2023; what counts is how long it held the event back before sending."""
    stamps = {
        "timestamp": "2023-01-02T12:00:00Z",
        "sentAt": "2023-01-02T12:04:00Z",
        "receivedAt": "2026-01-02T11:00:00Z",
    }
    assert told_at(**stamps) == parse_time("2026-01-02T10:56:00Z")


def test_a_device_whose_clock_is_a_day_fast_is_corrected() -> None:
    """Without the correction its event would be refused as one from the future."""
    stamps = {
        "timestamp": "2026-01-03T11:50:00Z",
        "sentAt": "2026-01-03T11:58:00Z",
        "receivedAt": "2026-01-02T12:00:00Z",
    }
    assert told_at(**stamps) == NOW - 8 * MINUTE


@pytest.mark.parametrize(
    "stated", ["2026-01-02T10:00:00", "2026-01-02T10:00:00Z", "2026-01-02T12:00:00+02:00", "2026-01-02T05:00:00-05:00"]
)
@pytest.mark.parametrize("sent", ["2026-01-02T10:01:00", "2026-01-02T10:01:00Z", "2026-01-02T19:01:00+09:00"])
@pytest.mark.parametrize("received", ["2026-01-02T11:00:00", "2026-01-02T11:00:00Z", "2026-01-02T10:30:00-00:30"])
def test_times_with_zones_and_times_without_mix(stated: str, sent: str, received: str) -> None:
    """A time without a zone is UTC: so mean it the libraries that omit the zone."""
    assert told_at(timestamp=stated, sentAt=sent, receivedAt=received) == parse_time("2026-01-02T10:59:00Z")


MOMENTS = st.builds(
    lambda moment, zone: moment if zone is None else moment.replace(tzinfo=timezone(timedelta(minutes=zone))),
    st.datetimes(),
    st.none() | st.integers(-14 * 60, 14 * 60),
)


@given(MOMENTS, MOMENTS, MOMENTS)
def test_the_correction_is_exact_at_any_time_in_any_zone(stated: datetime, sent: datetime, received: datetime) -> None:
    """To the microsecond, and at both ends of the calendar; the oracle counts in whole numbers only."""
    since = [to_micros(moment) for moment in (stated, sent, received)]
    expected = since[2] - (since[1] - since[0])
    value = message(timestamp=stated.isoformat(), sentAt=sent.isoformat(), receivedAt=received.isoformat())
    event = decode(value, expected)
    if expected < EARLIEST:
        assert event == (Reason.BAD_TIME, "the event time lies before the year 2000")
    else:
        assert isinstance(event, Event)
        assert event.time == expected


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("2026-01-02T10:00:00.1Z", 100_000),
        ("2026-01-02T10:00:00.123Z", 123_000),
        ("2026-01-02T10:00:00.123456Z", 123_456),
        ("2026-01-02T10:00:00.123456700Z", 123_457),
        ("2026-01-02T10:00:00.1234567Z", 123_457),
        ("2026-01-02 10:00:00Z", 0),
        ("2026-01-02t10:00:00z", 0),
        ("2026-01-02T10:00:00+0000", 0),
    ],
)
def test_times_are_read_as_libraries_write_them(written: str, micros: int) -> None:
    """JavaScript writes 3 digits, Python 6, .NET 7, Go 9; some write a space, or an offset without its colon."""
    assert told_at(timestamp=written) == parse_time("2026-01-02T10:00:00Z") + micros


@pytest.mark.parametrize("ahead", [1, SECOND, HOUR])
def test_an_event_a_little_ahead_of_its_append_time_happened_at_it(ahead: int) -> None:
    """Clocks of servers differ; nothing in the log happens after it was appended."""
    assert told_at(timestamp=_exact(NOW + ahead)) == NOW
    assert told_at(receivedAt=_exact(NOW + ahead)) == NOW


def test_an_event_more_than_an_hour_ahead_is_refused() -> None:
    """One microsecond more than what is clamped."""
    refused = decode(message(timestamp=_exact(NOW + FUTURE_TOLERANCE + 1)), NOW)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.BAD_TIME


def test_an_event_of_the_year_2000_is_taken_and_one_before_it_refused() -> None:
    """History may be imported; a clock that was never set may not."""
    assert told_at(timestamp="2000-01-01T00:00:00Z") == EARLIEST
    refused = decode(message(timestamp="1999-12-31T23:59:59.999999Z"), NOW)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.BAD_TIME


def test_history_is_imported_at_its_own_time() -> None:
    """A server-side import states a timestamp and sends nothing else; it may be years old."""
    assert told_at(timestamp="2019-05-06T07:08:09Z", receivedAt="2026-01-02T11:59:59Z") == parse_time(
        "2019-05-06T07:08:09Z"
    )


def test_the_same_record_read_later_gives_the_same_event() -> None:
    """Replay: everything follows from the record and its append time."""
    value = message(timestamp="2026-01-02T10:00:00", sentAt="2026-01-02T10:01:00Z", properties={"a": 1})
    first, second = taken(value), taken(bytes(bytearray(value)))
    assert first.time == second.time == NOW - MINUTE
    assert taken(value, NOW + DAY).time == first.time + DAY


def test_a_track_event_keeps_its_name_and_its_properties_as_sent() -> None:
    """Names outside the vocabulary are valid; their properties are nobody's business until someone asks."""
    event = taken(message(event="Quiz Taken", properties={"score": [1, {"of": None}]}))
    assert (event.type, event.name, event.kind) == ("track", "Quiz Taken", Kind.OTHER)
    assert event.mapping() == {"score": [1, {"of": None}]}
    assert event.fields == Properties()
    assert json.loads(bytes(event.raw)) == {"score": [1, {"of": None}]}


@pytest.mark.parametrize(
    ("type_", "kind", "more"),
    [
        ("identify", Kind.OTHER, {"traits": {"plan": "free"}}),
        ("group", Kind.OTHER, {"groupId": "g", "traits": {"plan": "free"}}),
        ("page", Kind.BROWSE, {"name": "Home", "properties": {"plan": "free"}}),
        ("screen", Kind.BROWSE, {"properties": {"plan": "free"}}),
    ],
)
def test_the_other_messages_are_named_by_their_type(type_: str, kind: Kind, more: dict[str, Any]) -> None:
    """Their raw mapping is the traits of those that have traits, and the properties of the others."""
    event = taken(message(type=type_, event=..., tenant="shop-1", **more))
    assert (event.type, event.name, event.kind, event.tenant) == (type_, type_, kind, "shop-1")
    assert event.mapping() == {"plan": "free"}


def test_an_alias_tells_the_earlier_id() -> None:
    """Numbers become strings, here as for every id of a person."""
    event = taken(message(type="alias", event=..., previousId=17))
    assert (event.name, event.previous_id, event.user_id, event.mapping()) == ("alias", "17", "ann", {})


@pytest.mark.parametrize(
    ("sent", "read"), [("ann", "ann"), (42, "42"), (-(2**63), str(-(2**63))), (2**63 - 1, str(2**63 - 1)), ("0", "0")]
)
def test_an_id_of_a_person_is_text(sent: str | int, read: str) -> None:
    """Segment's HTTP API takes numbers too; shops with numeric ids use them. "0" is somebody, 0 is nobody."""
    event = taken(message(userId=sent, anonymousId=sent))
    assert (event.user_id, event.anonymous_id) == (read, read)


def test_an_id_may_hold_an_escaped_nul() -> None:
    """It is a valid character of JSON and of a key; only the bare byte is not."""
    assert taken(message(userId="a\0b")).user_id == "a\0b"


@pytest.mark.parametrize("empty", ["{}", "null", "[]", ""], ids=["object", "null", "array", "absent"])
def test_nothing_is_an_empty_mapping(empty: str) -> None:
    """PHP writes an empty array where an empty object is meant, other libraries null."""
    value = message()[:-1] + f', "properties": {empty}}}'.encode() if empty else message()
    assert taken(value).mapping() == {}


@pytest.mark.parametrize(
    ("properties", "reason", "said"),
    [
        ('{"a": 1e999}', Reason.INVALID, "Number out of range"),
        ('"text"', Reason.INVALID, "Expected object"),
        ("[1]", Reason.INVALID, "Expected object, got array"),
        ("5", Reason.INVALID, "Expected object"),
    ],
)
def test_a_mapping_that_cannot_be_read_is_refused_when_it_is_read(properties: str, reason: Reason, said: str) -> None:
    """The event itself is taken: the properties of an unknown name matter only to a campaign that asks for them."""
    refused = taken(message()[:-1] + f', "properties": {properties}}}'.encode()).mapping()
    assert isinstance(refused, Rejected)
    assert refused.reason is reason
    assert said in refused.detail


@pytest.mark.parametrize("given_", [{}, {"traits": {}}, {"traits": None}, {"traits": []}], ids=str)
def test_the_traits_of_rudderstack_are_found_in_the_context(given_: dict[str, Any]) -> None:
    """Its libraries write an identify's traits there alone: without them nobody would have an address to write to."""
    event = taken(message(type="identify", event=..., context={"traits": {"email": "ann@example.com"}}, **given_))
    assert event.mapping() == {"email": "ann@example.com"}


@pytest.mark.parametrize("context", [None, "text", [], {}, {"traits": None}], ids=str)
def test_an_identify_without_traits_anywhere_has_none(context: Any) -> None:
    """Whatever stands in place of a context is no reason to refuse an identify."""
    assert taken(message(type="identify", event=..., context=context)).mapping() == {}


def test_traits_of_the_message_come_before_those_of_the_context() -> None:
    """Segment's libraries repeat in the context what was said before."""
    event = taken(message(type="identify", event=..., traits={"plan": "new"}, context={"traits": {"plan": "old"}}))
    assert event.mapping() == {"plan": "new"}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (r"cut \ud83d", "cut �"),
        (r"cut \ud83d and more", "cut � and more"),
        (r"\ude00 tail", "� tail"),
        (r"\ud83d\ud83d\ude00", "�😀"),
        (r"\ud83dA", "�A"),
        (r"\ud83d\n", "�\n"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\�"),
        (r"\uD83D\uDE00", "😀"),
    ],
)
def test_half_an_emoji_is_read_as_the_replacement_character(sent: str, read: str) -> None:
    """A title cut to 60 characters in JavaScript ends in half an emoji; it once cost the whole event, and its order."""
    order = f'{{"order_id": "o", "name": "{sent}"}}'
    value = message(event="Order Completed", properties=0).replace(
        b'"properties": 0', b'"properties": ' + order.encode()
    )
    event = taken(value)
    assert event.fields.name == read
    assert event.mapping() == {"order_id": "o", "name": read}


def test_half_an_emoji_is_mended_wherever_it_is() -> None:
    """In an id, in a part that nobody reads, and in a visitor's history."""
    assert taken(message(userId="\ud83d", page={"title": "\udc00"})).user_id == "�"
    history = [{"logTime": 1, "message": json.loads(message(properties={"title": "\ud83d"}))}]
    forward = decode(
        json.dumps({"type": "forward", "anonymousId": "a", "userId": "u", "hops": 1, "events": history}).encode(), NOW
    )
    assert isinstance(forward, wire.Forward)
    assert taken(bytes(forward.events[0].message)).mapping() == {"title": "�"}


@given(st.text(alphabet=st.characters(categories=None), max_size=40))
def test_any_text_that_a_library_can_write_is_read(text: str) -> None:
    """Lone surrogates are replaced one for one; everything else arrives as it was."""
    mapping = taken(message(properties={"text": text})).mapping()
    assert isinstance(mapping, dict)
    assert mapping["text"] == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def test_control_records_come_back_as_they_were_written() -> None:
    """What the fold appends to the log, the fold reads."""
    records: list[wire.Control] = [
        wire.Link(anonymous_id="a", user_id="u", hops=2, tenant="shop"),
        wire.Model(name="churn", version="1", schema=3, weights={"recency": -0.25}),
        wire.Delete(user_id="u"),
    ]
    for record in records:
        assert decode(wire.encoder.encode(record), NOW) == record
    forward = wire.Forward(anonymous_id="a", user_id="u", hops=1, events=[wire.Forwarded(NOW, Raw(message()))])
    read = decode(wire.encoder.encode(forward), NOW)
    assert isinstance(read, wire.Forward)
    assert [(e.log_time, bytes(e.message)) for e in read.events] == [(NOW, message())]


def _exact(micros: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1000])
def test_records_are_paired_with_what_they_say_in_their_order(count: int) -> None:
    """They are decoded some at a time; none is lost or taken twice where one stretch ends and the next begins."""
    records = [Record(f"{n}-0", NOW + n, message(messageId=f"m-{n}") if n % 7 else b"?") for n in range(count)]
    pairs = list(decoded(records))
    assert [record for record, _ in pairs] == records
    said = [seen.message_id if isinstance(seen, Event) else type(seen) for _, seen in pairs]
    assert said == [f"m-{n}" if n % 7 else Rejected for n in range(count)]
