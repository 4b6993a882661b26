"""Captures what rudder-sdk-python really sends. See README.md for how to run it."""

import gzip
import importlib
import importlib.metadata
import json
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

REQUESTS: list[dict[str, Any]] = []


class Collector(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    def do_POST(self) -> None:
        """Take in a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        kept = {name.lower(): value for name, value in self.headers.items() if name not in {"Host", "Authorization"}}
        REQUESTS.append({"path": self.path, "headers": kept, "body": json.loads(body)})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def main(folder: str, out: str) -> None:
    """Send all six calls and two purchases with the library that is installed in `folder`, and write what arrives."""
    sys.path.insert(0, folder)
    library = importlib.import_module("rudderstack.analytics")
    server = HTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}"
    when = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    both: dict[str, Any] = {"user_id": "user-1", "anonymous_id": "visitor-1"}
    shoes = {"product_id": "p-12", "name": "Blue shoes", "price": 49.9, "quantity": 1}
    socks = {"product_id": 77, "name": "Wollsöckchen", "variant": 42, "price": "4.50", "quantity": 2}
    client = library.Client("test", host=host, sync_mode=True)
    client.identify(**both, traits={"email": "ann@example.com", "created_at": when})
    client.track("user-1", "Signed Up", {"plan": None})
    client.track(4711, "Product Added", {"cart_id": "c-1", **socks}, timestamp=when)
    client.track("user-1", "Order Completed", {"order_id": "o-1", "total": 58.9, "products": [shoes, socks]})
    client.page(anonymous_id="visitor-1", name="Home", category="Docs")
    client.screen(**both, name="Cart")
    client.group("user-1", "company-1", {"name": "Initech"})
    client.alias("visitor-1", "user-1")
    server.shutdown()
    version = importlib.metadata.version("rudder-sdk-python")
    captured = {"library": "rudder-sdk-python", "version": version, "requests": REQUESTS}
    Path(out).write_text(json.dumps(captured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
