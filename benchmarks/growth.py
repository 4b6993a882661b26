"""How one shard grows: `python -m benchmarks.growth [USERS ...]`: memory, snapshots, resuming and the cost of an event.

Each size is a process of its own. Everybody looks at a product and puts it into a cart, so each has a session, a cart and
open waits, and one place in the heap of timers. The cost of an event is CPU over 50,000 further events of Zipf's users.
"""

import gc
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from connectors import campaign_file, garbage
from operators.fold import Fold, Limits
from state.campaigns import Campaign, encode
from state.clock import MILLISECOND, to_iso
from state.records import Batch, Record
from state.shard import Shard
from state.wire import CampaignsInForce, encoder

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = Path(__file__).parent / "results"
START: Final = 1_767_225_600_000_000
BATCH, LOOKS = 2000, 50_000
SIZES: Final = (10_000, 100_000, 1_000_000, 3_000_000)
TARGETS: Final = {
    "snapshot_bytes_a_user": 300,
    "memory_bytes_a_user": 600,
    "snapshot_seconds": 0.25,
    "resume_seconds": 3,
}


def main(sizes: Iterable[int]) -> None:
    """Measure every size in a process of its own, and 50 campaigns beside those of the campaigns file; print and keep."""
    runs = [(users, 0) for users in sizes] + [(100_000, 50)]
    found = []
    for users, campaigns in runs:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(users), str(campaigns)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        print("  ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in found[-1].items()), flush=True)
    for row in found:
        if row["users"] == 1_000_000:
            for name, target in TARGETS.items():
                said = "met" if row[name] <= target else f"missed by a factor of {row[name] / target:.1f}"
                print(f"1M users: {name.replace('_', ' ')}: target {target}, {row[name]:g}: {said}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "growth.json").write_text(json.dumps(found, indent=1) + "\n")


def one(users: int, campaigns: int) -> dict[str, float]:
    """Build one shard and measure it."""
    garbage.calm()
    before = _memory()
    fold = Fold(Shard(0), Limits())
    fold.apply(Batch(0, [_in_force(campaigns)], 0))
    for number, records in enumerate(_batched(_first_events(users))):
        fold.apply(Batch(0, records, 0))
        if number % 50 == 49:  # what ten seconds bring at 10,000 events a second
            fold.shard.snapshot()
    fold.shard.snapshot()
    gc.collect()
    memory = _memory() - before
    data, pause = _timed(fold.shard.snapshot)
    batches = list(_batched(_later_events(users)))
    timers = fold.shard.timers
    began = time.process_time()
    for records in batches:
        fold.apply(Batch(0, records, 0))
    cost = (time.process_time() - began) / LOOKS * 1e6
    _, dirty_pause = _timed(fold.shard.snapshot)
    restored, resume = _timed(lambda: Fold(Shard.restore(data), Limits()))
    _, first = _timed(lambda: restored.apply(Batch(0, batches[0][:1], 0)))
    return {
        "users": users,
        "campaigns": campaigns or len(campaign_file.load(ROOT / "campaigns.yaml")),
        "timers": timers,
        "memory_bytes_a_user": round(memory / users),
        "snapshot_bytes_a_user": round(len(data) / users),
        "snapshot_seconds": round(pause, 3),
        "snapshot_seconds_after_50k_events": round(dirty_pause, 3),
        "resume_seconds": round(resume + first, 3),
        "cpu_us_an_event": round(cost, 2),
    }


def _in_force(count: int) -> Record:
    campaigns = campaign_file.load(ROOT / "campaigns.yaml")
    if count:
        others = [msgspec.structs.replace(campaigns[n % len(campaigns)], id=f"other_{n}") for n in range(count)]
        campaigns = [_about(each, n) for n, each in enumerate(others)]
    digest, body = encode(campaigns)
    value = CampaignsInForce(tenant="default", digest=digest, campaigns=msgspec.Raw(body))
    return Record("0-1", START, encoder.encode(value))


def _about(campaign: Campaign, number: int) -> Campaign:
    """Let all but the first few wait for events of their own, as a shop with many campaigns has it."""
    if number < 6:
        return campaign
    opened = tuple(msgspec.structs.replace(selector, event=f"Event {number}") for selector in campaign.opened_by)
    return msgspec.structs.replace(campaign, opened_by=opened, reset_by=opened)


def _first_events(users: int) -> Iterator[Record]:
    for number in range(users):
        now = START + number * MILLISECOND
        yield _record("Product Viewed", number, now, 0)
        yield _record("Product Added", number, now, 1)


def _later_events(users: int) -> Iterator[Record]:
    rnd = random.Random(1)
    for number in range(LOOKS):
        user = min(int(rnd.paretovariate(0.5)) - 1, users - 1)
        name = rnd.choice(("Product Viewed", "Product Viewed", "Product Added", "Products Searched"))
        yield _record(name, user, START + users * MILLISECOND + number * MILLISECOND, number + 2)


def _record(name: str, user: int, now: int, number: int) -> Record:
    return Record(f"{now // MILLISECOND}-{number}", now, message(name, user, now, number))


def message(name: str, user: int, now: int, number: int) -> bytes:
    """Write an event of some 430 bytes; `now` in microseconds is when it happened."""
    product = (user + number) % 997
    said = {
        "type": "track",
        "messageId": f"{user:08x}-{number:08x}-4b1d-9c3e-2f6a7b8c9d0e",
        "userId": f"user-{user}",
        "event": name,
        "timestamp": to_iso(now),
        "properties": {
            "product_id": f"product-{product}",
            "name": f"Product number {product}",
            "price": product + 0.95,
            "quantity": 1,
            "url": f"https://shop.example/products/{product}",
            "image_url": f"https://shop.example/images/{product}.jpg",
        },
        "context": {"library": {"name": "analytics.js", "version": "2.1.0"}, "locale": "en-GB"},
    }
    return msgspec.json.encode(said)


def _batched(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(records, BATCH)):
        yield batch


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def _memory() -> int:
    """Read how much of this process is in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main([int(size) for size in sys.argv[1:]] or SIZES)
