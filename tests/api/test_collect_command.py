"""`waxmark collect` and `waxmark shoppers` as commands: one line for what goes wrong, and both transports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from connectors.redis_server import free_port
from connectors.scrape import exposition_sum, fetch
from tests.api.collecting import PARTITIONS, ROOT, WRITE_KEY, Collector


def waxmark(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would."""
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    cleaned = {name: value for name, value in os.environ.items() if not name.startswith("WAXMARK_")}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=cleaned | environment, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["collect"], {}, "WAXMARK_WRITE_KEY"),
        (["collect"], {"WAXMARK_WRITE_KEY": "tiny"}, "WAXMARK_WRITE_KEY"),
        (["collect", "--keys", "no-such.yaml"], {}, "no-such.yaml"),
        (["collect", "--keys", "README.md"], {}, "README.md:"),
        (["shoppers", "--write-key", "k", "--to", "ftp://x"], {}, "http://"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(arguments: list[str], environment: dict[str, str], said: str) -> None:
    """No traceback, and no key."""
    done = waxmark(*arguments, **environment)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "tiny" not in done.stderr


@pytest.mark.parametrize("command", ["collect", "shoppers"])
def test_the_commands_have_help_with_an_example(command: str) -> None:
    """Nobody should have to read the code."""
    done = waxmark(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_shoppers_send_and_a_key_that_is_unknown_ends_them(collector: Collector) -> None:
    """By the protocol that SDKs speak."""
    done = waxmark("shoppers", "--to", collector.url, "--write-key", WRITE_KEY, "--events", "60", "--rate", "200")
    assert done.returncode == 0, done.stderr
    with redis.Redis.from_url(collector.redis_url) as client:
        assert sum(client.xlen(f"waxmark:events:{partition}") for partition in range(PARTITIONS)) >= 60
    refused = waxmark("shoppers", "--to", collector.url, "--write-key", "unknown-key", "--events", "5")
    assert refused.returncode == 1
    assert "401" in refused.stderr


def test_what_is_taken_and_answered_is_counted(redis_url: str, tmp_path: Path) -> None:
    """For whoever watches; by reason and by status, no names."""
    port = free_port()
    collector = Collector(redis_url, tmp_path, WAXMARK_METRICS_PORT=str(port)).start()
    collector.post("/v1/batch", {"batch": [{"type": "track", "event": "E", "userId": "u"}, {"type": "x"}]})
    collector.post("/v1/track", {"event": "E", "userId": "u"})
    collector.post("/v1/track", {"event": "E", "userId": "u"}, key="unknown-key")
    text = fetch("127.0.0.1", port)
    assert collector.stop() == 0, collector.log()
    assert exposition_sum(text, "waxmark_collected_messages_total") == 2
    assert exposition_sum(text, "waxmark_collect_refused_messages_total", reason="invalid") == 1
    assert [exposition_sum(text, "waxmark_collect_answers_total", status=s) for s in ("200", "400", "401")] == [1, 1, 1]
    assert exposition_sum(text, "waxmark_append_seconds_count") == 2
