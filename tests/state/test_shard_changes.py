"""What a shard writes down, change by change, is the shard: after any changes, rounds and restarts, cold people included."""

import random
from typing import Final

import msgspec
import pytest

from operators.fold import Fold, Limits
from state import packing, shard
from state.people import Contact, Person, User, Visitor
from state.records import Batch, Record
from state.shard import Changes, Shard
from tests.shopping import CART, added_to_cart, at, in_force, ordered, sent, tracked

PEOPLE: Final = 1_200
"""Enough for a dictionary."""


class Chunks:
    """A journal in memory, which drops what a round made old."""

    def __init__(self) -> None:
        self.head, self.kept, self._round_at = b"", list[bytes](), 0
        self.rounds = 0

    def write(self, changes: Changes) -> None:
        """Add changes."""
        self.head = changes.head
        if changes.begins_round:
            self._round_at = len(self.kept)
        if changes.chunk is not None:
            self.kept.append(changes.chunk)
        if changes.ends_round:
            del self.kept[: self._round_at]
            self._round_at, self.rounds = 0, self.rounds + 1

    def restored(self) -> Shard:
        """Read everything back."""
        return Shard.restore(self.head, self.kept)


def shopped(number: int) -> bytes:
    """Fill the cart of one of many."""
    who = f"user-{number % PEOPLE}"
    return added_to_cart(at(seconds=number), f"product-{number % 7}", user=who, message_id=f"m{number}")


def test_any_changes_rounds_and_restarts_give_the_outputs_of_a_shard_that_never_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twelve hundred people for some days, who come, go cold, come again, are erased; a restart now and then."""
    monkeypatch.setattr(shard, "SLACK", 500)
    rng, log = random.Random(11), [Record("0-0", at(), in_force(CART))]
    for number in range(6_000):
        now = at(minutes=number / 2)
        who = f"user-{int(rng.random() ** 2 * PEOPLE)}"
        value = rng.choice(
            [
                added_to_cart(now, f"product-{number % 50}", user=who, message_id=f"m{number}"),
                tracked("Product Viewed", now, user=who, product_id="shoes", message_id=f"m{number}"),
                ordered(now, f"order-{number}", user=who, message_id=f"m{number}"),
                sent("page", now, user=None, visitor=f"device-{number % 90}", message_id=f"m{number}"),
            ]
        )
        if number % 97 == 0:
            value = msgspec.json.encode({"type": "delete", "tenant": "default", "userId": who})
        log.append(Record(f"{number + 1}-0", now, value))
    whole = Fold(Shard(0), Limits())
    expected = [whole.apply(Batch(0, log[start : start + 20], 0)) for start in range(0, len(log), 20)]

    journal, fold, found = Chunks(), Fold(Shard(0), Limits()), []
    for start in range(0, len(log), 20):
        found.append(fold.apply(Batch(0, log[start : start + 20], 0)))
        fold.shard.settle(rng.randrange(80))
        if rng.random() < 0.3:
            journal.write(fold.shard.changes())
            if rng.random() < 0.1:
                fold = Fold(journal.restored(), Limits())
    assert [(out.triggers, out.decisions, out.profiles) for out in found] == [
        (out.triggers, out.decisions, out.profiles) for out in expected
    ]
    journal.write(fold.shard.changes())
    assert journal.rounds > 2, "rounds ended, and what was before them was dropped"
    restored = journal.restored()
    assert len(restored) == len(whole.shard)
    assert restored.wakes == whole.shard.wakes
    assert all(restored.find(key) == whole.shard.find(key) for key in [*whole.shard.live])


def test_people_who_were_away_are_compressed_and_come_back_as_they_were() -> None:
    """After a round everybody who was not about for an hour takes a fraction of their bytes."""
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    for number in range(PEOPLE):
        now = at(seconds=number)
        fold.apply(Batch(0, [Record(f"{number}-0", now, shopped(number))], 0))
    fold.apply(Batch(0, [Record("x-0", at(hours=3), shopped(0))], 0))
    as_it_was = fold.shard.snapshot()
    journal.write(fold.shard.changes())
    fold.apply(Batch(0, [Record("y-0", at(hours=4), shopped(1))], 0))
    for _ in range(2 * shard.ROUND + 2):
        journal.write(fold.shard.changes())
    assert journal.rounds == 2, "the first wrote everybody at once, as nothing was written before"
    restored = journal.restored()
    assert len(restored.snapshot()) < len(as_it_was) / 2
    assert restored.find("default/user-77") == Shard.restore(as_it_was).find("default/user-77")


def test_an_idle_shard_writes_nothing_more() -> None:
    """Once a round has made the journal new, and nothing happens, there is nothing to add for ever."""
    fold = Fold(Shard(0), Limits())
    fold.apply(Batch(0, [Record(f"{n}-0", at(seconds=n), shopped(n)) for n in range(50)], 0))
    fold.shard.changes()
    fold.apply(Batch(0, [Record("again-0", at(minutes=2), shopped(51))], 0))
    for _ in range(3 * shard.ROUND):
        fold.shard.changes()
    rest = [fold.shard.changes() for _ in range(shard.ROUND)]
    assert [(c.chunk, c.begins_round, c.ends_round) for c in rest] == [(None, False, False)] * shard.ROUND


def test_an_erased_person_is_in_no_chunk_that_counts_after_two_rounds() -> None:
    """What was written of them before lies in the journal until everybody else was written again."""
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    for number, who in enumerate(("ann", "bob")):
        traits = {"email": f"{who}@example.com"}
        fold.apply(Batch(0, [Record(f"{number}-0", at(), sent("identify", at(), user=who, traits=traits))], 0))
    journal.write(fold.shard.changes())
    gone = msgspec.json.encode({"type": "delete", "tenant": "default", "userId": "ann"})
    fold.apply(Batch(0, [Record("2-0", at(seconds=1), gone)], 0))
    for _ in range(2 * shard.ROUND + 2):
        journal.write(fold.shard.changes())
    assert b"bob@example.com" in b"".join(journal.kept)
    assert b"ann@example.com" not in b"".join(journal.kept)
    assert journal.restored().find("default/ann") is None


def test_a_dictionary_names_nobody() -> None:
    """It is kept for good, so nothing that a person would want erased may be in it."""
    packer = packing.Packing()
    people: list[Person] = [
        User("default", f"user-{n}", at(), contact=Contact(f"user-{n}@example.com", {"name": "Ann Example"}))
        for n in range(packing.SAMPLES - 100)
    ]
    people += [Visitor("default", f"device-{n}", at(), f"user-{n}") for n in range(100)]
    packer.learn([packer.plain(person) for person in people])
    (dictionary,) = packer.dictionaries
    assert b"default" in dictionary
    assert not any(private in dictionary for private in (b"user-", b"@example", b"Ann Example", b"device-"))
