"""`make bench-collector`: what the collector takes on one core, beside the bare server that it runs on.

Locust sends as SDKs do, from the other core, which it shares with Redis (append-only file, synced at each write). The
reference answers 200 to the same requests without looking at them, on the same server with the same settings. Whoever sends
may be the bottleneck, so besides what arrived, each line says what CPU an event cost the server: the two together say what
one core could take.
"""

import argparse
import base64
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
import uvicorn

from connectors import redis_server
from simulator.shop import Shop, visits

RESULTS: Final = Path(__file__).parent / "results" / "collector.json"
KEY: Final = "write-key-of-the-bench"
SIZES: Final = (1, 100)
USERS: Final = {1: 64, 100: 16}
SERVER_CORE, OTHER_CORE = 0, 1


class Figure(NamedTuple):
    """One run. Latencies are milliseconds, CPU microseconds of the server's process an event."""

    server: str
    batch: int
    events_per_second: float
    p50: float
    p99: float
    cpu: float
    busy: float
    failures: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--locust", nargs=4)
    parser.add_argument("--serve", type=int)
    options = parser.parse_args()
    if options.locust:
        url, size, users, seconds = options.locust
        _locust(url, int(size), int(users), int(seconds))
    elif options.serve:
        _reference(options.serve)
    else:
        _compare(options.seconds, options.runs)


def _compare(seconds: int, runs: int) -> None:
    figures: list[Figure] = []
    for _ in range(runs):
        for server in (_bare, _collector):
            with server() as (name, url, process):
                figures += [_run(name, url, process, size, seconds) for size in SIZES]
    print(f"one core, {seconds} s a run, median of {runs} (lowest to highest)")
    for size in SIZES:
        by_name = {name: [f for f in figures if (f.server, f.batch) == (name, size)] for name in ("bare", "collector")}
        for name, found in by_name.items():
            rate, p99 = statistics.median(f.events_per_second for f in found), statistics.median(f.p99 for f in found)
            cpu, busy = statistics.median(f.cpu for f in found), statistics.median(f.busy for f in found)
            spread = f"{min(f.events_per_second for f in found):.0f} to {max(f.events_per_second for f in found):.0f}"
            print(
                f"batch of {size:3} {name:10} {rate:8.0f} events/s ({spread}), p99 {p99:.0f} ms, {cpu:.1f} us CPU an event, "
                f"core {busy:.0%} busy, so {1e6 / cpu:.0f} events/s a core; {sum(f.failures for f in found)} failures"
            )
        share = statistics.median(f.cpu for f in by_name["bare"]) / statistics.median(
            f.cpu for f in by_name["collector"]
        )
        print(f"batch of {size:3} the collector takes {share:.0%} of what the bare server does; target 50%")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([figure._asdict() for figure in figures], indent=1) + "\n")


def _run(name: str, url: str, process: subprocess.Popen[bytes], size: int, seconds: int) -> Figure:
    command = [sys.executable, "-m", "benchmarks.collector", "--locust", url, str(size), str(USERS[size]), str(seconds)]
    before, began = _cpu(process.pid), time.monotonic()
    done = subprocess.run(_on(OTHER_CORE, command), capture_output=True, text=True, check=True)
    cpu, took = _cpu(process.pid) - before, time.monotonic() - began
    said = json.loads(done.stdout.splitlines()[-1])
    events = said["requests"] * size
    return Figure(
        name,
        size,
        round(said["rate"] * size),
        said["p50"],
        said["p99"],
        round(cpu / max(events, 1) * 1e6, 2),
        round(min(cpu / min(took, seconds), 1.0), 2),
        said["failures"],
    )


def _on(core: int, command: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *command]


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _bare() -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    port = redis_server.free_port()
    command = [sys.executable, "-m", "benchmarks.collector", "--serve", str(port)]
    with _serving(command, port, os.environ.copy()) as process:
        yield "bare", f"http://127.0.0.1:{port}", process


@contextmanager
def _collector() -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    with tempfile.TemporaryDirectory() as folder, redis_server.running(Path(folder) / "redis") as url:
        with redis.Redis.from_url(url) as client:
            client.config_set("appendfsync", "always")
            info: Any = client.info("server")
        os.sched_setaffinity(info["process_id"], {OTHER_CORE})
        port = redis_server.free_port()
        command = [sys.executable, "-c", "from cli.main import main; main()", "collect", "--port", str(port)]
        environment = os.environ | {"WAXMARK_REDIS": url, "WAXMARK_WRITE_KEY": KEY}
        with _serving(command, port, environment) as process:
            yield "collector", f"http://127.0.0.1:{port}", process


@contextmanager
def _serving(command: list[str], port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(_on(SERVER_CORE, command), env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            time.sleep(0.05)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def _reference(port: int) -> None:
    """Serve the no-op, with the settings of `waxmark collect`."""

    async def answer(scope: MutableMapping[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        more = scope["type"] == "http"
        while more:
            more = (await receive()).get("more_body", False)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"16")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"success":true}'})

    uvicorn.run(
        answer,
        port=port,
        interface="asgi3",
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )


def _locust(url: str, size: int, users: int, seconds: int) -> None:
    """Send by Locust for a while, and print what came of it."""
    from locust import FastHttpUser, constant, task  # noqa: PLC0415 - it patches the standard library when imported
    from locust.env import Environment  # noqa: PLC0415 - same

    logging.disable(logging.INFO)
    bodies = _bodies(size)
    headers = {
        "authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode(),
        "content-type": "application/json",
    }
    path = "/v1/track" if size == 1 else "/v1/batch"

    class Sdk(FastHttpUser):
        host = url
        wait_time = constant(0)
        sent = 0

        @task
        def post(self) -> None:
            self.sent += 1
            self.client.post(path, data=bodies[self.sent % len(bodies)], headers=headers)  # type: ignore[arg-type]  # it takes bytes as well

    environment = Environment(user_classes=[Sdk])
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    time.sleep(seconds)
    runner.quit()
    total = environment.stats.total
    print(
        json.dumps(
            {
                "requests": total.num_requests,
                "rate": total.num_requests / seconds,
                "p50": total.get_response_time_percentile(0.5),
                "p99": total.get_response_time_percentile(0.99),
                "failures": total.num_failures,
            }
        )
    )


def _bodies(size: int) -> list[bytes]:
    """Write requests of the simulated shop's track events, about 470 bytes each."""
    start = time.time_ns() // 1_000_000_000 * 1_000_000 - 60_000_000
    sent = (s.value for s in visits(Shop(rate=1000, malformed=0), 1, start) if b'"type":"track"' in s.value)
    events = [value for value, _ in zip(sent, range(50 * size), strict=False)]
    if size == 1:
        return events
    return [b'{"batch":[' + b",".join(events[n : n + size]) + b"]}" for n in range(0, len(events), size)]


if __name__ == "__main__":
    main()
