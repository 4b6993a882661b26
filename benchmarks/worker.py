"""The dataflow as it really runs: a process of its own on a real Redis, to be killed, stopped, started again and read out."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from connectors import logfile
from connectors.metrics import LAG, LAST_LOOK
from connectors.redis_server import free_port
from connectors.redis_streams import scan, stream
from connectors.scrape import exposition_sum, fetch
from connectors.settings import Settings
from connectors.topics import TOPICS
from dataflows.replay import replay
from dataflows.scoring import churn_over
from operators.fold import Limits

ROOT: Final = Path(__file__).parents[1]
DEMO_CAMPAIGNS: Final = ROOT / "simulator" / "demo_campaigns.yaml"
RUN: Final = (sys.executable, "-c", "from cli.main import main; main()", "run", "personalization")


class Worker:
    """`waxmark run personalization` as an operator starts it."""

    def __init__(self, url: str, folder: Path, partitions: int, campaigns: Path = DEMO_CAMPAIGNS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.recovery = folder / "recovery"
        self._port = free_port()
        self._partitions = partitions
        self._environment = os.environ | {
            "WAXMARK_REDIS": url,
            "WAXMARK_PARTITIONS": str(partitions),
            "WAXMARK_RECOVERY": str(self.recovery),
            "WAXMARK_SNAPSHOT_SECONDS": "0.3",
            "WAXMARK_METRICS_PORT": str(self._port),
        }
        self._log = folder / "worker.log"
        self._command = [*RUN, "--campaigns", str(campaigns)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str, **environment: str) -> None:
        """Start, or start again; by another command if one is given."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command or self._command, env=self._environment | environment, cwd=ROOT, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask for a graceful stop; return the exit code."""
        if self._process is None:
            raise RuntimeError("nothing was started")
        self._process.send_signal(number)
        return self._process.wait(timeout=60)

    def log(self) -> str:
        """What the worker said."""
        return self._log.read_text()

    def is_reading(self) -> bool:
        """Tell whether it has looked at every partition of the log."""
        return self._looked()[0]

    def is_at_end(self) -> bool:
        """Tell whether it found nothing left to read in any partition when it last looked."""
        return self._looked() == (True, 0)

    def _looked(self) -> tuple[bool, float]:
        try:
            text = fetch("127.0.0.1", self._port)
        except OSError:  # it is not up yet, or no longer
            return False, 0
        partitions = map(str, range(self._partitions))
        looks = [exposition_sum(text, LAST_LOOK.name, partition=partition) for partition in partitions]
        return all(looks), exposition_sum(text, LAG.name)

    def wait_until_reading(self, limit: float = 60.0) -> None:
        """Wait until it has looked at every partition; `limit` is in seconds."""
        end = time.monotonic() + limit
        while not self.is_reading():
            if time.monotonic() > end:
                raise TimeoutError(f"the dataflow does not read: {self.log()[-2000:]}")
            time.sleep(0.05)

    def wait_until_quiet(self, client: Any, *, seconds: float = 3.0, limit: float = 90.0) -> None:
        """Wait until it is at the end and no topic has grown for so many seconds."""
        end, since, before = time.monotonic() + limit, time.monotonic(), -1
        while time.monotonic() < end:
            size = sum(client.xlen(stream(topic, p)) for topic in TOPICS for p in range(self._partitions))
            if size != before or not self.is_at_end():
                since, before = time.monotonic(), size
            elif size and time.monotonic() - since > seconds:
                return
            time.sleep(0.1)
        raise TimeoutError(f"the dataflow did not come to rest: {self.log()[-2000:]}")


def read(client: Any, topic: str, partitions: int) -> list[bytes]:
    """Read all values of a topic."""
    return [fields[b"v"] for partition in range(partitions) for _, fields in scan(client, topic, partition)]


def replayed(path: Path, read_to: int = 0) -> list[bytes]:
    """Fold a log file without a broker, up to a time (its own end unless given), and list the triggers, sorted."""
    header = logfile.read_header(path)
    if header is None:
        raise ValueError(f"{path} is no log")
    outputs = replay(
        logfile.read(path),
        header.partitions,
        Limits(),
        feed_back=not header.fed_back,
        read_to=read_to or header.read_to,
        churn_over=churn_over(Settings()),
    )
    return sorted(emission.value for out in outputs for emission in out.triggers)
