"""Collection by the Segment protocol: what is taken, what is refused, and how both are said."""

import base64
import gzip
import json
import zlib
from typing import Any

import pytest
import redis

from state.clock import SECOND
from state.events import Event, decode, parse_time
from tests.api.collecting import OTHER_KEY, READ_KEY, SLOW_KEY, WRITE_KEY, Collector, track

MESSAGES: dict[str, dict[str, Any]] = {
    "track": {"event": "Signed Up"},
    "identify": {"traits": {"plan": "free"}},
    "page": {"name": "Home"},
    "screen": {"name": "Home"},
    "group": {"groupId": "company"},
    "alias": {"previousId": "before"},
}


@pytest.mark.parametrize("type_", MESSAGES)
@pytest.mark.parametrize("short", [False, True], ids=["long", "short"])
def test_each_call_has_a_path_that_says_its_type(collector: Collector, type_: str, short: bool) -> None:
    """The path's type counts more than the message's own; browsers post to the short one, as text."""
    user = f"caller-{type_}-{short}"
    path = f"/v1/{type_[0] if short else type_}"
    message = {"userId": user, "messageId": f"m-{user}", "type": "track" if short else type_, **MESSAGES[type_]}
    answer = collector.post(path, message, content_type="text/plain;charset=UTF-8" if short else "application/json")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    (record,) = collector.of(user)
    assert (record["type"], record["tenant"], record["messageId"]) == (type_, "default", f"m-{user}")
    received = parse_time(record["receivedAt"])
    event = decode(json.dumps(record).encode(), received + SECOND)
    assert isinstance(event, Event)
    assert event.time == received


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/beacon/v1/batch"])
def test_a_batch_is_taken_apart_in_order(collector: Collector, path: str) -> None:
    """The time of sending is each message's, the context merges in, and a message's own counts more."""
    user = f"batched{path.replace('/', '-')}"
    batch = {
        "batch": [
            track(user, "One", messageId=user + "1"),
            track(user, "Two", messageId=user + "2", context={"app": {"version": "2"}, "ip": "own"}),
            track(user, "Three", messageId=user + "3", sentAt="2026-01-01T00:00:00Z"),
        ],
        "context": {"app": {"name": "shop", "version": "1"}, "ip": "of the batch"},
        "sentAt": "2026-01-02T00:00:00Z",
        "writeKey": WRITE_KEY,
    }
    answer = collector.post(path, batch, key=None)
    assert answer.status_code == 200, answer.text
    one, two, three = collector.of(user)
    assert [each["event"] for each in (one, two, three)] == ["One", "Two", "Three"]
    assert one["context"] == {"app": {"name": "shop", "version": "1"}, "ip": "of the batch"}
    assert two["context"] == {"app": {"name": "shop", "version": "2"}, "ip": "own"}
    assert (one["sentAt"], three["sentAt"]) == ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z")


def test_a_browsers_report_on_itself_is_taken_and_ignored(collector: Collector) -> None:
    """`/v1/m` is for Segment's own statistics."""
    before = len(collector.records())
    assert collector.post("/v1/m", {"series": [{"type": "Counter"}]}, key=None).status_code == 200
    assert len(collector.records()) == before


@pytest.mark.parametrize("place", ["basic", "query", "body"])
def test_a_write_key_may_stand_in_three_places_and_brings_its_tenant(collector: Collector, place: str) -> None:
    """And is not kept in the log."""
    user = f"keyed-{place}"
    message = track(user) | ({"writeKey": OTHER_KEY} if place == "body" else {})
    query = f"?writeKey={OTHER_KEY}" if place == "query" else ""
    answer = collector.post(f"/v1/track{query}", message, key=OTHER_KEY if place == "basic" else None)
    assert answer.status_code == 200, answer.text
    (record,) = collector.of(user)
    assert record["tenant"] == "other"
    assert "writeKey" not in record


@pytest.mark.parametrize("key", [None, "unknown-key", READ_KEY, "", "no colon é"])
def test_a_key_that_is_none_of_ours_is_refused(collector: Collector, key: str | None) -> None:
    """Also the read key: what may read must not be able to write, nor the other way round."""
    answer = collector.post("/v1/batch", {"batch": [track("nobody")]}, key=None, **({} if key is None else _basic(key)))
    assert answer.status_code == 401
    assert set(answer.json()) == {"success", "code", "message"}
    assert collector.of("nobody") == []


def _basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


@pytest.mark.parametrize("authorization", ["Basic ===", "Basic", "Bearer x", "Basic /w=="])
def test_an_authorization_that_cannot_be_read_is_none(collector: Collector, authorization: str) -> None:
    """Not a server error."""
    assert collector.post("/v1/track", track("x"), key=None, authorization=authorization).status_code == 401


def test_bad_messages_are_named_and_their_neighbours_kept(collector: Collector) -> None:
    """SDKs drop a batch that was answered by 400: what was good in it must be in the log by then."""
    batch = [
        track("good-neighbour", messageId="gn-1"),
        {"type": "track", "userId": "good-neighbour"},
        track("good-neighbour", timestamp="yesterday"),
        {"type": "click", "userId": "good-neighbour"},
        track(None),
        track("good-neighbour", "Product Added", properties={"price": 5}),
        "not a message",
        track("good-neighbour", messageId="gn-2"),
    ]
    answer = collector.post("/v1/batch", {"batch": batch})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "invalid_request"
    assert "6 of 8" in problem["message"]
    assert problem["accepted"] == 2
    named = {each["index"]: each["code"] for each in problem["errors"]}
    assert named == {1: "invalid", 2: "invalid", 3: "invalid", 4: "no_identity", 5: "invalid", 6: "invalid"}
    assert [each["messageId"] for each in collector.of("good-neighbour")] == ["gn-1", "gn-2"]


@pytest.mark.parametrize(
    "control",
    [
        {"type": "link", "anonymousId": "forged", "userId": "forged"},
        {"type": "forward", "anonymousId": "forged", "userId": "forged", "hops": 0, "events": []},
        {"type": "model", "name": "forged", "version": "1", "schema": 1, "weights": {}},
        {"type": "campaigns", "digest": "forged", "campaigns": []},
        {"type": "delete", "userId": "forged"},
        {"type": "track", "event": "X", "userId": "forged", "typ\\u0065": "delete"},
    ],
    ids=["link", "forward", "model", "campaigns", "delete", "two types"],
)
def test_our_own_records_cannot_be_forged(collector: Collector, control: dict[str, Any]) -> None:
    """Who could write them, could delete people, or take over a visitor."""
    data = json.dumps({"batch": [control]}).encode().replace(b"\\\\u0065", b"\\u0065")
    collector.post("/v1/batch", data)
    assert {each["type"] for each in collector.of("forged")} <= {"track"}
    forged = [each for each in collector.records() if each["type"] not in MESSAGES and "forged" in json.dumps(each)]
    assert forged == []


def test_a_message_cannot_choose_its_tenant_or_time_of_receipt(collector: Collector) -> None:
    """However the name is written: an escaped one is the same to a decoder."""
    data = (
        b'{"event":"E","userId":"chooser","tenant":"other","ten\\u0061nt":"other","receivedAt":"2020-01-01T00:00:00Z"}'
    )
    assert collector.post("/v1/track", data).status_code == 200
    (record,) = collector.of("chooser")
    assert record["tenant"] == "default"
    assert not record["receivedAt"].startswith("2020")


PLACEHOLDERS = ["null", "undefined", "NULL", "-1", "", " ", "0", "[object Object]", "anonymous", "NaN", "none"]
ZEROS = ["00000000-0000-0000-0000-000000000000", "0000"]


@pytest.mark.parametrize("placeholder", [*PLACEHOLDERS, *ZEROS, -1, 0, None])
def test_placeholder_ids_are_absent(collector: Collector, placeholder: str | int | None) -> None:
    """Otherwise everybody whose program failed to read an id is one customer, with everybody's cart.

    Whether or not the message needs other changes.
    """
    visitor = f"visitor-of-{placeholder!r}"
    for extra in ({}, {"messageId": visitor, "type": "track"}):
        message = {"event": "E", "userId": placeholder, "anonymousId": visitor, **extra}
        answer = collector.post("/v1/track", message)
        assert answer.status_code == 200, answer.text
    assert [each.get("userId") or None for each in collector.of(visitor)] == [None, None]
    alias = {"userId": f"aliased-{placeholder!r}", "previousId": placeholder, "messageId": "m", "type": "alias"}
    assert collector.post("/v1/alias", alias).status_code == 400
    alone = collector.post("/v1/track", {"event": "E", "userId": placeholder})
    assert (alone.status_code, alone.json()["errors"][0]["code"]) == (400, "no_identity")


@pytest.mark.parametrize("id_", ["nullable", "00A0", "-12", 7, "ann@example.com", "undefined-7"])
def test_ids_that_only_look_odd_are_ids(collector: Collector, id_: str | int) -> None:
    """A customer may be number 7."""
    assert collector.post("/v1/track", {"event": "Odd", "userId": id_}).status_code == 200
    assert id_ in [each.get("userId") for each in collector.records()]


def test_a_message_without_an_id_gets_one(collector: Collector) -> None:
    """Each its own."""
    batch = [track("unnamed"), track("unnamed", messageId=None), track("unnamed", messageId="")]
    assert collector.post("/v1/batch", {"batch": batch}).status_code == 200
    assert len({each["messageId"] for each in collector.of("unnamed")}) == 3


def test_gzip_is_taken_and_bounded(collector: Collector) -> None:
    """A bomb of a megabyte inflated is refused, however small it came; so is what ends early or is no gzip."""
    good = gzip.compress(json.dumps({"batch": [track("zipped")]}).encode())
    assert collector.post("/v1/batch", good, content_encoding="gzip").status_code == 200
    assert len(collector.of("zipped")) == 1
    bomb = gzip.compress(b'{"batch":[' + b" " * 50_000_000 + b"]}")
    assert len(bomb) < 100_000
    assert collector.post("/v1/batch", bomb, content_encoding="gzip").status_code == 413
    assert collector.post("/v1/batch", good[:-9], content_encoding="gzip").status_code == 400
    assert collector.post("/v1/batch", b"{}", content_encoding="gzip").status_code == 400
    assert collector.post("/v1/batch", zlib.compress(b"{}"), content_encoding="deflate").status_code == 415


def test_limits_are_those_of_segment(collector: Collector) -> None:
    """32 KB an event, 500 KB and 2,500 events a batch."""
    large = track("large", properties={"text": "x" * 33_000})
    assert collector.post("/v1/track", large).status_code == 413
    within = collector.post("/v1/batch", {"batch": [large, track("large", messageId="small")]})
    assert within.status_code == 400
    assert within.json()["errors"][0]["code"] == "too_large"
    assert [each["messageId"] for each in collector.of("large")] == ["small"]
    body = json.dumps({"batch": [track("large", properties={"text": "x" * 30_500})] * 17}).encode()
    assert len(body) > 500 * 1024
    assert collector.post("/v1/batch", body).status_code == 413
    most = [track("many", messageId=f"many-{number}") for number in range(2_500)]
    assert collector.post("/v1/batch", {"batch": most}).status_code == 200
    assert len(collector.of("many")) == 2_500
    assert collector.post("/v1/batch", {"batch": [*most, track("many")]}).status_code == 413


def test_nesting_is_bounded_at_a_hundred_levels(collector: Collector) -> None:
    """Whoever reads the log later must not run out of stack; brackets within texts do not count."""

    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        return track("deep", properties={"tree": value, "text": "[{" * 200})

    assert collector.post("/v1/track", nested(98)).status_code == 200
    refused = collector.post("/v1/track", nested(99))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "too_deep")
    abyss = b'{"batch":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    assert collector.post("/v1/batch", abyss).status_code == 400


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b"\xff", b'{"batch":{}}', b'{"batch":1}', b'"x"', b'{"batch":[1e999]}']
)
def test_a_body_that_is_not_a_batch_is_refused(collector: Collector, body: bytes) -> None:
    """With a sentence, not a server error."""
    answer = collector.post("/v1/batch", body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_request"


def test_a_nan_costs_its_message_alone(collector: Collector) -> None:
    """Python's libraries write NaN, which is not JSON."""
    messages = [track("sane", messageId="sane-1"), track("sane", "E", properties={"price": float("nan")})]
    answer = collector.post("/v1/batch", json.dumps({"batch": messages, "writeKey": WRITE_KEY}).encode(), key=None)
    assert (answer.status_code, answer.json()["errors"][0]["index"]) == (400, 1)
    assert [each["messageId"] for each in collector.of("sane")] == ["sane-1"]


def test_half_an_emoji_is_mended(collector: Collector) -> None:
    """Libraries cut texts in the middle of one; the rest of the message is good."""
    data = b'{"event":"E","userId":"emoji","properties":{"title":"half \\ud83d"},"messageId":"e-\\ud83d"}'
    assert collector.post("/v1/track", data).status_code == 200
    (record,) = collector.of("emoji")
    assert record["messageId"] == "e-�"


def test_another_media_type_is_refused(collector: Collector) -> None:
    """Files and the like are not for here."""
    answer = collector.post("/v1/track", track("form"), content_type="multipart/form-data")
    assert answer.status_code == 415


def test_another_method_is_refused_with_those_allowed(collector: Collector) -> None:
    """As HTTP wants it."""
    answer = collector.http.get("/v1/batch")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


def test_a_preflight_allows_what_sdks_send(collector: Collector) -> None:
    """And nothing else; the answer itself can be read by the page."""
    asked = "authorization, content-type, x-retry-count, AnonymousId, SentAt, Rsa-Initiator, X-Evil"
    answer = collector.http.options(
        "/v1/b",
        headers={
            "origin": "https://shop.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": asked,
        },
    )
    assert answer.status_code == 204
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert allowed == {"authorization", "content-type", "x-retry-count", "anonymousid", "sentat", "rsa-initiator"}
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    for content in (track("cors"), {}):
        posted = collector.post("/v1/t", content, origin="https://shop.example")
        assert posted.headers["access-control-allow-origin"] == "https://shop.example"


def test_a_key_over_its_rate_is_put_off(collector: Collector) -> None:
    """429 with whole seconds to wait; nothing of the batch is taken, and others are not held up."""
    most = {"batch": [track("slow", messageId=f"slow-{number}") for number in range(2_500)]}
    assert collector.post("/v1/batch", most, key=SLOW_KEY).status_code == 200
    answer = collector.post("/v1/batch", most, key=SLOW_KEY)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) == 1
    assert collector.post("/v1/track", track("swift")).status_code == 200
    assert len(collector.of("slow")) == 2_500


def test_a_pixel_is_an_event(collector: Collector) -> None:
    """By RudderStack's paths: dots nest, the answer is an image that nobody may cache."""
    query = f"writeKey={WRITE_KEY}&anonymousId=pixel&event=Email%20Opened&properties.campaign_id=c1&context.page.path=/"
    answer = collector.http.get(f"/pixel/v1/track?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content.startswith(b"GIF89a")
    (record,) = collector.of("pixel")
    assert (record["event"], record["properties"]) == ("Email Opened", {"campaign_id": "c1"})
    assert record["context"] == {"page": {"path": "/"}}
    assert collector.http.get(f"/pixel/v1/page?writeKey={WRITE_KEY}&userId=pixel-2").status_code == 200
    assert collector.http.get(f"/pixel/v1/identify?writeKey={WRITE_KEY}&userId=u").status_code == 404
    assert collector.http.get(f"/pixel/v1/track?writeKey={WRITE_KEY}").status_code == 400
    assert collector.http.get("/pixel/v1/track?event=E&userId=u").status_code == 401


def test_a_trace_goes_along(collector: Collector) -> None:
    """So that the trigger's span hangs below the request that caused it."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert collector.post("/v1/track", track("traced"), traceparent=parent).status_code == 200
    with redis.Redis.from_url(collector.redis_url) as client:
        entries = [e for p in range(2) for e in client.xrange(f"waxmark:events:{p}")]
    assert [f[b"traceparent"] for _, f in entries if b'"traced"' in f[b"v"]] == [parent.encode()]
