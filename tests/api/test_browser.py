"""Segment's library in a real browser, from the click to the trigger."""

import functools
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from connectors.redis_streams import scan
from tests.api.collecting import PARTITIONS, WRITE_KEY, Collector, personalization
from tests.api.javascript import CLIENTS, INSTALLED, chromium, node

CAMPAIGNS = """
campaigns:
  cart:
    template: cart
    opened_by: [Product Added]
    reset_by: [Product Added, Product Removed]
    cancelled_by: [Order Completed]
    wait: 2s
    subject: cart_id
    payload: {items: cart}
    reentry: 1h
"""


class Page(SimpleHTTPRequestHandler):
    """The shop's own web server: its page, and the library from its maker's package."""

    def translate_path(self, path: str) -> str:
        """Find a file."""
        name = path.partition("?")[0]
        if name.startswith("/umd/"):
            return str(INSTALLED / "@segment" / "analytics-next" / "dist" / name.lstrip("/"))
        if name.startswith("/rudder/"):
            bundle = INSTALLED / "@rudderstack" / "analytics-js" / "dist" / "npm" / "modern" / "bundled" / "umd"
            return str(bundle / name.removeprefix("/rudder/"))
        return str(CLIENTS / {"/": "shop.html", "/rudder": "rudder_shop.html"}.get(name, "nothing"))

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def shop() -> Iterator[str]:
    """Serve the shop's page, on another origin than the collector's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Page)) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def triggers(url: str) -> list[dict[str, Any]]:
    """Read the triggers."""
    with redis.Redis.from_url(url) as client:
        return [
            msgspec.json.decode(fields[b"v"])
            for partition in range(PARTITIONS)
            for _, fields in scan(client, "triggers", partition)
        ]


def wait_for(url: str, count: int) -> list[dict[str, Any]]:
    """Wait for triggers."""
    end = time.monotonic() + 20
    while len(found := triggers(url)) < count:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


@pytest.fixture
def shopper() -> tuple[str, str]:
    """Node and Chromium."""
    return node(), chromium()


def test_what_was_put_into_the_cart_before_the_login_is_in_the_trigger(
    shopper: tuple[str, str], collector: Collector, tmp_path: Path
) -> None:
    """View, add to cart, log in, leave; then somebody else on the same device, who inherits nothing.

    The library is told of our host alone: it fetches its settings there, asks leave (CORS), and posts as text.
    """
    program, browser = shopper
    campaigns = tmp_path / "campaigns.yaml"
    campaigns.write_text(CAMPAIGNS)
    with shop() as page, personalization(collector.redis_url, tmp_path, campaigns):
        command = [program, "shopper.mjs", browser, page, collector.url, WRITE_KEY, "browser-ann", "browser-ben"]
        done = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["wrong"] == []
        assert f"200 GET /v1/projects/{WRITE_KEY}/settings" in said["asked"]
        found = wait_for(collector.redis_url, 1)
    (trigger,) = found
    assert (trigger["user_id"], trigger["email"]) == ("browser-ann", "browser-ann@example.com")
    (item,) = trigger["payload"]["items"]
    assert (item["product_id"], item["price"], item["quantity"]) == ("p-12", 49.9, 1)
    with redis.Redis.from_url(collector.redis_url, decode_responses=True) as client:
        ann: Any = client.hgetall("profile:default:browser-ann")
        ben: Any = client.hgetall("profile:default:browser-ben")
    assert json.loads(ann["cart"])[0]["name"] == "Blue shoes"
    assert (ann["email"], ann["cart_items"]) == ("browser-ann@example.com", "1")
    assert (ben["email"], ben["cart_items"]) == ("browser-ben@example.com", "0")


def test_rudderstacks_library_loads_against_us_alone(shopper: tuple[str, str], collector: Collector) -> None:
    """It fetches its source's configuration, asks leave for its own headers, and posts; also by beacon, as pages close."""
    program, browser = shopper
    with shop() as page:
        command = [program, "rudder_shopper.mjs", browser, page, collector.url, WRITE_KEY, "rudder-ann"]
        done = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["wrong"] == []
    assert "200 GET /sourceConfig/" in said["asked"]
    assert {line for line in said["asked"] if not line.startswith("20")} == set()
    assert said["asked"].count("200 POST /v1/track") == 1, "what was added last went by beacon"
    mine = [record for record in collector.records() if "rudder-ann" in json.dumps(record)]
    (identify,) = [record for record in mine if record["type"] == "identify"]
    visitor = identify["anonymousId"]
    assert [r["event"] for r in collector.records() if r.get("anonymousId") == visitor and r["type"] == "track"] == [
        "Product Added",
        "Product Added",
    ]
