"""From the event that causes an email to the provider's 250: `python -m benchmarks.delivery_latency [RATE] [SECONDS]`.

Open loop: events are due at their times whatever is slow, and the time counts from when an event was due. The campaign waits a
millisecond. Personalization, delivery and the mail server are processes of their own; every email is rendered from the cart
template after a last look in Redis.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.delivery import PARTITIONS, RESULTS, Stage, stage
from connectors.redis_streams import append, connect, scan
from connectors.topics import TRIGGERS

TARGET: Final = 1.0
_CAMPAIGNS: Final = """\
campaigns:
  cart:
    template: cart-abandonment
    opened_by: [Product Added]
    wait: 1ms
    subject: cart_id
    payload: {items: cart}
"""


def main(rate: int, seconds: int) -> None:
    """Measure and print."""
    with stage(calm=True) as on:
        worker = _personalization(on)
        try:
            on.start("mail")
            on.start("delivery")
            due = _sent(on, rate, seconds)
            taken = _taken(on, due)
        finally:
            worker.terminate()
            worker.wait(30)
    if not taken:
        raise SystemExit((on.folder / "log.txt").read_text()[-2000:])
    hundredths = statistics.quantiles(taken, n=1000)
    figures: dict[str, Any] = {
        "rate": rate,
        "emails": len(taken),
        "of": len(due),
        "p50": round(hundredths[499], 3),
        "p99": round(hundredths[989], 3),
        "p99.9": round(hundredths[998], 3),
        "max": round(max(taken), 3),
    }
    for name, value in figures.items():
        print(f"{name:8} {value}")
    print(f"p99 target {TARGET} s: {'met' if figures['p99'] <= TARGET else 'missed'}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "delivery_latency.json").write_text(json.dumps(figures, indent=1) + "\n")


def _personalization(on: Stage) -> subprocess.Popen[bytes]:
    (on.folder / "campaigns.yaml").write_text(_CAMPAIGNS)
    environment = {"WAXMARK_RECOVERY": str(on.folder / "recovery")}
    return on.process("run", "personalization", "--campaigns", str(on.folder / "campaigns.yaml"), **environment)


def _sent(on: Stage, rate: int, seconds: int) -> dict[str, float]:
    """Append events at their times; return when each person's was due."""
    due: dict[str, float] = {}
    with connect(on.url) as client:
        warm = time.time() + 4
        while time.time() < warm:
            time.sleep(0.1)
        began = time.time()
        for number in range(rate * seconds):
            user_id, at = f"user-{number}", began + number / rate
            while (early := at - time.time()) > 0:
                time.sleep(early)
            due[user_id] = at
            append(
                client, PARTITIONS, user_id, _message("identify", user_id, traits={"email": f"{user_id}@example.com"})
            )
            append(client, PARTITIONS, user_id, _message("track", user_id, event="Product Added", properties=_PRODUCT))
    return due


_PRODUCT: Final = {"product_id": "p-1", "name": "Linen Shirt", "price": 48.9, "currency": "EUR", "quantity": 1}


def _message(type_: str, user_id: str, **rest: Any) -> bytes:
    return msgspec.json.encode({"type": type_, "messageId": f"{type_}-{user_id}", "userId": user_id, **rest})


def _taken(on: Stage, due: dict[str, float]) -> list[float]:
    """Wait until the mail server has had all, and say how long each took."""
    deadline = time.monotonic() + 60
    while len(on.accepted("mail")) < len(due) and time.monotonic() < deadline:
        time.sleep(0.5)
    with connect(on.url) as client:
        values = [f[b"v"] for p in range(PARTITIONS) for _, f in scan(client, TRIGGERS, p)]
    whose = {each["trigger_id"]: each["user_id"] for each in map(msgspec.json.decode, values)}
    lines = (line.split() for line in Path(on.ledger("mail")).read_text().splitlines())
    return [float(at) - due[whose[id_]] for id_, at in lines]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, int(sys.argv[2]) if len(sys.argv) > 2 else 60)
