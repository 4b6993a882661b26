"""Timers come when they are due, in order, however they were moved; and what is outdated does not pile up."""

import random

from state.clock import DAY, MINUTE
from state.packing import Packing
from state.people import User
from state.timers import Timers


class Dues:
    """A shard, as far as timers know it, with nothing but times."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}
        self.asked = 0
        self.timers = Timers(self.due)

    def due(self, key: str) -> int:
        """Say a person's time, and count how often it was asked for."""
        self.asked += 1
        return self.at.get(key, 0)

    def wake(self, key: str, at: int) -> None:
        """Set a time; a later one than known is not told, as the shard does it."""
        known = self.at.get(key)
        if known is None or at < known:
            self.at[key] = at
            self.timers.add(key, at)

    def taken(self, horizon: int) -> list[tuple[int, str]]:
        """Take out all that is due."""
        found = []
        while (first := self.timers.take(horizon)) is not None:
            del self.at[first[1]]
            found.append(first)
        return found


def test_whatever_is_set_moved_and_forgotten_comes_when_it_is_due_in_order_of_time_and_name() -> None:
    """Over a month, beside a table that is looked through every time; the promise of idleness is never too long."""
    rng, shop, now = random.Random(5), Dues(), 1_000 * DAY
    for step in range(4_000):
        key = f"p{rng.randrange(300)}"
        if rng.random() < 0.15:
            shop.at.pop(key, None)
        else:
            shop.wake(key, now + rng.choice((MINUTE, 31 * MINUTE, DAY, 30 * DAY)) + rng.randrange(5) * MINUTE)
        if step % 3 == 0:
            now += rng.choice((0, 1, MINUTE, 20 * MINUTE, DAY // 2))
            expected = sorted((at, who) for who, at in shop.at.items() if at < now)
            assert not expected or shop.timers.idle_until < now
            assert shop.taken(now) == expected
            assert shop.timers.idle_until <= min(shop.at.values(), default=now + DAY)


def test_what_is_due_exactly_at_the_horizon_waits() -> None:
    """A record that is appended at the very time still counts; at the beginning of a quarter of an hour too."""
    shop = Dues()
    for at in (100 * DAY, 100 * DAY + 1):
        shop.wake("ann", at)
        assert shop.taken(at) == []
        assert shop.taken(at + 1) == [(at, "ann")]


def test_a_person_who_is_woken_a_thousand_times_takes_one_place() -> None:
    """Each visit ends with a look, after which the far timer is noted again: what is noted already must not pile up."""
    shop = Dues()
    for visit in range(50_000):
        shop.at.pop("ann", None)
        shop.wake("ann", 100 * DAY + visit % 7)
        shop.at.pop("bob", None)
        shop.wake("bob", DAY)
        shop.taken(DAY)
    shop.asked = 0
    assert shop.taken(101 * DAY) == [(DAY, "bob"), (100 * DAY + 49_999 % 7, "ann")]
    assert shop.asked < 5_000


def test_after_a_restart_all_are_there() -> None:
    """They are told in any order, at once."""
    shop = Dues()
    shop.at = {f"p{number}": DAY + number % 100 * MINUTE for number in range(5_000)}
    packing = Packing()
    people = {key: packing.plain(User("default", key, DAY), at) for key, at in shop.at.items()}
    assert shop.timers.fill(people | {"idle": packing.plain(User("default", "idle", DAY), 0)}) == len(shop.at)
    expected = sorted((at, key) for key, at in shop.at.items())
    assert shop.taken(3 * DAY) == expected
