"""What a shard writes down, change by change, is the shard: after any changes, rounds and restarts, cold people included."""

import random
from typing import Final

import msgspec
import pytest

from operators.fold import Fold, Limits
from state import rounds
from state.campaigns import Items, Selector
from state.clock import DAY, HOUR
from state.packing import learned
from state.people import User
from state.records import Batch, Record
from state.shard import Shard
from state.snapshots import Changes, Chunk
from tests.shopping import CART, added_to_cart, at, in_force, ordered, sent, tracked

PEOPLE: Final = 1_200
"""Enough for a dictionary."""


class Chunks:
    """A journal in memory, which drops what a round made old."""

    def __init__(self) -> None:
        self.head, self.kept, self._round_at = b"", list[bytes](), 0
        self.rounds = self.early = 0

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

    def snapshot(self, shard: Shard) -> None:
        """Take a snapshot of a shard, which then has learned from its samples."""
        changes = shard.changes()
        self.write(changes)
        if changes.samples and (dictionary := learned(changes.samples)):
            shard.learn(dictionary)

    def settle(self, shard: Shard, *, is_at_end: bool = False) -> None:
        """Add what a shard has to write after a batch."""
        chunk = shard.settle(is_at_end=is_at_end)
        if chunk is not None:
            self.kept.append(chunk)
            self.early += 1

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
    monkeypatch.setattr(rounds, "SLACK", 500)
    monkeypatch.setattr(rounds, "EARLY", 10)
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
        fold.shard.room, fold.shard.room_at_end = 60, 20
        found.append(fold.apply(Batch(0, log[start : start + 20], 0)))
        if rng.random() < 0.8:
            journal.settle(fold.shard, is_at_end=rng.random() < 0.5)
        if rng.random() < 0.3:
            journal.snapshot(fold.shard)
            if rng.random() < 0.1:
                fold = Fold(journal.restored(), Limits())
    assert [(out.triggers, out.decisions, out.profiles) for out in found] == [
        (out.triggers, out.decisions, out.profiles) for out in expected
    ]
    journal.snapshot(fold.shard)
    assert journal.rounds > 2, "rounds ended, and what was before them was dropped"
    assert journal.early > 2, "people were written between snapshots"
    restored = journal.restored()
    assert len(restored) == len(whole.shard)
    everybody = [f"default/user-{number}" for number in range(PEOPLE)]
    assert [*map(restored.due, everybody)] == [*map(whole.shard.due, everybody)]
    assert restored.timers == whole.shard.timers == sum(1 for key in everybody if restored.due(key))
    assert all(restored.find(key) == whole.shard.find(key) for key in [*whole.shard.live])


def test_people_who_were_away_are_compressed_and_come_back_as_they_were() -> None:
    """After a round everybody who was not about for an hour takes a fraction of their bytes."""
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    for number in range(PEOPLE):
        now = at(seconds=number)
        fold.apply(Batch(0, [Record(f"{number}-0", now, shopped(number))], 0))
    fold.apply(Batch(0, [Record("x-0", at(hours=3), shopped(0))], 0))
    as_it_was = fold.shard.snapshot()
    journal.snapshot(fold.shard)
    fold.apply(Batch(0, [Record("y-0", at(hours=4), shopped(1))], 0))
    for _ in range(2 * rounds.ROUND + 2):
        journal.snapshot(fold.shard)
    assert journal.rounds == 2, "the first wrote everybody at once, as nothing was written before"
    restored = journal.restored()
    assert len(restored.snapshot()) < len(as_it_was) / 2
    assert restored.find("default/user-77") == Shard.restore(as_it_was).find("default/user-77")


def test_who_is_compressed_with_a_dictionary_just_learned_is_read_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes in the middle of a round, whose beginning wrote only those before it."""
    monkeypatch.setattr(rounds, "SLACK", 0)
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    for hour, people in enumerate((300, 10, 10, 50)):
        log = [Record(f"{hour}-{n}", at(hours=hour), shopped(n)) for n in range(people)]
        fold.apply(Batch(0, log, 0))
        journal.settle(fold.shard)
        journal.snapshot(fold.shard)
    assert journal.rounds == 0
    assert any(packed[0] > 1 for packed in msgspec.msgpack.decode(journal.kept[-1], type=Chunk).people.values())
    restored = journal.restored()
    for number in range(300):
        assert restored.find(f"default/user-{number}") == fold.shard.find(f"default/user-{number}") is not None


def test_an_idle_shard_writes_nothing_more() -> None:
    """Once a round has made the journal new, and nothing happens, there is nothing to add for ever."""
    fold = Fold(Shard(0), Limits())
    fold.apply(Batch(0, [Record(f"{n}-0", at(seconds=n), shopped(n)) for n in range(50)], 0))
    fold.shard.changes()
    fold.apply(Batch(0, [Record("again-0", at(minutes=2), shopped(51))], 0))
    for _ in range(3 * rounds.ROUND):
        fold.shard.changes()
    rest = [fold.shard.changes() for _ in range(rounds.ROUND)]
    assert [(c.chunk, c.begins_round, c.ends_round) for c in rest] == [(None, False, False)] * rounds.ROUND


def test_an_erased_person_is_in_no_chunk_that_counts_after_two_rounds() -> None:
    """What was written of them before lies in the journal until everybody else was written again."""
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    for number, who in enumerate(("ann", "bob")):
        traits = {"email": f"{who}@example.com"}
        fold.apply(Batch(0, [Record(f"{number}-0", at(), sent("identify", at(), user=who, traits=traits))], 0))
    journal.snapshot(fold.shard)
    gone = msgspec.json.encode({"type": "delete", "tenant": "default", "userId": "ann"})
    fold.apply(Batch(0, [Record("2-0", at(seconds=1), gone)], 0))
    for _ in range(2 * rounds.ROUND + 2):
        journal.snapshot(fold.shard)
    assert b"bob@example.com" in b"".join(journal.kept)
    assert b"ann@example.com" not in b"".join(journal.kept)
    assert journal.restored().find("default/ann") is None


def test_somebody_who_is_erased_and_comes_again_in_one_epoch_is_there_after_a_restart() -> None:
    """Packed early, since many others were about, they were struck out of the changes together with who they had been."""
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    fold.shard.room = 0
    story = [
        sent("page", at(), user="ann"),
        msgspec.json.encode({"type": "delete", "tenant": "default", "userId": "ann"}),
        added_to_cart(at(), user="ann"),
        *(sent("page", at(), user=f"other-{n}") for n in range(3)),
    ]
    fold.apply(Batch(0, [Record(f"{n}-0", at(), value) for n, value in enumerate(story)], 0))
    for _ in range(8):
        journal.settle(fold.shard)
    assert "default/ann" not in fold.shard.live
    journal.snapshot(fold.shard)
    restored = journal.restored()
    assert restored.find("default/ann") == fold.shard.find("default/ann") is not None
    assert restored.due("default/ann") == fold.shard.due("default/ann") > 0
    again = [tracked("Product Viewed", at(seconds=1), user=f"other-{n}", product_id="shoes") for n in range(3)]
    fold.apply(Batch(0, [Record(f"1-{n}", at(seconds=1), value) for n, value in enumerate(again)], 0))
    for _ in range(8):
        journal.settle(fold.shard)
    assert "default/other-0" not in fold.shard.live
    gone = msgspec.json.encode({"type": "delete", "tenant": "default", "userId": "other-0"})
    fold.apply(Batch(0, [Record("2-0", at(seconds=2), gone)], 0))
    journal.snapshot(fold.shard)
    assert journal.restored().find("default/other-0") is None


def test_of_many_people_those_who_come_again_stay_unpacked() -> None:
    """Packed in the order in which they came, the busiest were packed first, and unpacked at their next event."""
    fold = Fold(Shard(0), Limits())
    fold.shard.room = 8
    for number in range(100):
        now = at(seconds=number)
        both = [sent("page", now, user=who, message_id=f"{who}-{number}") for who in ("ann", f"other-{number}")]
        fold.apply(Batch(0, [Record(f"{number}-{n}", now, value) for n, value in enumerate(both)], 0))
        ann = fold.shard.live["default/ann"]
        fold.shard.settle(is_at_end=False)
        assert fold.shard.live["default/ann"] is ann
        assert len(fold.shard.live) <= 12


def test_a_journal_that_restarts_made_long_is_written_anew_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that restarts more often than a round takes never ended one, and read more at each resume."""
    monkeypatch.setattr(rounds, "SLACK", 10)
    fold, journal = Fold(Shard(0), Limits()), Chunks()
    for run in range(200):
        numbers = range(run * PEOPLE, run * PEOPLE + (10 if run else 40))
        fold.apply(Batch(0, [Record(f"{n}-0", at(seconds=n), shopped(n)) for n in numbers], 0))
        journal.snapshot(fold.shard)
        fold = Fold(journal.restored(), Limits())
        assert len(journal.kept) < 60
    assert len(fold.shard) == 40


def test_who_is_kept_at_a_midnight_is_kept_until_the_next_whether_the_worker_restarted_or_not() -> None:
    """Something was still due at the midnight; a calendar made anew looked again at the midnight that had passed."""
    limits = Limits(user_retention=2 * DAY)
    viewed, wait = (Selector("Product Viewed"),), 2 * DAY + 6 * HOUR
    campaign = msgspec.structs.replace(CART, opened_by=viewed, wait=wait, subject="user", items=Items.NONE)
    log = [
        Record("0-0", at(), in_force(campaign)),
        Record("1-0", at(hours=20), tracked("Product Viewed", at(hours=20), product_id="shoes")),
        Record("2-0", at(days=3, hours=1), sent("page", at(days=3), user="bob")),
        Record("3-0", at(days=3, hours=9), sent("page", at(days=3, hours=9), user="bob")),
    ]
    stayed = Fold(Shard(0), limits)
    stayed.apply(Batch(0, log, 0))
    restarted = Fold(Shard.restore(stayed.shard.snapshot()), limits)
    for fold in (stayed, restarted):
        fold.apply(Batch(0, [], at(days=3, hours=10)))
    assert len(restarted.shard) == len(stayed.shard) == 2
    for fold in (stayed, restarted):
        fold.apply(Batch(0, [], at(days=4, hours=1)))
    assert len(restarted.shard) == len(stayed.shard) == 1


def test_a_midnight_unpacks_nobody_who_came_again() -> None:
    """All who first came on one day are looked at in one night; unpacked they would take gigabytes."""
    fold = Fold(Shard(0), Limits(visitor_retention=2 * DAY))
    for day in (0, 1):
        log = [
            Record(f"{day}-{n}", at(days=day), sent("page", at(days=day), user=None, visitor=f"device-{n}"))
            for n in range(50)
        ]
        fold.apply(Batch(0, log, 0))
    fold.shard.changes()
    fold.apply(Batch(0, [], at(days=3, minutes=1) - DAY // 2))
    fold.apply(Batch(0, [], at(days=3, minutes=1)))
    assert len(fold.shard) == 50
    assert not fold.shard.live


def test_an_integer_that_no_snapshot_can_hold_is_not_remembered() -> None:
    """It passed the collector, and the worker failed at its next snapshot, after each restart."""
    long = 10**30
    campaign = msgspec.structs.replace(CART, properties=("note", "product_id"), items=Items.NONE)
    log = [
        in_force(campaign),
        sent("identify", at(), traits={"age": long, "size": 2**63}),
        tracked("Product Added", at(), product_id="shoes", cart_id="cart-1", note={"deep": [1, long]}),
    ]
    fold = Fold(Shard(0), Limits())
    fold.apply(Batch(0, [Record(f"{n}-0", at(), value) for n, value in enumerate(log)], 0))
    restored = Shard.restore(fold.shard.snapshot()).find("default/ann")
    assert isinstance(restored, User)
    assert restored.contact.traits == {"size": 2**63}
    assert [wait.properties for wait in restored.waits.open] == [{"product_id": "shoes"}]
