"""`python -m benchmarks.content`: what an email's live content costs and how long it takes, on one core, over a real Redis.

Requests come when people open their emails, not when the last answer came: an open loop of Poisson arrivals, each timed from
the moment when it was due. Everybody opens once, so no picture is asked for twice; what repeats are the rows in it, as the
same products lie in many carts. The first seconds are told apart: nothing is drawn yet then. Server on one core; Redis and
the sender on the other.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

import redis

from connectors import redis_server
from connectors.catalogue import Catalogue
from connectors.catalogue_file import Product
from connectors.redis_profiles import profile_key
from rendering.signed import Link, Purpose, Seals

RESULTS: Final = Path(__file__).parent / "results" / "content.json"
SECRET: Final = "the-secret-of-the-bench-and-of-nobody"  # noqa: S105 - a benchmark's own
TARGET_MS: Final = 20.0
PRODUCTS: Final = 2_000
COLD_SECONDS: Final = 3.0
SERVER_CORE, OTHER_CORE = 0, 1
START: Final = "from cyclopts import App; from cli.content import content; a = App(); a.command(content); a()"
MIX: Final = {"cart.png": 60, "cart.json": 15, "price.png": 15, "countdown.png": 10}


class Timed(NamedTuple):
    """One answer: when it was due since the start, how long it took in milliseconds, what it was, and its size.

    `is_right` is False for an error, and for a picture of nothing, which the server falls back to.
    """

    due: float
    took: float
    kind: str
    size: int
    is_right: bool


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=500)
    options = parser.parse_args()
    people = int(options.rate * options.seconds * 1.2)
    os.sched_setaffinity(0, {OTHER_CORE})
    with tempfile.TemporaryDirectory() as folder, redis_server.running(Path(folder), appendfsync="everysec") as url:
        paths = _filled(url, people, random.Random(1))
        with _serving(url) as (port, process):
            nothing = urlopen(f"http://127.0.0.1:{port}{_of_nobody()}", timeout=5).read()
            before, core, began = _cpu(process.pid), _core(), time.monotonic()
            timed = asyncio.run(_opened(port, paths, options.rate, options.seconds, nothing))
            cpu = _cpu(process.pid) - before
            others = max(0.0, (_core() - core - cpu) / (time.monotonic() - began))
    _tell(timed, options.rate, cpu, people, others)


def _tell(timed: list[Timed], rate: float, cpu: float, people: int, others: float) -> None:
    cost = cpu / len(timed) * 1e6
    refused = sum(not each.is_right for each in timed)
    print(
        f"{len(timed)} opens by as many people at {rate:.0f}/s, {PRODUCTS} products, {people} carts; {refused} not shown "
        f"what they should see; {cost:.0f} us CPU an open, so {1e6 / cost:.0f}/s a core"
    )
    warm = [each for each in timed if each.due >= COLD_SECONDS]
    groups = {"first seconds": [each for each in timed if each.due < COLD_SECONDS], "after that": warm}
    groups |= {kind: [each for each in warm if each.kind == kind] for kind in MIX}
    figures = []
    for name, found in groups.items():
        took = sorted(each.took for each in found)
        p50, p99, size = took[len(took) // 2], took[len(took) * 99 // 100], sum(e.size for e in found) // len(found)
        print(
            f"{name:14} {len(took):6} opens  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  most {took[-1]:6.1f} ms  {size:6} bytes"
        )
        figures.append(
            {
                "of": name,
                "opens": len(took),
                "p50_ms": round(p50, 2),
                "p99_ms": round(p99, 2),
                "most_ms": round(took[-1], 1),
            }
        )
    print(
        f"target: p99 under {TARGET_MS:.0f} ms; others had {others:.0%} of the server's core, which every figure suffers from"
    )
    kept = {
        "rate": rate,
        "cpu_us": round(cost),
        "refused": refused,
        "others_share": round(others, 2),
        "latency": figures,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def _filled(url: str, people: int, chance: random.Random) -> list[tuple[str, str]]:
    """Fill Redis, and write what each person opens, as (kind, path)."""
    adjectives = ("Linen", "Merino", "Oak", "Copper", "Stoneware", "Trail", "Rain", "Felt", "Cork", "Glass")
    nouns = (
        "shirt",
        "jumper",
        "table lamp",
        "kettle",
        "bowl, set of four",
        "running shoe",
        "jacket",
        "slippers",
        "tray",
        "vase",
    )
    names = [f"{chance.choice(adjectives)} {chance.choice(nouns)} no. {number}" for number in range(PRODUCTS)]
    catalogue = Catalogue(url)
    catalogue.load(
        "default",
        (
            Product(f"sku-{n}", {"name": name, "price": str(10 + n % 90), "currency": "EUR", "stock": str(n % 20)})
            for n, name in enumerate(names)
        ),
        time.time_ns() // 1000,
    )
    catalogue.close()
    popularity = [1 / (rank + 10) for rank in range(PRODUCTS)]
    seals, expires, paths = Seals([SECRET]), int(time.time()) + 86_400, []
    client: Any = redis.Redis.from_url(url)
    pipe = client.pipeline(transaction=False)
    for person in range(people):
        chosen = dict.fromkeys(chance.choices(range(PRODUCTS), popularity, k=chance.randint(1, 6)))
        cart = [_line(n, names[n]) for n in chosen]
        fields = {"orders": 1, "cart": json.dumps(cart), "cart_id": "c", "email": f"{person}@example.com", "as_of": "x"}
        pipe.hset(
            profile_key("default", f"user-{person}"), mapping=fields | {f"other_{n}": "0.1234" for n in range(20)}
        )
        (kind,) = chance.choices(list(MIX), list(MIX.values()))
        link, purpose = Link(expires, "default", f"user-{person}", f"{person:026}", 1, currency="EUR"), Purpose.CART
        if kind == "price.png":
            link, purpose = Link(expires, "default", product_id=f"sku-{next(iter(chosen))}", price=70.0), Purpose.PRICE
        elif kind == "countdown.png":
            link, purpose = Link(until=expires + person * 60), Purpose.COUNTDOWN
        paths.append((kind, f"/c/{seals.seal(purpose, link)}/{kind}"))
    pipe.execute()
    info: Any = client.info("server")
    os.sched_setaffinity(info["process_id"], {OTHER_CORE})
    client.close()
    return paths


def _of_nobody() -> str:
    link = Link(int(time.time()) + 600, "default", "nobody", "", 1, currency="EUR")
    return f"/c/{Seals([SECRET]).seal(Purpose.CART, link)}/cart.png"


def _line(number: int, name: str) -> dict[str, Any]:
    return {
        "product_id": f"sku-{number}",
        "name": name,
        "price": 12.0 + number % 90,
        "quantity": 1.0,
        "url": "",
        "variant": "",
    }


async def _opened(port: int, paths: list[tuple[str, str]], rate: float, seconds: float, nothing: bytes) -> list[Timed]:
    chance, idle, timed = random.Random(2), list[Any](), list[Timed]()
    began, due = time.perf_counter(), 0.0
    async with asyncio.TaskGroup() as tasks:
        for kind, path in paths:
            due += chance.expovariate(rate)
            if due > seconds:
                break
            if (wait := began + due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(_open(port, kind, path, idle, timed, began, due, nothing))
    for _, writer in idle:
        writer.close()
    return timed


async def _open(
    port: int, kind: str, path: str, idle: list[Any], timed: list[Timed], began: float, due: float, nothing: bytes
) -> None:
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    size = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
    is_right = await reader.readexactly(size) != nothing and b" 200 " in head[:16]
    timed.append(Timed(due, (time.perf_counter() - began - due) * 1000, kind, size, is_right))
    idle.append((reader, writer))


@contextmanager
def _serving(url: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = redis_server.free_port()
    environment = os.environ | {"WAXMARK_REDIS": url, "WAXMARK_CONTENT_SECRET": SECRET}
    command = ["taskset", "--cpu-list", str(SERVER_CORE), sys.executable, "-c", START, "content", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            time.sleep(0.05)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=20)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _core() -> float:
    """CPU seconds that the server's core has worked, for whomever."""
    line = next(each for each in Path("/proc/stat").read_text().splitlines() if each.startswith(f"cpu{SERVER_CORE} "))
    user, nice, system, _, _, interrupts, soft, stolen = map(int, line.split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
