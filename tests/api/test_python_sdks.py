"""Segment's and RudderStack's libraries for Python, as they come: what they send, and what they hear of errors."""

import gzip
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rudderstack.analytics import client as rudder  # type: ignore[import-untyped]  # ships no types
from rudderstack.analytics import request as rudder_requests
from segment.analytics import client as segment  # type: ignore[import-untyped]  # same
from segment.analytics import request as segment_requests

from state.clock import SECOND
from state.events import Event, decode, parse_time
from tests.api.collecting import WRITE_KEY, Collector

LIBRARIES = {"segment": segment.Client, "rudderstack": rudder.Client}


@pytest.fixture(autouse=True)
def sessions() -> Iterator[None]:
    """The libraries never close their one session."""
    yield
    for library in (segment_requests, rudder_requests):
        library._session.close()  # noqa: SLF001 - it is theirs to close


class Heard:
    """What a library's error callback heard."""

    def __init__(self) -> None:
        self.errors: list[Any] = []
        self.messages: list[dict[str, Any]] = []

    def __call__(self, error: Exception, batch: list[dict[str, Any]]) -> None:
        """Note it."""
        self.errors.append(error)
        self.messages += batch


def client(library: str, collector: Collector, key: str = WRITE_KEY, **options: Any) -> tuple[Any, Heard]:
    """Open a library's client, unmodified, at the collector."""
    heard = Heard()
    opened = LIBRARIES[library](key, host=collector.url, on_error=heard, upload_interval=0.1, **options)
    return opened, heard


def close(opened: Any) -> None:
    """Send what waits, and end the library's threads."""
    opened.flush()
    opened.join()


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_all_six_calls_arrive(collector: Collector, library: str, zipped: bool) -> None:
    """And are events to the fold, corrected by the time of sending and of receipt."""
    user, visitor = f"{library}-{zipped}", f"{library}-{zipped}-visitor"
    opened, heard = client(library, collector, gzip=zipped)
    opened.identify(user, {"email": f"{user}@example.com"}, anonymous_id=visitor)
    opened.track(user, "Product Added", {"product_id": 7, "price": "19.90"})
    opened.page(anonymous_id=visitor, name="Home")
    opened.screen(user, name="Home")
    opened.group(user, "company")
    opened.alias(visitor, user)
    close(opened)
    assert heard.errors == []
    found = collector.of(user) + [r for r in collector.of(visitor) if "userId" not in r or r["userId"] is None]
    assert {each["type"] for each in found} == {"identify", "track", "page", "screen", "group", "alias"}
    for record in found:
        received = parse_time(record["receivedAt"])
        event = decode(json.dumps(record).encode(), received + SECOND)
        assert isinstance(event, Event)
        assert received - 5 * SECOND <= event.time <= received


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_bad_message_is_heard_of_as_400_and_its_neighbours_arrive(collector: Collector, library: str) -> None:
    """Once: the library does not send again what can never be taken."""
    user = f"{library}-400"
    opened, heard = client(library, collector)
    opened.track(user, "Good")
    opened.track(user, "Product Added", {"price": 5})
    close(opened)
    (error,) = heard.errors
    assert (error.status, error.code) == (400, "invalid_request")
    assert "product_id" in error.message
    assert [each["event"] for each in collector.of(user)] == ["Good"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_unknown_key_is_heard_of_as_401(collector: Collector, library: str) -> None:
    """With a code and a sentence: on any other shape the library would fail over its own error."""
    opened, heard = client(library, collector, "no-such-key")
    opened.track(f"{library}-401", "E")
    close(opened)
    (error,) = heard.errors
    assert (error.status, error.code, error.message) == (401, "unauthorized", "unknown write key")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_batch_that_is_too_large_is_heard_of_as_413(collector: Collector, library: str) -> None:
    """RudderStack's library allows 4 MB an event; Segment's counts what it sends zipped or not."""
    opened, heard = client(library, collector, upload_size=40)
    for consumer in opened.consumers:
        consumer.upload_interval = 0.5
    for number in range(30):
        opened.track(f"{library}-413", "E", {"text": "x" * 20_000, "number": number})
    close(opened)
    if library == "segment":  # it splits at 475 KB by itself
        assert heard.errors == []
        assert len(collector.of("segment-413")) == 30
    else:
        assert {(error.status, error.code) for error in heard.errors} == {(413, "payload_too_large")}


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_put_off_by_429_comes_again_and_arrives_once(collector: Collector, library: str) -> None:
    """The library waits as it was told, and loses nothing."""
    user, key = f"{library}-429", f"held-up-{library}"
    opened, heard = client(library, collector, key)
    collector.drain(key)
    before = collector.answered(429)
    for number in range(20):
        opened.track(user, "E", {"number": number}, message_id=f"{user}-{number}")
    close(opened)
    assert collector.answered(429) > before
    assert heard.errors == []
    assert sorted(each["properties"]["number"] for each in collector.of(user)) == list(range(20))


def test_segments_library_reads_our_answer_to_a_broken_body(collector: Collector) -> None:
    """What a proxy may do to a body on its way."""
    answer = collector.post("/v1/batch", gzip.compress(b"{}"))
    assert answer.status_code == 400
    assert {"code", "message"} <= set(answer.json())


def test_many_threads_of_a_library_at_once(collector: Collector) -> None:
    """What they send is all there, each message once."""
    clients = [client("segment", collector)[0] for _ in range(4)]

    def send(number: int) -> None:
        for count in range(100):
            clients[number].track(f"threads-{number}", "E", {"count": count})
        close(clients[number])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert sorted(each["properties"]["count"] for each in collector.of(f"threads-{number}")) == list(range(100))
