"""`waxmark demo`: Redis, collector, dataflow, delivery and simulated shoppers for a minute, with a live view and an inbox."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from cli.inbox import Inbox
from connectors import campaign_file, redis_server
from connectors.metrics import LATENCY, OPEN_CARTS
from connectors.redis_streams import connect, scan, stream
from connectors.scrape import exposition_quantile, exposition_sum, fetch
from connectors.settings import Settings
from connectors.topics import EVENTS, TRIGGERS
from state.clock import SECOND, from_iso

_CAMPAIGNS: Final = Path(__file__).parent.parent / "simulator" / "demo_campaigns.yaml"
_PROVIDERS: Final = """\
shop: {{from: Linden & Lark <hello@shop.example>}}
content: {{url: http://127.0.0.1:{content}}}
providers:
  inbox: {{type: smtp, host: 127.0.0.1, port: {mail}, security: none, rate: 200}}
default: inbox
"""


def demo() -> None:
    """Show the whole product on simulated shoppers, for DEMO_SECONDS (60) or until Ctrl-C; leaves nothing running.

    Example: `DEMO_SECONDS=20 waxmark demo`
    """
    seconds = float(os.environ.get("DEMO_SECONDS", "60"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="waxmark-demo-") as folder, contextlib.ExitStack() as stack:
        url = os.environ.get("WAXMARK_REDIS") or stack.enter_context(redis_server.running(Path(folder) / "redis"))
        port = redis_server.free_port()
        settings = Settings(redis=url, metrics_port=port, recovery=Path(folder) / "recovery", snapshot_seconds=2)
        client = connect(url)
        if "WAXMARK_REDIS" not in os.environ:
            client.config_set("appendfsync", "always")  # it is ours: what the collector acknowledges is on the disk
        inbox = stack.enter_context(Inbox(mail := redis_server.free_port()))
        out.print(
            f"Redis at {url}; {settings.partitions} partitions; inbox at port {mail}; simulated shoppers for {seconds:.0f} s"
        )
        view = _View(client, settings.partitions, port, inbox)
        with _started(settings, folder, mail):
            try:
                _watch(view, out, seconds)
            except KeyboardInterrupt:
                out.print("stopping")
        view.look()
        out.print(view.summary())
        out.print(view.inbox())
        client.close()


@contextlib.contextmanager
def _started(settings: Settings, folder: str, mail: int) -> Iterator[None]:
    """Run the dataflow, delivery, content, the collector and its shoppers as processes of their own; stop them gracefully."""
    port, key, content = redis_server.free_port(), secrets.token_hex(), redis_server.free_port()
    providers = Path(folder, "delivery.yaml")
    providers.write_text(_PROVIDERS.format(mail=mail, content=content))
    environment = os.environ | {
        "WAXMARK_REDIS": settings.redis,
        "WAXMARK_RECOVERY": str(settings.recovery),
        "WAXMARK_SNAPSHOT_SECONDS": str(settings.snapshot_seconds),
        "WAXMARK_CONTENT_SECRET": secrets.token_urlsafe(32),
    }
    collector = f"http://127.0.0.1:{port}"
    commands: tuple[tuple[list[str], dict[str, str]], ...] = (
        (
            ["run", "personalization", "--campaigns", str(_CAMPAIGNS)],
            {"WAXMARK_METRICS_PORT": str(settings.metrics_port)},
        ),
        (["run", "delivery", "--providers", str(providers)], {}),
        (["content", "--port", str(content)], {}),
        (["collect", "--port", str(port)], {"WAXMARK_WRITE_KEY": key}),
        (f"shoppers --to {collector} --write-key {key} --events 1000000 --rate 100".split(), {}),
    )
    processes = []
    log = Path(folder, "log.txt")
    with log.open("w") as file:
        try:
            for command, its_own in commands:
                arguments = [sys.executable, "-c", "from cli.main import main; main()", *command]
                its_environment = environment | its_own
                processes.append(
                    subprocess.Popen(arguments, env=its_environment, stdout=file, stderr=file, start_new_session=True)  # noqa: S603 - ourselves
                )
            yield
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=15)
                process.kill()
                process.wait()
    if processes[0].returncode != 0:
        raise ValueError(f"the dataflow ended with code {processes[0].returncode}: {log.read_text()[-2000:]}")


class _View:
    """What the demo knows: counts and the last triggers, read from Redis."""

    def __init__(self, client: Any, partitions: int, port: int, inbox: Inbox) -> None:
        self._client, self._partitions, self._port, self._inbox = client, partitions, port, inbox
        self._waits = {campaign.id: campaign.wait for campaign in campaign_file.load(_CAMPAIGNS)}
        self._decided: dict[str, tuple[int, str]] = {}
        self.latency, self.carts = "latency unknown", 0
        self._after = ["-"] * partitions
        self.events, self.rate, self._at = 0, 0.0, time.monotonic()
        self.campaigns: Counter[str] = Counter()
        self.last: deque[dict[str, Any]] = deque(maxlen=8)

    def look(self) -> None:
        """Read what is new; metrics stay as last read once the dataflow has ended."""
        with contextlib.suppress(OSError):
            text = fetch("127.0.0.1", self._port)
            half, most = (exposition_quantile(text, LATENCY.name, q) for q in (0.5, 0.99))
            if half is not None and most is not None:
                self.latency = f"event to profile p50 {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms"
            self.carts = int(exposition_sum(text, OPEN_CARTS.name))
        events = sum(self._client.xlen(stream(EVENTS, partition)) for partition in range(self._partitions))
        now = time.monotonic()
        self.rate = (events - self.events) / max(now - self._at, 1e-3)
        self.events, self._at = events, now
        for partition in range(self._partitions):
            for position, fields in scan(self._client, TRIGGERS, partition, self._after[partition]):
                self._after[partition] = position
                trigger = msgspec.json.decode(fields[b"v"])
                self.campaigns[f"{trigger['campaign_id']} ({trigger['kind']})"] += 1
                self.last.append(trigger)
                self._decided[trigger["trigger_id"]] = from_iso(trigger["decided_at"]), trigger["campaign_id"]

    def line(self) -> str:
        """Say it in a line."""
        triggers = sum(self.campaigns.values())
        return (
            f"{self.events} records, {self.rate:.0f}/s; {self.latency}; {self.carts} open carts; {triggers} triggers; "
            f"{self._emails()}"
        )

    def _emails(self) -> str:
        taken = self._inbox.taken({id_: at for id_, (at, _) in self._decided.items()})
        if not taken:
            return f"{self._inbox.count} emails"
        half, most = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
        return f"{self._inbox.count} emails, decision to inbox p50 {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms"

    def inbox(self) -> Table:
        """Show the last emails, and how long after the last click of the person each arrived."""
        table = Table("to", "subject", "after the last click", "of which the campaign waited", title="inbox")
        for arrived in tuple(self._inbox.last):
            decided = self._decided.get(arrived.trigger_id)
            if decided is not None:
                at, campaign = decided
                wait = self._waits[campaign]
                table.add_row(
                    arrived.to,
                    arrived.subject,
                    f"{(arrived.at - at + wait) / SECOND:.2f} s",
                    f"{wait / SECOND:.0f} s",
                )
        return table

    def summary(self) -> Table:
        """Count the triggers by campaign."""
        table = Table("campaign", "triggers", title=self.line())
        for campaign, count in sorted(self.campaigns.items()):
            table.add_row(campaign, str(count))
        return table

    def render(self) -> Group:
        """Draw the live view."""
        last = Table("decided", "campaign", "kind", "user", "items", title="last triggers")
        for trigger in self.last:
            items = str(trigger["payload"].get("item_count", ""))
            last.add_row(trigger["decided_at"], trigger["campaign_id"], trigger["kind"], trigger["user_id"], items)
        return Group(self.summary(), last, self.inbox())


def _watch(view: _View, out: Console, seconds: float) -> None:
    end = time.monotonic() + seconds
    if not out.is_terminal:
        while time.monotonic() < end:
            time.sleep(min(5.0, max(0.0, end - time.monotonic())))
            view.look()
            out.print(view.line(), soft_wrap=True)
        return
    with Live(view.render(), console=out, refresh_per_second=4) as live:
        while time.monotonic() < end:
            time.sleep(0.5)
            view.look()
            live.update(view.render())
