"""Hosting: what the shards of one process have in common."""

from typing import Any

from operators.fold import Limits
from operators.hosting import hosted
from state.records import Batch, Record
from state.shard import MOST_LIVE
from tests.shopping import at, sent


class NoJournal:
    """Where nothing was written, and nothing is."""

    size = 0

    def read(self) -> None:
        """Find nothing."""

    def write(self, changes: Any) -> bytes:  # noqa: ARG002 - the journal's protocol
        """Keep nothing."""
        return b""


class Heard:
    """A watch that remembers the shards it was told of."""

    def __init__(self) -> None:
        self.shards: list[Any] = []

    def folded(self, outputs: Any, shard: Any) -> None:  # noqa: ARG002 - the watch's protocol
        """Hear of a batch."""
        self.shards.append(shard)

    def snapshotted(self, partition: int, size: int, journal: int, seconds: float) -> None:
        """Hear of a snapshot."""


def test_the_shards_of_a_process_share_the_room_for_people_who_are_unpacked() -> None:
    """Each had room for as many as a process should: with 64 partitions in one, for six gigabytes."""
    heard = Heard()
    build = hosted(Limits(), 0.5, heard, lambda _: NoJournal())
    logics = [build(None) for _ in range(4)]
    for partition, logic in enumerate(logics):
        logic.on_batch([Batch(partition, [Record("1-0", at(), sent("page", at()))], 0)])

    assert [shard.partition for shard in heard.shards] == [0, 1, 2, 3]
    assert [shard.most_live for shard in heard.shards] == [MOST_LIVE // 4] * 4
