"""A collector as an operator starts it, for tests: a real process over a real Redis."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import redis
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors import redis_server
from connectors.redis_streams import scan
from connectors.scrape import exposition_sum, fetch
from connectors.topics import EVENTS

ROOT = Path(__file__).parents[2]
PARTITIONS = 2
WRITE_KEY = "write-key-of-the-shop"
SLOW_KEY = "write-key-of-the-slow"
OTHER_KEY = "write-key-of-another-tenant"
READ_KEY = "read-key-of-the-esp"
ERASE_KEY = "read-key-that-erases"
READER = {"authorization": f"Bearer {READ_KEY}"}
ERASER = {"authorization": f"Bearer {ERASE_KEY}"}

SENDGRID = ec.generate_private_key(ec.SECP256R1())
SENDGRID_KEY = base64.b64encode(
    SENDGRID.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
SENDGRID_PUBLISHED = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqI"
    "M8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
"""The public key of the example that SendGrid publishes with its libraries."""

KEYS = f"""
sources:
  - {{name: shop, write_key: {WRITE_KEY}}}
  - {{name: slow, write_key: {SLOW_KEY}, events_per_second: 2500, burst: 2500}}
  - {{name: held-up-segment, write_key: held-up-segment, events_per_second: 10}}
  - {{name: held-up-rudderstack, write_key: held-up-rudderstack, events_per_second: 10}}
  - {{name: held-up-node-segment, write_key: held-up-node-segment, events_per_second: 3}}
  - {{name: held-up-node-rudderstack, write_key: held-up-node-rudderstack, events_per_second: 3}}
  - {{name: other, tenant: other, write_key: "${{OTHER_KEY}}"}}
readers:
  - {{name: esp, read_key: {READ_KEY}}}
  - {{name: office, read_key: {ERASE_KEY}, may_delete: true}}
webhooks:
  - {{name: shopify, scheme: shopify, secret: shopify-secret}}
  - {{name: stripe, scheme: stripe, secret: whsec-of-stripe}}
  - {{name: sendgrid, scheme: sendgrid, secret: "{SENDGRID_KEY}"}}
  - {{name: published, scheme: sendgrid, secret: "{SENDGRID_PUBLISHED}"}}
  - {{name: crm, scheme: hmac, secret: crm-secret, header: X-Crm-Signature, prefix: "sha256=", mapping: crm.yaml}}
  - {{name: esp, scheme: token, secret: esp-secret, header: Authorization, prefix: "Bearer ", mapping: esp.yaml}}
"""

CRM = """
# A CRM's own webhook, mapped without code.
items: body.changes
id: body.change_id
user_id: body.contact.number
time: body.changed_ms
messages:
  - when: body.kind == 'contact'
    type: identify
    traits:
      email: body.contact.mail
      tier: body.contact.tier
  - when: body.kind == 'note' && starts_with(body.text, 'call')
    event: Called
    properties:
      text: body.text
"""

ESP = """
id: body.uuid
email: body.recipient
time: body.at
messages:
  - {when: "body.what == 'delivered'", event: Email Delivered, properties: {email: body.recipient}}
  - {when: "body.what == 'opened'", event: Email Opened, properties: {email: body.recipient}}
  - {when: "body.what == 'clicked'", event: Email Link Clicked, properties: {email: body.recipient, link_url: body.link}}
  - {when: "body.what == 'bounced'", event: Email Bounced, properties: {email: body.recipient}}
  - {when: "body.what == 'complained'", event: Email Marked as Spam, properties: {email: body.recipient}}
  - {when: "body.what == 'unsubscribed'", event: Unsubscribed, properties: {email: body.recipient}}
"""


class Collector:
    """`waxmark collect` in a process of its own."""

    def __init__(self, redis_url: str, folder: Path, keys: str = KEYS, **environment: str) -> None:
        self.redis_url, self.folder, self.port = redis_url, folder, redis_server.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._metrics_port = redis_server.free_port()
        self._keys, self._log = folder / "keys.yaml", folder / "collect.log"
        self._keys.write_text(keys)
        (folder / "crm.yaml").write_text(CRM)
        (folder / "esp.yaml").write_text(ESP)
        self._environment = os.environ | {
            "WAXMARK_REDIS": redis_url,
            "WAXMARK_PARTITIONS": str(PARTITIONS),
            "OTHER_KEY": OTHER_KEY,
            "WAXMARK_METRICS_PORT": str(self._metrics_port),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=10)

    def start(self) -> "Collector":
        """Start, and wait until it listens."""
        command = [sys.executable, "-c", "from cli.main import main; main()", "collect", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--keys", str(self._keys)], env=self._environment, cwd=ROOT, stdout=log, stderr=log
            )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                self.http.get("/healthz")
            except httpx.TransportError:
                assert self._process.poll() is None, self.log()
                time.sleep(0.05)
            else:
                return self
        raise AssertionError(self.log())

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=20)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    def post(self, path: str, content: Any, key: str | None = WRITE_KEY, **headers: str) -> httpx.Response:
        """Post JSON, with a write key as Basic authorization."""
        auth = httpx.USE_CLIENT_DEFAULT if key is None else httpx.BasicAuth(key, "")
        data = content if isinstance(content, bytes) else msgspec.json.encode(content)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=data, auth=auth, headers={"content-type": "application/json"} | named)

    def answered(self, status: int) -> int:
        """How many requests were answered by a status so far."""
        text = fetch("127.0.0.1", self._metrics_port)
        return int(exposition_sum(text, "waxmark_collect_answers_total", status=str(status)))

    def drain(self, key: str) -> None:
        """Send by a key until its rate is used up."""
        most = {"batch": [track("drain", messageId=f"drain-{key}-{number}") for number in range(2_500)]}
        while self.post("/v1/batch", most, key=key).status_code == 200:
            pass
        while self.post("/v1/track", track("drain"), key=key).status_code == 200:
            pass

    def records(self) -> list[dict[str, Any]]:
        """All that is in the log."""
        return records(self.redis_url)

    def of(self, person: str) -> list[dict[str, Any]]:
        """What is in the log of a person."""
        return [each for each in self.records() if person in {each.get("userId"), each.get("anonymousId")}]


def records(redis_url: str) -> list[dict[str, Any]]:
    """All that is in a log."""
    with redis.Redis.from_url(redis_url) as client:
        return [
            msgspec.json.decode(fields[b"v"])
            for partition in range(PARTITIONS)
            for _, fields in scan(client, EVENTS, partition)
        ]


def track(user: str | None = "ann", event: str = "Signed Up", **rest: Any) -> dict[str, Any]:
    """Write a track message."""
    return {"type": "track", "event": event, **({"userId": user} if user else {}), **rest}


@contextmanager
def personalization(redis_url: str, folder: Path, campaigns: Path) -> Iterator[None]:
    """Run the dataflow over the collector's log, and stop it gracefully."""
    environment = os.environ | {
        "WAXMARK_REDIS": redis_url,
        "WAXMARK_PARTITIONS": str(PARTITIONS),
        "WAXMARK_RECOVERY": str(folder / "recovery"),
        "WAXMARK_SNAPSHOT_SECONDS": "0.5",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", "personalization"]
    log = folder / "personalization.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*command, "--campaigns", str(campaigns)], env=environment, cwd=ROOT, stdout=file, stderr=file
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
