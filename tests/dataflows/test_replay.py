"""Replay: the fold over a file, told apart from production by nothing but where records come from."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from dataflows.replay import Campaigns, replay
from operators.fold import Limits
from state.campaigns import Campaign
from state.clock import MINUTE
from state.outputs import Outputs
from state.records import Record, partition_of
from tests.shopping import CART, added_to_cart, at, in_force, ordered, sent

QUICK: Campaign = msgspec.structs.replace(CART, id="quick", wait=MINUTE)


def log(*records: tuple[int, int, bytes]) -> list[tuple[int, Record]]:
    """Write a log from (partition, append time, value)."""
    return [(partition, Record(f"{n}-0", when, value)) for n, (partition, when, value) in enumerate(records)]


def triggers(outputs: Iterable[Outputs]) -> list[dict[str, Any]]:
    """List the triggers."""
    return [msgspec.json.decode(emission.value) for out in outputs for emission in out.triggers]


def of(tenant: str, message: bytes) -> bytes:
    """Make a message another tenant's."""
    return json.dumps(json.loads(message) | {"tenant": tenant}).encode()


@pytest.mark.parametrize("feed_back", [False, True])
def test_what_is_due_by_the_last_append_time_of_any_partition_happens(*, feed_back: bool) -> None:
    """Time is one for all partitions: a quiet one's carts fall due by what another one shows of the time."""
    records = log(
        (0, at(), in_force(CART)),
        (0, at(), added_to_cart(at())),
        (1, at(hours=2), sent("page", at(hours=2), user="ben")),
    )
    assert [t["user_id"] for t in triggers(replay(records, 2, Limits(), feed_back=feed_back))] == ["ann"]
    assert triggers(replay(records[:2], 2, Limits(), feed_back=feed_back)) == []
    late = triggers(replay(records[:2], 2, Limits(), feed_back=feed_back, read_to=at(hours=2)))
    assert [t["user_id"] for t in late] == ["ann"]


def test_in_batches_or_one_by_one_a_log_gives_the_same() -> None:
    """A log with its links is folded in batches, a raw one record by record; with known users both are the same log."""
    records = log((0, at(), in_force(CART)), (1, at(), in_force(CART)))
    for n in range(1500):
        when, user = at(seconds=n), f"user-{n % 300}"
        value = ordered(when, user=user) if n % 7 == 0 else added_to_cart(when, user=user, cart_id=f"cart-{n % 300}")
        records += log((partition_of(user, 2), when, value))
    found = [
        triggers(replay(records, 2, Limits(), feed_back=feed_back, read_to=at(hours=3))) for feed_back in (True, False)
    ]
    in_order = [sorted(each, key=lambda t: str(t["trigger_id"])) for each in found]
    assert in_order[0] == in_order[1]
    assert len(in_order[0]) > 100


def test_other_definitions_replace_those_of_the_log() -> None:
    """From the first record on, whatever the log puts in force and however its campaigns records are written."""
    spelt = json.dumps(json.loads(in_force(CART)) | {"note": "another encoder"}, indent=1).encode()
    records = log(
        (0, at(), added_to_cart(at())),
        (0, at(seconds=1), spelt),
        (0, at(hours=2), sent("page", at(hours=2), user="ben")),
    )
    found = triggers(replay(records, 1, Limits(), feed_back=False, instead=Campaigns([QUICK])))
    assert [t["campaign_id"] for t in found] == ["quick"]


def test_definitions_of_one_tenant_leave_the_others_theirs() -> None:
    """A deployment of many tenants tries out a change for one of them."""
    records = log(
        (0, at(), of("a", in_force(CART))),
        (0, at(), of("b", in_force(CART))),
        (0, at(), of("a", added_to_cart(at(), user="ann"))),
        (0, at(), of("b", added_to_cart(at(), user="ben"))),
    )

    def sent_by(instead: Campaigns) -> set[tuple[str, str]]:
        outputs = replay(records, 1, Limits(), feed_back=False, read_to=at(hours=2), instead=instead)
        return {(t["tenant"], t["campaign_id"]) for t in triggers(outputs)}

    assert sent_by(Campaigns([QUICK], "a")) == {("a", "quick"), ("b", "cart")}
    assert sent_by(Campaigns([QUICK])) == {("a", "quick"), ("b", "quick")}


def test_a_tenant_that_is_no_name_gets_no_campaigns_but_a_dead_letter() -> None:
    """The one dead letter is the message's own."""
    records = log((0, at(), of("A/B", added_to_cart(at()))), (0, at(), b"\xff"))
    outputs = list(replay(records, 1, Limits(), feed_back=True, instead=Campaigns([QUICK])))
    assert [letter.reason for out in outputs for letter in out.dead_letters] == ["invalid", "not_utf8"]
