"""Segment's and RudderStack's libraries for Node, as they come: what they send, and what they hear of errors."""

import json
import subprocess
from typing import Any

import pytest

from state.clock import SECOND
from state.events import Event, decode, parse_time
from tests.api.collecting import WRITE_KEY, Collector
from tests.api.javascript import CLIENTS, node

LIBRARIES = ["segment", "rudderstack"]


@pytest.fixture(scope="module")
def program() -> str:
    """Node, with the libraries installed."""
    return node()


def send(
    program: str, library: str, collector: Collector, user: str, count: int, *event: str, key: str = WRITE_KEY
) -> dict[str, Any]:
    """Let a library send, in a process of its own; give what it called back."""
    command = [program, "node_sdk.mjs", library, collector.url, key, user, str(count), *event]
    done = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    heard: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return heard


@pytest.mark.parametrize("library", LIBRARIES)
def test_all_calls_arrive(program: str, collector: Collector, library: str) -> None:
    """More than a batch of them; every one is an event to the fold, half an emoji and all."""
    user = f"node-{library}"
    heard = send(program, library, collector, user, 45)
    assert heard == {"delivered": 50, "errors": []}
    found = collector.of(user) + [r for r in collector.of(f"{user}-visitor") if not r.get("userId")]
    assert len(found) == 50
    assert {each["type"] for each in found} == {"identify", "track", "page", "screen", "group", "alias"}
    for record in found:
        received = parse_time(record["receivedAt"])
        event = decode(json.dumps(record).encode(), received + SECOND)
        assert isinstance(event, Event)
        assert received - 30 * SECOND <= event.time <= received


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_unknown_key_is_heard_of(program: str, collector: Collector, library: str) -> None:
    """And not tried again."""
    heard = send(program, library, collector, f"node-401-{library}", 3, "E", key="no-such-key")
    assert heard["delivered"] == 0
    assert heard["errors"]
    assert all("401" in error for error in heard["errors"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_bad_message_is_heard_of(program: str, collector: Collector, library: str) -> None:
    """An event without a name, which the library itself lets through, is 400; it is not tried again."""
    heard = send(program, library, collector, f"node-400-{library}", 3, "x" * 300)
    assert heard["delivered"] == 0
    assert heard["errors"]
    assert all("400" in error for error in heard["errors"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_put_off_by_429_comes_again_and_arrives_once(program: str, collector: Collector, library: str) -> None:
    """The libraries wait, each in its own way, and lose nothing."""
    key, user = f"held-up-node-{library}", f"node-429-{library}"
    collector.drain(key)
    before = collector.answered(429)
    heard = send(program, library, collector, user, 20, "E", key=key)
    assert collector.answered(429) > before
    assert heard == {"delivered": 20, "errors": []}
    assert sorted(each["properties"]["product_id"] for each in collector.of(user)) == list(range(20))
