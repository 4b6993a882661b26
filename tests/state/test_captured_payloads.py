"""What real SDKs send: captured on the wire, put into the log as a collector would, and decoded."""

import datetime as dt
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from segment.analytics import Client  # type: ignore[import-untyped]

from state.events import Event, decode

CAPTURES = sorted((Path(__file__).parents[1] / "payloads").glob("*.json"))
RECEIVED = "2026-12-31T00:00:00Z"
LOG_TIME = int(dt.datetime(2026, 12, 31, tzinfo=dt.UTC).timestamp()) * 1_000_000


def collected(body: dict[str, Any]) -> list[bytes]:
    """Take a batch apart, as a collector does: each message gets the batch's sentAt, and when it was received."""
    return [
        json.dumps({**m, "sentAt": body.get("sentAt", RECEIVED), "receivedAt": RECEIVED}).encode()
        for m in body["batch"]
    ]


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_every_message_that_an_sdk_sent_is_an_event(capture: Path) -> None:
    """Null fields, fractions of seconds, zones, metadata and all."""
    requests = json.loads(capture.read_text())["requests"]
    events = [decode(value, LOG_TIME) for request in requests for value in collected(request["body"])]
    assert [event for event in events if not isinstance(event, Event)] == []
    assert {"track", "identify", "page", "screen", "group", "alias"} <= {e.type for e in events if isinstance(e, Event)}


def test_what_segments_python_library_sends_now_is_decoded_live() -> None:
    """The library itself, against a server on loopback: all six calls, ids, names and times."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"success": true}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = Client("key", host=f"http://127.0.0.1:{server.server_port}", sync_mode=True, gzip=False)
        when = dt.datetime.now(tz=dt.UTC) - dt.timedelta(hours=1)
        client.identify("ann", {"email": "ann@example.com", "since": when}, anonymous_id="phone", timestamp=when)
        client.track("ann", "Product Added", {"product_id": 7, "price": 19.9, "quantity": 1}, timestamp=when)
        client.page("ann", "shop", "home", {"url": "https://shop.example"}, timestamp=when)
        client.screen("ann", "app", "home", timestamp=when)
        client.group("ann", "family", {"size": 4}, timestamp=when)
        client.alias("phone", "ann", timestamp=when)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    events = [decode(value, LOG_TIME) for body in bodies for value in collected(body)]
    assert [event for event in events if not isinstance(event, Event)] == []
    assert [event.type for event in events if isinstance(event, Event)] == [
        "identify",
        "track",
        "page",
        "screen",
        "group",
        "alias",
    ]
    for event in events:
        assert isinstance(event, Event)
        assert event.user_id == "ann"
    assert events[1].fields.key == "7"  # type: ignore[union-attr]
    assert events[5].previous_id == "phone"  # type: ignore[union-attr]
