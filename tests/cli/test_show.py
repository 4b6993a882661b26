"""Looking at what came of it, as a person at a terminal does."""

import json
import os
import subprocess
import sys

from connectors.redis_streams import connect, stream
from connectors.topics import DELIVERIES, TRIGGERS
from state.deliveries import Attempt, Delivery, Outcome, Status, encode
from tests.delivery.lettering import NOON, trigger, written


def lines(redis_url: str, *arguments: str) -> list[dict[str, object]]:
    """Run a command, and read what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        env=os.environ | {"WAXMARK_REDIS": redis_url, "WAXMARK_PARTITIONS": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_triggers_and_how_they_ended_are_printed_whole(redis_url: str) -> None:
    """One JSON document a line, for jq; attempts are not outcomes; what was rejected can be looked into."""
    ann, ben = trigger("ann", payload={"note": "[bold]x[/bold] " + "long " * 100}), trigger("ben")
    records: list[Delivery] = [
        Attempt(ann.trigger_id, "mail", 1, NOON),
        Outcome(ann.trigger_id, NOON, Status.ACCEPTED, user_id="ann"),
        Outcome(ben.trigger_id, NOON, Status.REJECTED, "550", user_id="ben", trigger={"user_id": "ben"}),
    ]
    with connect(redis_url) as client:
        for partition, each in enumerate((ann, ben)):
            client.xadd(stream(TRIGGERS, partition), {"v": written(each)})
        for record in records:
            client.xadd(stream(DELIVERIES, 1), {"v": encode(record)})
    assert [line["user_id"] for line in lines(redis_url, "triggers")] == ["ann", "ben"]
    assert [line["status"] for line in lines(redis_url, "deliveries")] == ["accepted", "rejected"]
    (rejected,) = lines(redis_url, "deliveries", "--status", "rejected")
    assert (rejected["reason"], rejected["trigger"]) == ("550", {"user_id": "ben"})
