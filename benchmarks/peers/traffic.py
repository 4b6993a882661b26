"""The traffic of the peers' benchmark: shoppers' visits as Segment messages, the same for the same arguments.

A visit is a chain of events with pauses between them, now and then one long enough to end a session; carts are filled, and some
are ordered. Who visits is drawn by Zipf's law. Some records come twice, all come up to two seconds after they happened, and a
few are broken in ways that happen in life. A partition is a log of its own: record n was appended at
START_MS + n * STEP_MS * partitions, which also stands in its `receivedAt`.
"""

import heapq
import random
import zlib
from collections import deque
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.zipf import EXPONENT, drawn

START_MS: Final = 1_767_225_600_000
STEP_MS: Final = 50
"""Between two records of a log with one partition: 20 events a second, so a million are 14 hours."""

_BROKEN: Final = 7
_RECENT: Final = 512
_MILLISECONDS_A_DAY: Final = 86_400_000
_VIEWED, _ADDED, _ORDERED = "Product Viewed", "Product Added", "Order Completed"


class Traffic(NamedTuple):
    """What the traffic is like. Shares are of all records; `disorder_ms` is the most that an event comes late."""

    events: int = 1_000_000
    users: int = 200_000
    zipf: float = EXPONENT
    duplicates: float = 0.02
    malformed: float = 0.005
    disorder_ms: int = 2000
    visit_events: float = 7.0
    pause_ms: float = 25_000.0
    added: float = 0.13
    ordered: float = 0.12
    seed: int = 7


class _Visit:
    __slots__ = ("has_cart", "number", "user")

    def __init__(self, user: int) -> None:
        self.user, self.number, self.has_cart = user, 0, False


def records(traffic: Traffic, partition: int = 0, partitions: int = 1) -> Iterator[bytes]:
    """Yield the records of one partition, in the order of their append times."""
    rnd = random.Random(traffic.seed * 1009 + partition)
    random_, step = rnd.random, STEP_MS * partitions
    mine = [user for user in range(traffic.users) if zlib.crc32(_name(user).encode()) % partitions == partition]
    visitors = drawn(rnd, mine, traffic.zipf)
    pending: list[tuple[int, int, _Visit]] = []
    recent: deque[tuple[str, str]] = deque(maxlen=_RECENT)
    continues, number, log_ms = 1 - 1 / traffic.visit_events, 0, START_MS
    for number in range(traffic.events // partitions):
        log_ms = START_MS + number * step
        appended = _iso(log_ms)
        if recent and random_() < traffic.duplicates:
            head, tail = recent[int(random_() * len(recent))]
            yield f"{head}{appended}{tail}".encode()
            continue
        is_due = pending and pending[0][0] <= log_ms
        visit = heapq.heappop(pending)[2] if is_due else _Visit(next(visitors))
        head, tail = _message(traffic, rnd, visit, log_ms)
        if random_() < continues:
            pause = rnd.expovariate(1 / traffic.pause_ms) if random_() > 0.01 else rnd.uniform(1.5e6, 2.4e6)
            heapq.heappush(pending, (log_ms + int(pause), number, visit))
        if random_() < traffic.malformed:
            yield _broken(rnd.randrange(_BROKEN), head, appended, tail)
        else:
            recent.append((head, tail))
            yield f"{head}{appended}{tail}".encode()


def _name(user: int) -> str:
    return f"user-{user:06d}"


def _message(traffic: Traffic, rnd: random.Random, visit: _Visit, log_ms: int) -> tuple[str, str]:
    """Write a message up to its append time, and after it."""
    visit.number += 1
    chance, product = rnd.random(), rnd.randrange(5000)
    event, more = _VIEWED, ""
    if visit.has_cart and chance < traffic.ordered:
        event, visit.has_cart, more = _ORDERED, False, f'"order_id":"order-{rnd.getrandbits(32):08x}",'
    elif chance > 1 - traffic.added:
        event, visit.has_cart, more = _ADDED, True, f'"cart_id":"cart-{visit.user}",'
    happened, name = _iso(log_ms - int(rnd.random() * traffic.disorder_ms)), _name(visit.user)
    bits = rnd.getrandbits(96)
    text = f"{bits:024x}"
    id_ = f"{text[:8]}-{text[8:12]}-4{text[12:15]}-9{text[15:18]}-000000{text[18:]}"
    head = f'{{"type":"track","messageId":"{id_}","userId":"{name}","event":"{event}","timestamp":"{happened}","receivedAt":"'
    tail = (
        f'","properties":{{{more}"product_id":"product-{product}","name":"Product number {product}",'
        f'"price":{product % 97}.95,"quantity":1,"url":"https://shop.example/p/{product}"}},'
        f'"context":{{"library":{{"name":"analytics.js","version":"2.1.0"}},"locale":"en-GB",'
        f'"page":{{"path":"/p/{product}","title":"A shop"}}}}}}'
    )
    return head, tail


def _broken(kind: int, head: str, appended: str, tail: str) -> bytes:
    text = f"{head}{appended}{tail}"
    match kind:
        case 0:
            text = text[: len(text) * 2 // 3]
        case 1:
            text = text.replace('"messageId"', '"messageID"')
        case 2:
            text = text.replace('"userId":"user-', '"userId":"","was":"')
        case 3:
            before, _, after = text.partition('"timestamp":"')
            text = f'{before}"timestamp":"yesterday{after[24:]}'
        case 4:
            before, _, after = text.partition('"timestamp":"')
            text = f'{before}"timestamp":"2071{after[4:]}'
        case 5:
            text = text[: text.index('"properties"')] + '"properties":{"price":1}}'
        case _:
            text = text.replace('"track"', '"tracks"')
    return text.encode()


_days: dict[int, str] = {}


def _iso(ms: int) -> str:
    day, rest = divmod(ms, _MILLISECONDS_A_DAY)
    written_day = _days.get(day)
    if written_day is None:
        written_day = _days[day] = _date(day)
    second, milli = divmod(rest, 1000)
    return f"{written_day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{milli:03d}Z"


def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def written(folder: Path, traffic: Traffic, partitions: int = 1) -> list[Path]:
    """Write the records into one file for each partition, unless they are there, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{zlib.crc32(repr(traffic).encode()):08x}-{traffic.events}"
    files = [folder / f"{name}-{partition}of{partitions}.jsonl" for partition in range(partitions)]
    for partition, file in enumerate(files):
        if not file.exists():
            coming = file.with_suffix(".coming")
            with coming.open("wb") as lines:
                lines.writelines(record + b"\n" for record in records(traffic, partition, partitions))
            coming.rename(file)
    return files
