"""`waxmark replay`: logs and bare messages from a file, what it prints where, and what it says of a broken one."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shopping import added_to_cart, at, ordered, sent

ROOT = Path(__file__).parents[2]
WAXMARK = [sys.executable, "-c", "from cli.main import main; main()"]
CAMPAIGNS = "campaigns: {cart: {template: t, opened_by: [Product Added], cancelled_by: [Order Completed], wait: 1h}}\n"


def replay(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a person would, with no Redis anywhere."""
    return subprocess.run(
        [*WAXMARK, "replay", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"WAXMARK_REDIS": "redis://127.0.0.1:1/0", "COLUMNS": "200"} | environment,
    )


@pytest.fixture
def campaigns(tmp_path: Path) -> Path:
    """A cart campaign that waits an hour."""
    path = tmp_path / "campaigns.yaml"
    path.write_text(CAMPAIGNS)
    return path


def messages(path: Path, *lines: bytes) -> Path:
    """Write a file of bare messages."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def sent_to(done: subprocess.CompletedProcess[str]) -> list[str]:
    """List whom the triggers that were printed are for."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["user_id"] for line in done.stdout.splitlines()]


def test_bare_messages_are_replayed_as_they_were_received(tmp_path: Path, campaigns: Path) -> None:
    """No header, no positions: what any tool exports. Ann bought, Ben did not; blank lines and a broken one do no harm."""
    file = messages(
        tmp_path / "messages.jsonl",
        added_to_cart(at(), user="ann"),
        added_to_cart(at(), user="ben"),
        b"",
        b"{broken",
        ordered(at(minutes=30), user="ann"),
        sent("page", at(hours=2), user="cleo"),
    )
    done = replay(file, "--campaigns", campaigns)
    assert sent_to(done) == ["ben"]
    assert "dead letters" in done.stderr
    assert "not_json" in done.stderr
    assert "%" not in done.stderr, "no progress bar without a terminal"


def test_links_and_forwards_are_fed_back_among_bare_messages(tmp_path: Path, campaigns: Path) -> None:
    """What a visitor put into a cart is the user's once they log in, whichever partitions the two are in."""
    file = messages(
        tmp_path / "messages.jsonl",
        *(added_to_cart(at(), user=None, visitor=f"visitor-{n}") for n in range(8)),
        *(sent("identify", at(minutes=1), user=f"user-{n}", visitor=f"visitor-{n}", traits={}) for n in range(8)),
    )
    done = replay(file, "--campaigns", campaigns, "--until", "2026-01-01T03:00Z", WAXMARK_PARTITIONS="3")
    assert sorted(sent_to(done)) == [f"user-{n}" for n in range(8)]


def test_what_is_due_after_the_last_message_waits_for_until(tmp_path: Path, campaigns: Path) -> None:
    """The file says nothing of the time after its end, so nothing is decided there unless the user says so."""
    file = messages(tmp_path / "messages.jsonl", added_to_cart(at()))
    assert sent_to(replay(file, "--campaigns", campaigns)) == []
    assert sent_to(replay(file, "--campaigns", campaigns, "--until", "2026-01-01T01:00:01Z")) == ["ann"]


def test_messages_out_of_order_are_told(tmp_path: Path, campaigns: Path) -> None:
    """A file sorted newest first would otherwise give a quiet, wrong answer."""
    file = messages(tmp_path / "messages.jsonl", added_to_cart(at(hours=2)), ordered(at()))
    done = replay(file, "--campaigns", campaigns)
    assert "1 messages stand below one of a later time, by up to 7200 s" in done.stderr


def tenants_log(path: Path) -> Path:
    """Write messages of two tenants, each with a cart left behind."""
    lines = [
        json.dumps(json.loads(added_to_cart(at(), user=tenant)) | {"tenant": tenant}).encode() for tenant in ("a", "b")
    ]
    return messages(path, *lines)


def test_campaigns_hold_for_every_tenant_unless_one_is_named(tmp_path: Path, campaigns: Path) -> None:
    """The file has no tenant in it, so it means all; with --tenant the others keep what their log says."""
    arguments = [tenants_log(tmp_path / "messages.jsonl"), "--campaigns", campaigns, "--until", "2026-01-02"]
    assert sorted(sent_to(replay(*arguments))) == ["a", "b"]
    assert sent_to(replay(*arguments, "--tenant", "b")) == ["b"]


def test_the_triggers_go_to_a_file_when_one_is_named(tmp_path: Path, campaigns: Path) -> None:
    """The same lines as on stdout, which is then empty."""
    file = messages(tmp_path / "messages.jsonl", added_to_cart(at()), sent("page", at(hours=2), user="ben"))
    printed = replay(file, "--campaigns", campaigns).stdout
    done = replay(file, "--campaigns", campaigns, "--triggers", tmp_path / "triggers.jsonl")
    assert done.stdout == ""
    assert (tmp_path / "triggers.jsonl").read_text() == printed != ""


def test_a_terminal_sees_how_far_it_is(tmp_path: Path, campaigns: Path) -> None:
    """A bar with a percentage, of the bytes that were read; stdout stays clean."""
    file = messages(tmp_path / "messages.jsonl", *(added_to_cart(at(minutes=n)) for n in range(600)))
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*WAXMARK, "replay", str(file), "--campaigns", str(campaigns)],
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=False,
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
            timeout=60,
        )
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # what Linux says at the end of a terminal that nobody writes to
                break
            if not chunk:
                break
            seen += chunk
    finally:
        os.close(ours)
    assert done.returncode == 0
    assert b"100%" in seen
    assert b"%" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "holds messages and no campaigns; name them by --campaigns"),
        (["--tenant", "a"], "--tenant says whose campaigns --campaigns replaces; give both"),
        (["--campaigns", "campaigns.yaml", "--until", "soon"], '--until: "soon" is not a time'),
    ],
)
def test_options_that_make_no_sense_together_are_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Nobody shall wait for a replay that sends nothing."""
    done = replay(messages(tmp_path / "messages.jsonl", added_to_cart(at())), *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
