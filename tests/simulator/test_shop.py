"""The simulated shop: a repeatable stream that has in it what real traffic has, in the shares asked for."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import msgspec
import pytest

from simulator.shop import LATEST, Sent, Shop, visits
from state.clock import DAY, MILLISECOND, MINUTE, SECOND
from state.commerce import Kind
from state.events import Event, Reason, Rejected, decode, parse_time

START = parse_time("2026-03-02T09:00:00Z")
SOUND = Shop(duplicates=0, malformed=0)
DEMO = Shop(duplicates=0, malformed=0, pace=0.05, rate=50)


def some(shop: Shop = SOUND, count: int = 10_000, seed: int = 7) -> list[Sent]:
    """Take the beginning of a shop's stream."""
    return list(visits(shop, seed, START, events=count))


def decoded(records: list[Sent]) -> Iterator[tuple[Sent, Event]]:
    """Read records of which none may be broken."""
    for sent in records:
        event = decode(sent.value, sent.log_time)
        assert isinstance(event, Event), event
        yield sent, event


def as_sent(sent: Sent) -> dict[str, Any]:
    """Read a message as its sender wrote it."""
    message: dict[str, Any] = msgspec.json.decode(sent.value)
    return message


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    """Hash randomisation differs between processes; the stream must not depend on the order of any set."""
    program = (
        "import hashlib; from simulator.shop import Shop, visits\n"
        f"records = visits(Shop(), 7, {START}, events=3_000)\n"
        "print(hashlib.sha256(repr(list(records)).encode()).hexdigest())"
    )
    ours = hashlib.sha256(repr(some(Shop(), 3_000)).encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == ours


def test_another_seed_gives_another_history() -> None:
    """Two seeds share no message id, so that their logs may be joined."""
    first, second = ({as_sent(sent)["messageId"] for sent in some(count=1_000, seed=seed)} for seed in (1, 2))
    assert not first & second


def test_records_come_in_append_order_in_whole_milliseconds() -> None:
    """A log time is a Redis stream id: whole milliseconds, never falling, never before the shop opened."""
    times = [sent.log_time for sent in some(Shop(rate=1_000, pace=0.05, disorder=0.2))]
    assert all(before <= after for before, after in pairwise(times))
    assert all(time % MILLISECOND == 0 and time >= START for time in times)


def test_every_sound_message_is_an_event_of_the_key_under_which_it_was_sent() -> None:
    """The key is the user id where there is one, else the visitor id: that is what chooses the partition."""
    seen = Counter[str]()
    for sent, event in decoded(some()):
        assert sent.key == (event.user_id or event.anonymous_id)
        seen[event.message_id] += 1
    assert seen.total() == len(seen) == 10_000


def test_all_that_people_do_in_a_shop_occurs() -> None:
    """A machine whose event never occurs in the simulation is never tried by it."""
    events = [event for _, event in decoded(some(count=30_000))]
    assert {event.name for event in events} == {
        *("page", "identify", "Product List Viewed", "Product Viewed", "Product Added", "Product Removed"),
        *("Checkout Started", "Order Completed", "Unsubscribed", "Email Delivered", "Email Opened"),
        *("Email Link Clicked", "Email Bounced", "Email Marked as Spam"),
    }
    added = next(event.fields for event in events if event.name == "Product Added")
    assert all((added.cart_id, added.product_id, added.name, added.price, added.quantity, added.image_url, added.url))
    order = next(event.fields for event in events if event.name == "Order Completed")
    assert order.order_id
    assert order.total == pytest.approx(sum((p.price or 0) * (p.quantity or 0) for p in order.products))
    assert order.total
    assert 0 < (order.revenue or 0) < order.total


def test_every_broken_message_is_rejected_and_every_kind_of_break_occurs() -> None:
    """Were a broken one accepted, the share of rejects would miss the share asked for by a tenth."""
    results = [decode(sent.value, sent.log_time) for sent in some(Shop(malformed=0.1), 20_000)]
    reasons = Counter(result.reason for result in results if isinstance(result, Rejected))
    assert reasons.total() / len(results) == pytest.approx(0.1, abs=0.005)
    assert set(reasons) == {Reason.NOT_JSON, Reason.NOT_UTF8, Reason.INVALID, Reason.NO_IDENTITY, Reason.BAD_TIME}


def test_by_default_two_records_in_a_hundred_repeat_an_earlier_one_to_the_byte() -> None:
    """A client that got no answer sends again: the very same bytes, under the same key, later."""
    records = some(Shop(), 30_000)
    first: dict[bytes, Sent] = {}
    repeats = 0
    for sent in records:
        earlier = first.setdefault(sent.value, sent)
        if earlier is not sent:
            repeats += 1
            assert earlier.key == sent.key
            assert earlier.log_time < sent.log_time
    assert repeats / len(records) == pytest.approx(0.02, abs=0.003)


def test_known_only_has_user_ids_and_nothing_else() -> None:
    """For peers that know no visitors: nobody is anonymous, and everyone is still identified once, with traits."""
    identified = Counter[str]()
    for sent, event in decoded(some(Shop(known_only=True, duplicates=0, malformed=0, shoppers=200))):
        assert event.user_id == sent.key
        assert "anonymousId" not in as_sent(sent)
        if event.name == "identify":
            identified[event.user_id] += 1
            assert set(as_sent(sent)["traits"]) >= {"email", "first_name", "plan"}
    assert set(identified.values()) == {1}
    assert len(identified) > 150


def test_a_wrong_clock_is_off_by_minutes_yet_corrected_to_within_the_disorder() -> None:
    """The device shifts timestamp and sentAt alike, so receivedAt - (sentAt - timestamp) is right for any clock."""
    wrong, late, records = 0, 0, some()
    for sent, event in decoded(records):
        stated = parse_time(as_sent(sent)["timestamp"])
        wrong += abs(stated - sent.log_time) > MINUTE
        lag = sent.log_time - event.time
        assert 0 <= lag < LATEST + SECOND
        late += lag >= SECOND
    assert wrong / len(records) == pytest.approx(0.05, abs=0.02)
    assert late / len(records) == pytest.approx(0.01, abs=0.003)


def test_without_disorder_every_record_is_appended_as_it_happens() -> None:
    """The delay on the way is milliseconds; what is later than that is the disorder asked for."""
    calm = Shop(duplicates=0, malformed=0, disorder=0)
    assert max(sent.log_time - event.time for sent, event in decoded(some(calm))) < 100 * MILLISECOND


def test_in_the_demo_carts_are_bought_at_once_or_left_or_returned_to() -> None:
    """Its cart campaign waits 5 seconds: some orders must beat it, some carts outlast it, some orders follow it."""
    added: dict[str, int] = {}
    waits: list[int] = []
    records = some(DEMO, 15_000)
    for sent, event in decoded(records):
        if event.name == "Product Added":
            added[str(event.fields.cart_id)] = event.time
        elif event.name == "Order Completed":
            cart_id = as_sent(sent)["properties"]["products"][0]["cart_id"]
            if cart_id in added:
                waits.append(event.time - added.pop(cart_id))
    left = sum(records[-1].log_time - time > 20 * SECOND for time in added.values())
    assert sum(wait < 2 * SECOND for wait in waits) > 100
    assert sum(wait > 5 * SECOND for wait in waits) > 50
    assert left > 100


def test_visitors_browse_and_add_before_a_login_that_carries_both_ids() -> None:
    """What they did as a visitor lies under another key; the identify is what tells whose it was."""
    added: set[str] = set()
    linked: defaultdict[str, set[str]] = defaultdict(set)
    for _, event in decoded(some(count=20_000)):
        if not event.user_id and event.name == "Product Added":
            added.add(event.anonymous_id)
        if event.name == "identify":
            assert event.user_id
            assert event.anonymous_id
            linked[event.user_id].add(event.anonymous_id)
    found_out = set().union(*linked.values())
    assert len(added & found_out) > 50, "visitors with a cart log in"
    assert len(added - found_out) > 50, "and some never do"
    assert sum(len(devices) > 1 for devices in linked.values()) > 20, "people have several devices"


def test_a_few_shoppers_are_tracked_by_the_names_of_version_1() -> None:
    """Old trackers say "Viewed Product"; decoding makes it the name of today."""
    renamed = [
        (as_sent(sent)["event"], event.name)
        for sent, event in decoded(some())
        if event.kind is not Kind.OTHER and event.type == "track" and as_sent(sent)["event"] != event.name
    ]
    assert ("Viewed Product", "Product Viewed") in renamed
    assert 50 < len(renamed) < 1_000


def test_the_busiest_shoppers_do_more_than_their_share() -> None:
    """With equal shoppers, no hot key would ever meet a shard."""
    known_only = Shop(known_only=True, shoppers=1_000)
    counts = sorted(Counter(sent.key for sent in some(known_only, 20_000)).values(), reverse=True)
    assert 0.25 < sum(counts[:100]) / 20_000 < 0.6


@pytest.mark.parametrize(
    ("rate", "pace", "shoppers"), [(5.0, 0.05, 2_000), (50.0, 0.05, 2_000), (400.0, 1.0, 2_000), (100.0, 1.0, 20)]
)
def test_the_rate_is_kept_within_a_tenth(rate: float, pace: float, shoppers: int) -> None:
    """From the first seconds on, and also where so few shoppers keep it only by hurrying."""
    shop = Shop(rate=rate, pace=pace, shoppers=shoppers)
    span = max(60 * SECOND, int(2_000 / rate * SECOND))
    count = sum(1 for _ in visits(shop, 7, START, span=span))
    assert count * SECOND / span == pytest.approx(rate, rel=0.1)


def test_left_to_themselves_shoppers_come_about_once_or_twice_a_day() -> None:
    """Without a rate the shop has its natural traffic: people far apart, and visits of minutes."""
    records = visits(Shop(shoppers=500, duplicates=0, malformed=0), 7, START, span=2 * DAY)
    comings = sum(event.name == "page" for _, event in decoded(list(records)))
    assert 1.5 <= comings / 500 / 2 < 2.5


def test_the_stream_ends_where_asked_and_not_else() -> None:
    """A demo takes it for as long as it runs; a log takes so many records; a test takes an hour of it."""
    assert len(some(count=123)) == 123
    assert all(sent.log_time < START + MINUTE for sent in visits(DEMO, 7, START, span=MINUTE))
    assert len(list(islice(visits(DEMO, 7, START), 12_345))) == 12_345


def test_memory_does_not_grow_with_the_stream() -> None:
    """Endless use holds shoppers, their carts and what is under way: as much after 20,000 records as after 5,000."""
    stream = visits(Shop(shoppers=100, rate=200, pace=0.01), 7, START)
    tracemalloc.start()
    try:
        deque(islice(stream, 5_000), maxlen=0)
        early, _ = tracemalloc.get_traced_memory()
        deque(islice(stream, 15_000), maxlen=0)
        late, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert late < early + 100_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"shoppers": 0},
        {"pace": 0},
        {"rate": 0},
        {"rate": float("nan")},
        {"duplicates": 0.4, "malformed": 0.2},
        {"disorder": -1},
    ],
)
def test_a_shop_that_nobody_could_run_is_refused(wrong: dict[str, Any]) -> None:
    """Else a rate of 0 would wait for ever and say nothing."""
    with pytest.raises(ValueError, match=r"share|shopper"):
        Shop(**wrong)
