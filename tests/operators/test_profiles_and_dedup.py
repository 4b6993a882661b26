"""What a profile holds after an event, and which messages count as repeats."""

from operators.dedup import AWAY, CAPACITY, is_repeat
from operators.engagement import EngagementMachine
from state.clock import DAY, HOUR
from state.events import Event, decode
from state.people import User
from state.records import Record
from tests.shopping import START, Story, added_to_cart, at, ordered, sent, tracked


def fields_after(story: Story, value: bytes, when: int) -> dict[str, object]:
    """Append a record, and read the profile fields that it wrote."""
    (update,) = story.append(value, when).profiles
    assert update.fields is not None
    return dict(update.fields)


def test_a_new_user_gets_a_whole_profile_and_then_what_changed() -> None:
    """Most events change a third of the fields; writing only those takes half the time, here and in the store."""
    story = Story()
    whole = fields_after(story, sent("identify", at(), traits={"email": "ann@example.com"}), at())
    assert {"email", "traits", "consent", "cart", "orders", "revenue", "first_seen", "engagement_7d"} <= whole.keys()
    viewed = fields_after(story, tracked("Product Viewed", at(minutes=1), product_id="p"), at(minutes=1))
    assert viewed.keys().isdisjoint({"email", "traits", "consent", "cart", "orders", "revenue"})
    assert viewed["events"] == 2
    added = fields_after(story, added_to_cart(at(minutes=2)), at(minutes=2))
    assert (added["cart_items"], added["cart_total"]) == (1, 50.0)
    bought = fields_after(story, ordered(at(minutes=3)), at(minutes=3))
    assert (bought["orders"], bought["revenue"], bought["cart"], bought["cart_total"]) == (1, 50.0, "[]", 0)
    refused = fields_after(story, tracked("Unsubscribed", at(minutes=4)), at(minutes=4))
    assert refused["consent"] == "unsubscribed"


def test_whoever_was_away_for_an_hour_gets_a_whole_profile_again() -> None:
    """So a store that lost its profiles is mended as people come back, and no profile that expired comes back with holes."""
    story = Story()
    first = fields_after(story, tracked("Product Viewed", at(), product_id="p"), at())
    again = fields_after(story, tracked("Product Viewed", at(hours=2), product_id="p"), at(hours=2))
    assert again.keys() == first.keys()


def test_parts_written_one_by_one_make_the_profile_that_is_written_whole() -> None:
    """The store merges fields; whatever was written in parts must add up."""
    story, stored = Story(), dict[str, object]()
    values = [
        sent("identify", at(), traits={"email": "ann@example.com"}),
        added_to_cart(at(minutes=1), "hat"),
        tracked("Product Viewed", at(minutes=-3), product_id="p"),
        ordered(at(minutes=2)),
        added_to_cart(at(minutes=3), "shoes"),
        tracked("Email Bounced", at(minutes=4)),
    ]
    for minute, value in enumerate(values):
        stored |= fields_after(story, value, at(minutes=minute))
    whole = fields_after(story, tracked("Email Delivered", at(hours=3)), at(hours=3))
    assert {name: stored[name] for name in whole if name != "as_of"} == {n: v for n, v in whole.items() if n != "as_of"}


def test_a_cart_that_time_forgot_leaves_the_profile() -> None:
    """No event says so; the profile is written all the same, whole."""
    story = Story()
    story.append(added_to_cart(at()), at())
    out = story.read_to(at(days=40))
    (update,) = out.profiles
    assert update.fields is not None
    assert (update.fields["cart"], update.fields["cart_items"], update.fields["events"]) == ("[]", 0, 1)


def test_a_session_that_closes_writes_no_profile() -> None:
    """Nothing that a profile shows has changed: a shop's quiet hour must not be its store's busiest."""
    story = Story()
    story.append(tracked("Product Viewed", at(), product_id="p"), at())
    assert story.read_to(at(hours=2)).profiles == []


def test_the_last_ids_of_a_person_are_known_and_older_ones_are_not() -> None:
    """Bounded by count: a client that sends its whole queue again is caught, one that sends last month's is not."""
    user = User("default", "ann", START)
    assert not any(is_repeat(user, f"m{number}", START) for number in range(CAPACITY + 1))
    assert all(is_repeat(user, f"m{number}", START) for number in range(1, CAPACITY + 1))
    assert not is_repeat(user, "m0", START)


def test_ids_are_forgotten_after_a_week_away() -> None:
    """Bounded by age: whoever comes back after weeks does not carry old ids along."""
    user = User("default", "ann", START)
    assert not is_repeat(user, "m", START)
    assert is_repeat(user, "m", START + AWAY)
    assert not is_repeat(user, "m", START + AWAY + 1)


def test_engagement_decays_by_its_half_lives_whatever_the_order_of_events() -> None:
    """A late event counts as what would be left of it, had it come in time."""
    events = []
    for days in (0, 7, 90):
        event = decode(tracked("Product Viewed", at(days=days), product_id="p"), at(days=90, hours=1))
        assert isinstance(event, Event)
        events.append(event)
    for order in (events, events[::-1]):
        user = User("default", "ann", START)
        for event in order:
            EngagementMachine().on_event(user, event, Record("1-1", at(days=90, hours=1), b""))
        engagement = user.engagement
        assert engagement.at == START + 90 * DAY
        assert abs(engagement.quarter - (0.5 + 0.5 ** (83 / 90) + 1)) < 1e-12
        assert abs(engagement.month - (0.5**3 + 0.5 ** (83 / 30) + 1)) < 1e-12
        assert abs(engagement.week - (0.5 ** (90 / 7) + 0.5 ** (83 / 7) + 1)) < 1e-12
        assert engagement.last_at - engagement.first_at > HOUR
