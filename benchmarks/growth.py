"""How one shard grows: `python -m benchmarks.growth [USERS ...]`: memory, journal, snapshots, resuming, the cost of an event.

Each size is a process of its own. Over a day everybody looks at a product and puts it into a cart, so each has a cart, open
waits, and a place in the heap of timers; two idle hours let the journal's round end. Then half a million events of Zipf's users
follow at 10,000 a second, with a snapshot every ten seconds, written by the product's own journal to the disk.
"""

import gc
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.document import put, table
from benchmarks.zipf import drawn
from connectors import campaign_file, garbage
from connectors.claim import Claim
from connectors.journal import ShardJournal
from operators.fold import Fold, Limits
from state.campaigns import Campaign, encode
from state.clock import DAY, MILLISECOND, SECOND, to_iso
from state.packing import learned
from state.records import Batch, Record
from state.rounds import ROUND
from state.shard import Shard
from state.wire import CampaignsInForce, encoder

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = Path(__file__).parent / "results" / "growth.json"
START: Final = 1_767_225_600_000_000
BATCH, LOOKS, EPOCH = 2000, 500_000, 100_000
SIZES: Final = (10_000, 100_000, 1_000_000, 3_000_000)
COLUMNS: Final = {
    "users": "users",
    "timers": "timers",
    "campaigns": "campaigns",
    "memory, B a user": "memory_bytes_a_user",
    "snapshot, B a user": "snapshot_bytes_a_user",
    "journal, B a user": "journal_bytes_a_user",
    "written, B an event": "written_bytes_an_event",
    "longest pause, s": "pause_seconds",
    "snapshots' share of CPU": "snapshot_share",
    "resume, s": "resume_seconds",
    "CPU, us an event": "cpu_us_an_event",
}
TARGETS: Final = {
    "snapshot_bytes_a_user": 300,
    "memory_bytes_a_user": 600,
    "pause_seconds": 0.25,
    "snapshot_share": 0.05,
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
    found = _kept(found)
    judged = _judged(found)
    print("\n".join(judged))
    rows = [[f"{row[name]:,}" for name in COLUMNS.values()] for row in found]
    put("growth", [*table(" | ".join(COLUMNS), rows), "", *(f"- {line}" for line in judged)])


def _kept(found: list[dict[str, float]]) -> list[dict[str, float]]:
    """Put rows in the place of those of their size, and return all that there are."""
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = {(row["campaigns"], row["users"]): row for row in (*before, *found)}
    ordered = [rows[size] for size in sorted(rows)]
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    return ordered


def _judged(found: list[dict[str, float]]) -> list[str]:
    """Say of each target whether a million users meet it, and how much more an event costs than with ten thousand timers."""
    said = []
    for row in found:
        if row["users"] == 1_000_000:
            for name, target in TARGETS.items():
                verdict = "met" if row[name] <= target else f"missed by a factor of {row[name] / target:.1f}"
                said.append(f"1M users: {name.replace('_', ' ')}: target {target}, {row[name]:g}: {verdict}")
    costs = {row["users"]: row["cpu_us_an_event"] for row in found if row["campaigns"] < 50}
    if {10_000, 1_000_000} <= costs.keys():
        more = costs[1_000_000] / costs[10_000] - 1
        said.append(f"1M timers: an event costs {more:+.0%}: target +5%: {'met' if more <= 0.05 else 'missed'}")
    return said


class Journaled:
    """A fold whose shard is written down as the hosted one is, and what that takes.

    A pause is what a snapshot takes, or what is done towards it after a batch. Dictionaries are learned beside the worker;
    here that is waited for, and counts as CPU alone.
    """

    def __init__(self, fold: Fold, folder: Path) -> None:
        self._beside = ThreadPoolExecutor(1)
        self.fold = fold
        self._journal = ShardJournal(folder, Claim.take(folder, 0, "growth"), self._beside, None)
        self.state, self._since = b"", 0
        self.forget()

    def forget(self) -> None:
        """Measure anew."""
        self.events_cpu = self.journal_cpu = self.longest_pause = 0.0
        self.bytes_written = 0

    def take(self, records: list[Record]) -> None:
        """Fold a batch in, at whose end the log has been read; every hundred thousand events, a snapshot."""
        began = time.process_time()
        self.fold.apply(Batch(0, records, 0))
        self.events_cpu += time.process_time() - began
        with self._pause():
            chunk = self.fold.shard.settle(is_at_end=True)
            if chunk is not None:
                self._journal.add(0, chunk)
                self.bytes_written += len(chunk)
        self._since += len(records)
        if self._since >= EPOCH:
            self.snapshot()

    def snapshot(self) -> None:
        """Take one."""
        with self._pause():
            changes = self.fold.shard.changes()
            self.state = self._journal.write(changes)
        self._since, self.bytes_written = 0, self.bytes_written + len(changes.chunk or b"")
        began = time.process_time()
        if changes.samples and (dictionary := learned(changes.samples)) is not None:
            self.fold.shard.learn(dictionary)
        self.journal_cpu += time.process_time() - began

    @contextmanager
    def _pause(self) -> Iterator[None]:
        began, busy = time.perf_counter(), time.process_time()
        yield
        self.longest_pause = max(self.longest_pause, time.perf_counter() - began)
        self.journal_cpu += time.process_time() - busy

    @property
    def size(self) -> int:
        """Say what the journal takes on the disk."""
        return self._journal.size


def one(users: int, campaigns: int, folder: Path) -> dict[str, float]:
    """Build one shard and measure it."""
    garbage.calm()
    before = _memory()
    shop = Journaled(Fold(Shard(0), Limits()), folder)
    shop.take([_in_force(campaigns)])
    for records in _batched(_first_events(users)):
        shop.take(records)
    for _ in range(2 * ROUND):  # two idle hours
        shop.snapshot()
    garbage.give_back()  # as the product does when a round ends
    gc.collect()
    memory, size, timers = _memory() - before, shop.size, shop.fold.shard.timers
    batches = list(_batched(_later_events(users)))
    shop.forget()
    for records in batches:
        shop.take(records)
    shop.snapshot()
    restored, resume = _timed(lambda: _restored(folder, shop.state))
    _, first = _timed(lambda: restored.apply(Batch(0, batches[0][:1], 0)))
    return {
        "users": users,
        "campaigns": campaigns or len(campaign_file.load(ROOT / "campaigns.yaml")),
        "timers": timers,
        "memory_bytes_a_user": round(memory / users),
        "snapshot_bytes_a_user": round(size / users),
        "journal_bytes_a_user": round(shop.size / users),
        "written_bytes_an_event": round(shop.bytes_written / LOOKS),
        "pause_seconds": round(shop.longest_pause, 3),
        "snapshot_share": round(shop.journal_cpu / (shop.events_cpu + shop.journal_cpu), 3),
        "resume_seconds": round(resume + first, 3),
        "cpu_us_an_event": round(shop.events_cpu / LOOKS * 1e6, 2),
    }


def _restored(folder: Path, state: bytes) -> Fold:
    with ThreadPoolExecutor(1) as beside:
        saved = ShardJournal(folder, Claim.take(folder, 0, "resumed"), beside, state).read()
    if saved is None:
        raise RuntimeError("nothing was written")
    return Fold(Shard.restore(*saved), Limits())


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
        now = START + number * DAY // users
        yield _record("Product Viewed", number, now, 0)
        yield _record("Product Added", number, now, 1)


def _later_events(users: int) -> Iterator[Record]:
    rnd = random.Random(1)
    for number, user in enumerate(islice(drawn(rnd, range(users)), LOOKS)):
        name = rnd.choice(("Product Viewed", "Product Viewed", "Product Added", "Products Searched"))
        yield _record(name, user, START + DAY + number * SECOND // 10_000, number + 2)


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
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(one(int(sys.argv[2]), int(sys.argv[3]), Path(folder))))
    else:
        main([int(size) for size in sys.argv[1:]] or SIZES)
