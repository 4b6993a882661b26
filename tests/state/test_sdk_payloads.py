"""What real libraries send, taken apart as a collector does, is understood: Segment's for Python live, others captured."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from segment.analytics import request as segment_requests  # type: ignore[import-untyped]  # ships no types
from segment.analytics.client import Client  # type: ignore[import-untyped]  # ships no types

from state.clock import MILLISECOND, SECOND, to_iso, to_micros
from state.commerce import Kind
from state.events import Event, Reason, Rejected, decode, parse_time

PAYLOADS = Path(__file__).parents[1] / "payloads"
ALL_TYPES = {"identify", "track", "page", "screen", "group", "alias"}


class Plan(Enum):
    """A value that the library has to write as text."""

    FREE = "free"


class Collector(BaseHTTPRequestHandler):
    """Keeps the batches that are posted to its server."""

    def do_POST(self) -> None:
        """Take in a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        batches: list[dict[str, Any]] = self.server.batches  # type: ignore[attr-defined]  # set where it is started
        batches.append(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def collector() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a server on loopback; gives its address and the batches that it gets."""
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        server.batches = []  # type: ignore[attr-defined]  # read by the handler
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.batches  # type: ignore[attr-defined]  # set above
        finally:
            server.shutdown()
            thread.join()
            segment_requests._session.close()  # noqa: SLF001 - the library never closes its one session


def stamped(batch: dict[str, Any], received: int) -> Iterator[bytes]:
    """Take a batch apart as a collector does: the time of sending belongs to each message, and so does its receipt."""
    for item in batch["batch"]:
        yield json.dumps({"sentAt": batch["sentAt"], **item, "receivedAt": to_iso(received)}).encode()


def understood(batches: list[dict[str, Any]], received: int) -> list[Event]:
    """Decode all messages of batches that were received at a time; every one must be an event."""
    decoded = [decode(value, received + SECOND) for batch in batches for value in stamped(batch, received)]
    assert decoded, "nothing was sent"
    assert [event for event in decoded if not isinstance(event, Event)] == []
    return [event for event in decoded if isinstance(event, Event)]


@pytest.fixture(params=[False, True], ids=["plain", "gzip"])
def sent(request: pytest.FixtureRequest) -> tuple[datetime, list[Event]]:
    """What Segment's Python library sends when it is asked for all that it can do, and when that happened."""
    now = datetime.now(tz=UTC)
    when = now - timedelta(hours=3)
    naive = when.replace(tzinfo=None)
    with collector() as (host, batches):
        client = Client("key", host=host, sync_mode=True, gzip=request.param, max_retries=0)
        client.identify("ann", {"email": "ann@example.com", "since": when, "born": naive.date()}, anonymous_id="phone")
        client.track(4711, "Signed Up", {"plan": Plan.FREE, "tags": {"a"}, "fee": Decimal("1.50")}, timestamp=when)
        client.track("ann", "Product Added", {"product_id": 7, "price": "19.90", "seen": when}, timestamp=naive)
        client.track("ann", "Order Completed", {"order_id": 1, "total": 19.9, "products": [{"product_id": 7}]})
        client.page(anonymous_id="phone", category="docs", name="home", properties={"url": "https://shop.example"})
        client.screen("ann", name="home", message_id=99)
        client.group("ann", 12, {"name": "Initech"})
        client.alias("phone", "ann", timestamp=when)
    return when, understood(batches, to_micros(datetime.now(tz=UTC)))


def test_segments_python_library_is_understood(sent: tuple[datetime, list[Event]]) -> None:
    """All six calls: absent ids arrive as null, numbers as text, every message with its type, name and mapping."""
    _, events = sent
    assert [(e.type, e.name, e.kind, e.user_id, e.anonymous_id) for e in events] == [
        ("identify", "identify", Kind.OTHER, "ann", "phone"),
        ("track", "Signed Up", Kind.OTHER, "4711", ""),
        ("track", "Product Added", Kind.CART, "ann", ""),
        ("track", "Order Completed", Kind.ORDER, "ann", ""),
        ("page", "page", Kind.BROWSE, "", "phone"),
        ("screen", "screen", Kind.BROWSE, "ann", ""),
        ("group", "group", Kind.OTHER, "ann", ""),
        ("alias", "alias", Kind.OTHER, "ann", ""),
    ]
    when, mapping = sent[0], events[0].mapping()
    assert isinstance(mapping, dict)
    assert mapping["since"] == when.isoformat()
    assert events[1].mapping() == {"plan": "free", "tags": ["a"], "fee": 1.5}
    assert (events[2].fields.key, events[2].fields.price) == ("7", 19.9)
    assert (events[3].fields.order_id, [p.key for p in events[3].fields.products]) == (1, ["7"])
    assert events[4].mapping() == {"url": "https://shop.example"}
    assert events[5].message_id == "99"
    assert events[6].mapping() == {"name": "Initech"}
    assert events[7].previous_id == "phone"


def test_the_times_of_segments_python_library_are_corrected(sent: tuple[datetime, list[Event]]) -> None:
    """It states milliseconds and sends at once, so an event lies where it was stated, give or take the way here."""
    when, events = sent
    stated, now = to_micros(when), to_micros(datetime.now(tz=UTC))
    for event in (events[1], events[2], events[7]):
        assert stated - MILLISECOND <= event.time <= stated + 30 * SECOND
    for event in (events[0], events[3], events[4], events[5], events[6]):
        assert now - 30 * SECOND <= event.time <= now


def test_a_batch_of_segments_python_library_has_one_time_of_sending() -> None:
    """As it works in production: in the background, many messages a request, ids of its own making."""
    with collector() as (host, batches):
        client = Client("key", host=host, upload_interval=0.1, max_retries=0)
        for number in range(20):
            client.track("ann", "Product Viewed", {"product_id": number})
        client.flush()
        client.join()
    events = understood(batches, to_micros(datetime.now(tz=UTC)))
    assert len(batches) < len(events) == 20
    assert len({event.message_id for event in events}) == 20
    assert [event.fields.key for event in events] == [str(number) for number in range(20)]


def test_a_nan_of_segments_python_library_costs_its_message_alone() -> None:
    """Python writes NaN, which is not JSON; a collector that keeps the bytes of each message apart loses only this one."""
    with collector() as (host, batches):
        client = Client("key", host=host, sync_mode=True, max_retries=0)
        client.track("ann", "Product Added", {"product_id": 7, "price": float("nan")})
    (value,) = stamped(batches[0], to_micros(datetime.now(tz=UTC)))
    refused = decode(value, to_micros(datetime.now(tz=UTC)))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.NOT_JSON


def captured(name: str) -> list[Event]:
    """Decode what was captured of a library, received a moment after it was sent."""
    capture = json.loads((PAYLOADS / name).read_text(encoding="utf-8"))
    batches = [request["body"] for request in capture["requests"]]
    return understood(batches, max(parse_time(batch["sentAt"]) for batch in batches))


@pytest.mark.parametrize("name", [path.name for path in sorted(PAYLOADS.glob("*.json"))])
def test_every_message_of_a_captured_library_is_an_event(name: str) -> None:
    """All six calls; nulls, `_metadata`, `integrations`, `channel` and whatever else are passed over."""
    events = captured(name)
    assert {event.type for event in events} == ALL_TYPES
    assert len({event.message_id for event in events}) == len(events)
    assert all(isinstance(event.mapping(), dict) for event in events)


def test_segments_node_library_is_understood() -> None:
    """Its prices in texts and numeric product ids, its absent values, and half an emoji in a part that nobody reads."""
    events = captured("segment_analytics_node_3.1.0.json")
    by_name = {event.name: event for event in events}
    traits = events[0].mapping()
    assert isinstance(traits, dict)
    assert traits["email"] == "ann@example.com"
    order = by_name["Order Completed"]
    assert (order.fields.order_id, order.fields.amount) == ("o-1", 58.9)
    assert [(p.key, p.price, p.quantity) for p in order.fields.products] == [("p-12", 49.9, 1.0), ("77", 4.5, 2.0)]
    assert (by_name["alias"].previous_id, by_name["alias"].user_id) == ("visitor-1", "user-1")
    assert (by_name["Bare"].user_id, by_name["Bare"].anonymous_id) == ("", "visitor-1")
    assert by_name["Product Removed"].fields.cart_id == "c-1"


def test_a_time_stated_to_segments_node_library_is_kept() -> None:
    """A purchase of months ago, imported today with an offset of its own."""
    order = next(event for event in captured("segment_analytics_node_3.1.0.json") if event.kind is Kind.ORDER)
    stated = parse_time("2026-01-02T03:04:05+02:00")
    assert stated <= order.time <= stated + SECOND


def test_rudderstacks_python_library_is_understood() -> None:
    """Traits in the context alone, a variant that is a number, times in microseconds with an offset."""
    events = captured("rudder_sdk_python_2.1.9.json")
    by_name = {event.name: event for event in events}
    traits = by_name["identify"].mapping()
    assert isinstance(traits, dict)
    assert traits["email"] == "ann@example.com"
    added = by_name["Product Added"]
    assert (added.user_id, added.fields.key, added.fields.variant, added.fields.price) == ("4711", "77", "42", 4.5)
    assert by_name["Order Completed"].fields.products[1].variant == "42"
    assert by_name["alias"].previous_id == "visitor-1"
