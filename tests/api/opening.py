"""`waxmark content` as an operator starts it, for tests: a real process over a real Redis, and people who open emails."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import redis
from PIL import Image

from connectors import redis_server
from connectors.catalogue import Catalogue
from connectors.catalogue_file import Product
from connectors.redis_profiles import profile_key
from rendering.signed import Link, Purpose, Seals
from tests.api.collecting import PARTITIONS, ROOT

SECRET, OLD_SECRET = "the-secret-of-these-tests-0123456789", "the-secret-before-it-0123456789ab"
SEALS = Seals([SECRET])
EMAIL = "ann.of-the-tests@mail.example"
LATER = int(time.time()) + 3600
TRIGGER_ID = "01KDVFQ3M0ABCDEFGHJKMNPQRS"
START = "from cyclopts import App; from cli.content import content; app = App(); app.command(content); app()"


class Serving:
    """`waxmark content` in a process of its own."""

    def __init__(self, redis_url: str, folder: Path, *options: str) -> None:
        self.redis_url, self.port, self._log = redis_url, redis_server.free_port(), folder / "content.log"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        environment = os.environ | {
            "WAXMARK_REDIS": redis_url,
            "WAXMARK_PARTITIONS": str(PARTITIONS),
            "WAXMARK_CONTENT_SECRET": f"{SECRET}, {OLD_SECRET}",
        }
        command = [sys.executable, "-c", START, "content", "--port", str(self.port), "--currency", "EUR", *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                self.http.get("/healthz")
            except httpx.TransportError:
                assert self._process.poll() is None, self.log()
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log())

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=20)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text()


def put(redis_url: str, user_id: str, lines: list[dict[str, Any]], **fields: Any) -> None:
    """Write a profile, as the dataflow does."""
    with redis.Redis.from_url(redis_url) as client:
        cart = {"cart": msgspec.json.encode(lines), "email": EMAIL, "orders": 1, "consent": "not refused"}
        client.hset(profile_key("default", user_id), mapping=cart | fields)


def sell(redis_url: str, product_id: str, **fields: Any) -> None:
    """Say what the catalogue knows of a product."""
    catalogue = Catalogue(redis_url)
    catalogue.load("default", [Product(product_id, {name: str(value) for name, value in fields.items()})], 0)
    catalogue.close()


def line(product_id: str, price: float | None = 50.0, **rest: Any) -> dict[str, Any]:
    """Write a cart's line, as profiles have it."""
    common = {"name": product_id.title(), "quantity": 1.0, "url": "", "image_url": "", "variant": ""}
    return {"product_id": product_id, "price": price, **common, **rest}


def cart_token(user_id: str, *, expires: int = LATER, seals: Seals = SEALS) -> str:
    """Seal a link to somebody's cart."""
    return seals.seal(Purpose.CART, Link(expires, "default", user_id, TRIGGER_ID, 1, currency="EUR"))


def leaving_token(user_id: str, *, seals: Seals = SEALS) -> str:
    """Seal somebody's link to unsubscribe."""
    return seals.seal(Purpose.UNSUBSCRIBE, Link(0, "default", user_id, TRIGGER_ID))


def picture(response: httpx.Response) -> Image.Image:
    """Read the picture of an answer, all of it: Pillow checks both checksums."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    Image.open(io.BytesIO(response.content)).verify()
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image.convert("RGB")


def darkest(image: Image.Image) -> int:
    """How dark the darkest pixel is; 255 is blank paper."""
    return min(image.convert("L").tobytes())
