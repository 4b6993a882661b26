"""Delivery over kills: `python -m benchmarks.delivery [TRIGGERS] [KILLS]`.

Ten thousand triggers, half of them to a mail server that knows no keys and half to a provider that does, both misbehaving in
turn and each killed twice, while `waxmark run delivery` is killed with SIGKILL twenty times. Then every trigger is looked for:
in the deliveries, and in what the providers say they accepted.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from connectors import redis_server
from connectors.redis_profiles import profile_key
from connectors.redis_streams import connect, scan, stream
from connectors.topics import DELIVERIES, TRIGGERS
from state.clock import HOUR, MINUTE, to_iso
from state.deliveries import Outcome, Status, decode
from state.outputs import CausePlace, Recheck, Trigger, derived_id
from state.records import partition_of
from state.wire import encoder

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = Path(__file__).parent / "results"
PARTITIONS: Final = 4
KEYED, MAIL = "win_back", "welcome"
_PLAN: Final = """\
shop: {{from: Shop <hello@shop.example>}}
content: {{url: https://mail.shop.example}}
providers:
  mail: {{type: smtp, host: 127.0.0.1, port: {mail}, security: none, rate: 1000, concurrency: 16, timeout: 5}}
  keyed:
    type: resend
    url: http://127.0.0.1:{keyed}
    api_key: ${{BENCH_KEY}}
    rate: 1000
    concurrency: 16
    timeout: 5
default: mail
campaigns: {{win_back: keyed}}
"""


class Found(NamedTuple):
    """What became of the triggers."""

    triggers: int
    lost: int
    twice_ended: int
    accepted_twice_with_keys: int
    accepted_twice_without_keys: int
    accepted_and_not_known: int
    known_and_not_accepted: int
    statuses: dict[str, int]
    kills: int
    seconds: float


class Stage:
    """Redis, two providers and a delivery process, all of which may be killed and started again."""

    def __init__(self, url: str, folder: Path, *, calm: bool = False) -> None:
        self.url, self.folder, self._calm = url, folder, calm
        self.ports = {"mail": redis_server.free_port(), "keyed": redis_server.free_port()}
        (folder / "delivery.yaml").write_text(_PLAN.format(**self.ports))
        self._log = (folder / "log.txt").open("ab")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a provider, or delivery."""
        if name == "delivery":
            self._running[name] = self.process("run", "delivery", "--providers", str(self.folder / "delivery.yaml"))
            return
        command = ["-m", "benchmarks.esps", name, str(self.ports[name]), str(self.ledger(name))]
        self._running[name] = self._started([*command, *["--calm"] * self._calm])

    def process(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a `waxmark` command on this stage; whoever did so ends it."""
        return self._started(["-c", "from cli.main import main; main()", *command], **environment)

    def _started(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        own = {
            "WAXMARK_REDIS": self.url,
            "WAXMARK_PARTITIONS": str(PARTITIONS),
            "BENCH_KEY": "re_key",
            "WAXMARK_CONTENT_SECRET": "a-secret-of-sixteen-or-more",
        } | environment
        arguments = [sys.executable, *command]
        return subprocess.Popen(arguments, env=os.environ | own, cwd=ROOT, stdout=self._log, stderr=self._log)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def ends(self, name: str) -> int | None:
        """Say with what code a process ended; None while it runs."""
        return self._running[name].poll()

    def stop(self, name: str) -> int:
        """SIGTERM; return the code."""
        process = self._running.pop(name)
        process.terminate()
        return process.wait(30)

    def ledger(self, name: str) -> Path:
        """Name the file with what a provider accepted."""
        return self.folder / f"{name}.txt"

    def accepted(self, name: str) -> Counter[str]:
        """Count what a provider accepted, by key."""
        return Counter(line.split()[0] for line in self.ledger(name).read_text().splitlines())

    def outcomes(self) -> list[Outcome]:
        """Read all outcomes."""
        with connect(self.url) as client:
            values = [f[b"v"] for p in range(PARTITIONS) for _, f in scan(client, DELIVERIES, p)]
        return [record for value in values if isinstance(record := decode(value), Outcome)]

    def close(self) -> None:
        """Kill whatever runs."""
        for name in list(self._running):
            self.kill(name)
        self._log.close()


@contextlib.contextmanager
def stage(*, calm: bool = False) -> Iterator[Stage]:
    """Set the stage up, and take it down."""
    with tempfile.TemporaryDirectory() as folder, redis_server.running(Path(folder) / "redis") as url:
        made = Stage(url, Path(folder), calm=calm)
        try:
            yield made
        finally:
            made.close()


def decide(client: Any, number: int, now: int) -> str:
    """Write a person's profile and a trigger about them, as personalization does; return the trigger's id."""
    user_id, campaign = f"user-{number}", KEYED if number % 2 else MAIL
    trigger = Trigger(
        trigger_id=derived_id(now, campaign, user_id),
        kind="send",
        tenant="default",
        campaign_id=campaign,
        campaign_version="1",
        template_id="welcome" if campaign == MAIL else "win-back",
        user_id=user_id,
        email=f"{user_id}@example.com",
        occurred_at=to_iso(now - MINUTE),
        decided_at=to_iso(now),
        send_at=to_iso(now),
        expires_at=to_iso(now + HOUR),
        subject="",
        recheck=Recheck(),
        cause=[CausePlace(0, "1-0", f"m-{number}")],
    )
    pipe = client.pipeline(transaction=False)
    fields = {"consent": "not refused", "email": f"{user_id}@example.com", "traits": '{"firstName":"Ann"}'}
    pipe.hset(profile_key("default", user_id), mapping=fields)
    entry = {"id": trigger.trigger_id, "v": encoder.encode(trigger)}
    pipe.xadd(stream(TRIGGERS, partition_of(user_id, PARTITIONS)), entry)
    pipe.execute()
    return trigger.trigger_id


def over_kills(on: Stage, triggers: int, kills: int, seed: int = 1) -> Found:
    """Kill delivery at random moments, and each provider twice, while the triggers come in; count what became of them."""
    rnd, began, killed = random.Random(seed), time.monotonic(), 0
    ids: list[str] = []
    for name in ("mail", "keyed", "delivery"):
        on.start(name)
    with connect(on.url) as client:
        kill_at, provider_kills = time.monotonic() + 2, ["mail", "keyed", "keyed", "mail"]
        while len(ids) < triggers or killed < kills:
            if len(ids) < triggers:
                share = range(len(ids), min(len(ids) + max(1, triggers // (8 * kills)), triggers))
                ids += [decide(client, number, time.time_ns() // 1000) for number in share]
            time.sleep(0.1)
            if time.monotonic() < kill_at or killed == kills:
                continue
            on.kill("delivery")
            killed += 1
            if provider_kills and killed % max(1, kills // 4) == 0:
                name = provider_kills.pop()
                on.kill(name)
                time.sleep(0.5)
                on.start(name)
            on.start("delivery")
            kill_at = time.monotonic() + 1.0 + 2.0 * rnd.random()
        deadline = time.monotonic() + 300
        while len(outcomes := on.outcomes()) < triggers and time.monotonic() < deadline:
            if on.ends("delivery") is not None:
                raise OSError((on.folder / "log.txt").read_text()[-2000:])
            time.sleep(0.5)
    on.stop("delivery")
    return _counted(on, ids, outcomes, killed, time.monotonic() - began)


def _counted(on: Stage, ids: list[str], outcomes: list[Outcome], kills: int, seconds: float) -> Found:
    ended = Counter(outcome.trigger_id for outcome in outcomes)
    mail, keyed = on.accepted("mail"), on.accepted("keyed")
    taken = {o.trigger_id for o in outcomes if o.status in {Status.ACCEPTED, Status.DUPLICATE}}
    perhaps = {o.trigger_id for o in outcomes if o.status is Status.AMBIGUOUS}
    accepted = mail.keys() | keyed.keys()
    return Found(
        triggers=len(ids),
        lost=len(set(ids) - ended.keys()),
        twice_ended=sum(count > 1 for count in ended.values()),
        accepted_twice_with_keys=sum(count > 1 for count in keyed.values()),
        accepted_twice_without_keys=sum(count > 1 for count in mail.values()),
        accepted_and_not_known=len(accepted - taken - perhaps),
        known_and_not_accepted=len(taken - accepted),
        statuses=dict(Counter(outcome.status.value for outcome in outcomes)),
        kills=kills,
        seconds=round(seconds, 1),
    )


def main(triggers: int, kills: int) -> None:
    """Run, and print what was found."""
    with stage() as on:
        found = over_kills(on, triggers, kills)
    for name, value in found._asdict().items():
        print(f"{name.replace('_', ' '):30} {value}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "delivery_over_kills.json").write_text(json.dumps(found._asdict(), indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 20)
