"""Hosting: what the shards of one process have in common."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from operators import hosting
from operators.fold import Limits
from operators.hosting import hosted
from state import rounds
from state.packing import SAMPLES
from state.records import Batch, Record
from state.shard import MOST_LIVE, MOST_LIVE_AT_END
from state.snapshots import Chunk
from tests.beside import Later
from tests.shopping import at, sent


class Chunks:
    """A journal in memory, where nothing was before."""

    size = 0

    def __init__(self) -> None:
        self.chunks: list[bytes | None] = []

    def read(self) -> None:
        """Find nothing."""

    def add(self, partition: int, chunk: bytes) -> None:  # noqa: ARG002 - the journal's protocol
        """Keep a chunk."""
        self.chunks.append(chunk)

    def write(self, changes: Any) -> bytes:
        """Keep a chunk, and nothing else."""
        self.chunks.append(changes.chunk)
        return b""


class Heard:
    """A watch that remembers the shards it was told of."""

    def __init__(self) -> None:
        self.shards: list[Any] = []
        self.sizes: list[int] = []

    def folded(self, outputs: Any, shard: Any) -> None:  # noqa: ARG002 - the watch's protocol
        """Hear of a batch."""
        self.shards.append(shard)

    def snapshotted(self, partition: int, size: int, journal: int, seconds: float) -> None:  # noqa: ARG002 - the watch's
        """Hear of a snapshot."""
        self.sizes.append(size)


def at_once(work: Callable[[], None]) -> None:
    """Have nobody to wait for."""
    work()


def test_the_shards_of_a_process_share_the_room_for_people_who_are_unpacked() -> None:
    """Each had room for as many as a process should: with 64 partitions in one, for six gigabytes."""
    heard = Heard()
    build = hosted(Limits(), 0.5, heard, lambda _: Chunks(), Later(), at_once)
    logics = [build(None) for _ in range(4)]
    for partition, logic in enumerate(logics):
        logic.on_batch([Batch(partition, [Record("1-0", at(), sent("page", at()))], 0)])

    assert [shard.partition for shard in heard.shards] == [0, 1, 2, 3]
    assert [shard.room for shard in heard.shards] == [MOST_LIVE // 4] * 4


def many(first: int, people: int, now: int) -> Batch:
    """Let so many people come, of a log that is read to its end."""
    who = [f"user-{number}" for number in range(first, first + people)]
    return Batch(0, [Record(f"{now}-{user}", now, sent("page", now, user=user)) for user in who], 0, at_end=True)


def test_once_the_log_is_read_to_its_end_people_are_written_before_the_snapshot() -> None:
    """A snapshot wrote everybody whom the last ten seconds had touched in one go: half a second without a decision."""
    journal, heard = Chunks(), Heard()
    logic = hosted(Limits(), 0.5, heard, lambda _: journal, Later(), at_once)(None)
    logic.snapshot()
    for second in range(5):
        logic.on_batch([many(1000 * second, 1000, at(seconds=second))])
    early = journal.chunks[1:]
    logic.snapshot()
    last = decoded(journal.chunks[-1])
    assert len(early) == 5
    assert len(last.people) == MOST_LIVE_AT_END
    assert len({key for chunk in (*early, journal.chunks[-1]) for key in decoded(chunk).people}) == 5000
    assert heard.sizes[-1] == sum(len(chunk or b"") for chunk in journal.chunks[1:])


def test_people_are_packed_while_others_wait_and_a_snapshot_in_between_loses_and_repeats_nobody() -> None:
    """Packed before the profiles went out, people cost every profile of their batch a seventh of its time."""
    journal, waiting = Chunks(), list[Callable[[], None]]()
    logic = hosted(Limits(), 0.5, Heard(), lambda _: journal, Later(), waiting.append)(None)
    logic.snapshot()
    logic.on_batch([many(0, 1000, at(seconds=0))])
    assert journal.chunks[1:] == []
    logic.snapshot()
    for work in waiting:
        work()
    logic.on_batch([many(1000, 1000, at(seconds=1))])
    waiting[-1]()
    logic.snapshot()
    assert [len(decoded(chunk).people) for chunk in journal.chunks[1:]] == [
        1000,
        1000 - MOST_LIVE_AT_END,
        MOST_LIVE_AT_END,
    ]


def test_a_dictionary_is_learned_beside_the_worker_and_taken_in_at_a_later_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Learned within a snapshot, it stopped each shard of a process for 150 ms, one after the other."""
    monkeypatch.setattr(rounds, "SLACK", 0)
    monkeypatch.setattr(hosting, "_BREATH_SECONDS", 0)
    journal, beside = Chunks(), Later()
    logic = hosted(Limits(), 0.5, Heard(), lambda _: journal, beside, at_once)(None)
    for second in range(3):
        logic.on_batch([many(0, SAMPLES, at(seconds=second))])
        logic.snapshot()
    assert len(beside.waiting) == 1
    assert [decoded(chunk).dictionaries for chunk in journal.chunks] == [[], [], []]
    beside.go()
    logic.snapshot()
    assert len(decoded(journal.chunks[-1]).dictionaries) == 1


def decoded(chunk: bytes | None) -> Chunk:
    """Read a chunk."""
    assert chunk is not None
    return msgspec.msgpack.decode(chunk, type=Chunk)
