"""The fold: what a person does, in a log, becomes the one email that fits."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from operators.fold import Fold, Limits
from state.clock import DAY
from state.records import Batch, Record
from state.shard import Shard
from tests.shopping import CART, START, Story, added_to_cart, at, in_force, ordered, sent, tracked


def test_an_abandoned_cart_triggers_an_hour_after_its_last_event_with_its_items() -> None:
    """The wait counts from the last cart event, and the payload is the cart as it then is."""
    story = Story()
    story.append(added_to_cart(at(minutes=0), "shoes"), at(minutes=0))
    story.append(added_to_cart(at(minutes=30), "socks"), at(minutes=30))
    story.read_to(at(minutes=90))
    assert story.triggers() == []
    story.read_to(at(minutes=91))
    (trigger,) = story.triggers()
    assert [item["name"] for item in trigger["payload"]["items"]] == ["socks", "shoes"]
    assert trigger["payload"]["total"] == 100
    assert trigger["decided_at"] == "2026-01-01T01:30:00.000Z"


def test_a_cart_that_is_bought_sends_nothing_and_says_why() -> None:
    """Every decision not to send is a record with its reason."""
    story = Story()
    story.append(added_to_cart(at()), at())
    story.append(ordered(at(minutes=5)), at(minutes=5))
    story.read_to(at(days=2))
    assert story.triggers() == []
    assert story.reasons() == ["cancelled"]


def test_after_an_outage_nobody_who_already_bought_gets_a_cart_email() -> None:
    """A timer fires only when the log has been read past it: the order stands in the log before the hour is over."""
    story = Story()
    cart = Record("1-1", at(), added_to_cart(at()))
    order = Record("2-1", at(minutes=1), ordered(at(minutes=1)))
    story.fold.apply(Batch(0, [cart, order], at(days=1)))
    assert story.triggers() == []


def test_what_arrives_in_one_burst_a_day_late_is_read_whole_before_anything_falls_due() -> None:
    """The collector was down: event times are a day old, append times are now, and the order is a moment behind."""
    story = Story()
    story.append(added_to_cart(at()), at(days=1))
    story.append(ordered(at(minutes=1)), at(days=1, seconds=1))
    story.read_to(at(days=3))
    assert story.triggers() == []


def test_an_order_that_arrives_before_its_cart_event_opens_nothing() -> None:
    """Disorder: the cart event happened first and arrives second."""
    story = Story()
    story.append(ordered(at(minutes=1)), at(minutes=2))
    story.append(added_to_cart(at(minutes=0)), at(minutes=3))
    story.read_to(at(days=1))
    assert story.triggers() == []


def test_an_order_that_arrives_after_its_trigger_takes_it_back() -> None:
    """The order happened before the trigger was decided and was synchronised late: a cancel supersedes the send."""
    story = Story()
    story.append(added_to_cart(at()), at())
    story.append(ordered(at(minutes=20)), at(minutes=90))
    (send,) = story.triggers()
    (cancel,) = story.triggers("cancel")
    assert cancel["supersedes"] == send["trigger_id"]


def test_an_order_after_the_email_takes_nothing_back() -> None:
    """That is a conversion."""
    story = Story()
    story.append(added_to_cart(at()), at())
    story.append(ordered(at(minutes=80)), at(minutes=90))
    assert len(story.triggers()) == 1
    assert story.triggers("cancel") == []


def test_two_carts_of_one_person_are_two_subjects() -> None:
    """A complaint of others' users: the second checkout was suppressed by the first."""
    story = Story()
    story.append(added_to_cart(at(), cart_id="one"), at())
    story.append(added_to_cart(at(minutes=1), cart_id="two"), at(minutes=1))
    story.read_to(at(hours=2))
    assert {trigger["subject"] for trigger in story.triggers()} == {"one", "two"}


def test_the_same_cart_triggers_again_only_after_the_reentry_time() -> None:
    """Re-entry is decided when the wait is due, and an early one is a decision with its reason."""
    story = Story()
    for days in (0, 1, 9):
        story.append(added_to_cart(at(days=days), f"product-{days}"), at(days=days))
    story.read_to(at(days=10))
    assert len(story.triggers()) == 2
    assert story.reasons() == ["reentry"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [("Unsubscribed", "unsubscribed"), ("Email Bounced", "bounced"), ("Email Marked as Spam", "complained")],
)
def test_whoever_may_not_be_written_to_gets_nothing(event: str, reason: str) -> None:
    """Consent is checked when the wait is due, not when it was opened."""
    story = Story()
    story.append(added_to_cart(at()), at())
    story.append(tracked(event, at(minutes=1)), at(minutes=1))
    story.read_to(at(hours=2))
    assert story.triggers() == []
    assert story.reasons() == [reason]


def test_an_emptied_cart_sends_nothing() -> None:
    """An email with nothing in it is worse than none."""
    story = Story()
    story.append(added_to_cart(at()), at())
    story.append(tracked("Product Removed", at(minutes=1), product_id="shoes", cart_id="cart-1"), at(minutes=1))
    story.read_to(at(hours=2))
    assert story.reasons() == ["empty_cart"]


def test_what_a_visitor_added_before_logging_in_is_in_the_users_email() -> None:
    """Identity goes through the log: a link to the visitor, and what waited forwarded to the user."""
    story = Story()
    story.append(added_to_cart(at(), user=None, visitor="anon"), at())
    story.append(sent("identify", at(minutes=1), visitor="anon", traits={"email": "ann@example.com"}), at(minutes=1))
    story.feed_back()
    story.feed_back()
    story.read_to(at(hours=2))
    (trigger,) = story.triggers()
    assert trigger["user_id"] == "ann"
    assert trigger["email"] == "ann@example.com"
    assert [item["name"] for item in trigger["payload"]["items"]] == ["shoes"]


def test_the_second_user_of_a_device_does_not_inherit_the_first_ones_cart() -> None:
    """What waited went to the first; what the device does from now on goes to the second."""
    story = Story()
    story.append(added_to_cart(at(), user=None, visitor="anon"), at())
    for minute, user in ((1, "ann"), (2, "bob")):
        story.append(sent("identify", at(minutes=minute), user=user, visitor="anon"), at(minutes=minute))
        story.feed_back()
        story.feed_back()
    story.append(added_to_cart(at(minutes=3), "hat", user=None, visitor="anon"), at(minutes=3))
    story.feed_back()
    story.read_to(at(hours=2))
    assert {t["user_id"]: [i["name"] for i in t["payload"]["items"]] for t in story.triggers()} == {
        "ann": ["shoes"],
        "bob": ["hat"],
    }


def test_a_bad_record_is_a_dead_letter_and_the_next_good_one_is_processed() -> None:
    """Failure is data."""
    story = Story()
    out = story.append(b"\xff not json", at())
    assert [letter.reason for letter in out.dead_letters] == ["not_utf8"]
    assert out.dead_letters[0].base64 is not None
    story.append(added_to_cart(at(minutes=1)), at(minutes=1))
    story.read_to(at(hours=2))
    assert len(story.triggers()) == 1


def test_a_deleted_user_leaves_no_state_no_wait_and_no_profile() -> None:
    """A deletion request is a record in the log."""
    story = Story()
    story.append(added_to_cart(at()), at())
    out = story.append(b'{"type":"delete","userId":"ann"}', at(minutes=1))
    assert [update.fields for update in out.profiles] == [None]
    story.read_to(at(hours=2))
    assert story.triggers() == []
    assert len(story.fold.shard) == 0


def test_a_user_untouched_for_the_retention_time_is_gone() -> None:
    """State is bounded: everybody ends in discard, and the profile goes too."""
    story = Story(limits=Limits(user_retention=10 * DAY, visitor_retention=DAY))
    story.append(tracked("Product Viewed", at(), product_id="shoes"), at())
    story.append(tracked("Product Viewed", at(), product_id="shoes", user=None, visitor="anon"), at())
    story.read_to(at(days=9))
    assert len(story.fold.shard) == 1
    out = story.read_to(at(days=50))
    assert len(story.fold.shard) == 0
    assert [update.fields for update in out.profiles if update.fields is None] == [None]
    assert story.fold.shard.timers == 0


def test_a_session_is_told_by_its_gap_whatever_the_order_of_its_events() -> None:
    """Event time decides: two events of one visit that arrive in the wrong order are one session."""
    story = Story()
    for happened, arrived in ((10, 20), (0, 21), (20, 22)):
        viewed = tracked("Product Viewed", at(minutes=happened), product_id="shoes")
        out = story.append(viewed, at(minutes=arrived))
    fields = out.profiles[-1].fields
    assert fields is not None
    assert (fields["sessions"], fields["session_events"]) == (1, 3)
    assert fields["session_started_at"] == "2026-01-01T00:00:00.000Z"
    assert fields["session_ended_at"] == "2026-01-01T00:20:00.000Z"


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["view", "add", "remove", "order", "identify", "visit", "unsubscribe", "junk"]),
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 100),
        st.integers(-60, 0),
    ),
    min_size=1,
    max_size=40,
)


def _did(what: str, who: str, when: int, number: int) -> bytes:
    match what:
        case "view":
            return tracked("Product Viewed", when, user=who, product_id="p")
        case "add":
            return added_to_cart(when, f"p{number % 3}", user=who)
        case "remove":
            return tracked("Product Removed", when, user=who, product_id="p1", cart_id="cart-1")
        case "order":
            return ordered(when, f"o{number}", user=who)
        case "identify":
            return sent("identify", when, user=who, visitor="dev", traits={"email": f"{who}@x.example"})
        case "visit":
            return added_to_cart(when, "p2", user=None, visitor="dev")
        case "unsubscribe":
            return tracked("Unsubscribed", when, user=who)
        case _:
            return b"{"


def _log(steps: list[tuple[str, str, int, int]]) -> list[Record]:
    """Turn steps into a log: minutes between appends, and how many minutes before its append each thing happened."""
    records, now = [Record("0-0", START, in_force(CART))], START
    for number, (what, who, pause, before) in enumerate(steps):
        now += pause * 60_000_000
        when = now + before * 60_000_000
        value = _did(what, who, when, number)
        records.append(Record(f"{now // 1000}-{number}", now, value))
    return records


def _said(fold: Fold, batches: list[Batch]) -> list[object]:
    """Everything but profiles, which are written once a batch."""
    outs = [fold.apply(batch) for batch in batches]
    return [
        [e for out in outs for e in out.triggers],
        [e for out in outs for e in out.decisions],
        [e for out in outs for e in out.dead_letters],
        [e for out in outs for e in out.feedback],
    ]


@settings(max_examples=150)
@given(steps=_STEPS, seed=st.integers(0, 1000))
def test_any_split_into_batches_and_any_restart_gives_the_same_outputs(
    steps: list[tuple[str, str, int, int]], seed: int
) -> None:
    """Bit for bit: batches, heartbeats between them, and a snapshot restored after each change nothing."""
    log = _log(steps)
    end = log[-1].log_time + DAY
    whole = Fold(Shard(0), Limits())
    expected = _said(whole, [Batch(0, log, end)])

    rng = random.Random(seed)
    fold, outs, position = Fold(Shard(0), Limits()), [], 0
    while position < len(log):
        size = rng.randint(1, 5)
        part = log[position : position + size]
        position += size
        following = log[position].log_time if position < len(log) else end
        outs.append(_said(fold, [Batch(0, part, rng.randint(part[-1].log_time, following))]))
        fold = Fold(Shard.restore(fold.shard.snapshot()), Limits())
    outs.append(_said(fold, [Batch(0, [], end)]))
    assert [[e for out in outs for e in out[kind]] for kind in range(4)] == expected  # type: ignore[attr-defined]
    assert fold.shard.carts_open == whole.shard.carts_open


@settings(max_examples=100)
@given(steps=_STEPS)
def test_a_repeated_message_changes_nothing(steps: list[tuple[str, str, int, int]]) -> None:
    """Every user's message comes twice in a row: the same triggers and decisions, and the same carts."""
    log = [record for record in _log(steps) if b'"userId"' in record.value or b"campaigns" in record.value]
    twice = [again for record in log for again in (record, replace(record, position=record.position + "-again"))]
    once_fold, twice_fold = Fold(Shard(0), Limits()), Fold(Shard(0), Limits())
    end = log[-1].log_time + DAY
    assert _said(once_fold, [Batch(0, log, end)])[:2] == _said(twice_fold, [Batch(0, twice, end)])[:2]
    assert once_fold.shard.carts_open == twice_fold.shard.carts_open
