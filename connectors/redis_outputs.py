"""What the dataflow writes to Redis Streams: topics exactly once, and links and forwards back to the events."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.outbox import Outbox, Outboxes
from connectors.read_back import ReadBack
from connectors.recorder import Metrics
from connectors.redis_line import packed
from connectors.redis_streams import appending, connect, scan, stream, trim
from connectors.topics import Buried, Fenced, Wrote, nobody
from state.outputs import Emission, Feedback
from state.wire import encoder

_APPEND_ONCE: Final = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local id = last[1] and last[1][1] or '0-0'
if id ~= ARGV[1] then return redis.error_reply('FENCED ' .. id) end
for i = 2, #ARGV, 2 do
  id = redis.call('XADD', KEYS[1], '*', 'id', ARGV[i], 'v', ARGV[i + 1])
end
return id
"""


class OnceSink(FixedPartitionedSink[Emission | Buried, str]):
    """A topic written exactly once: one writer a partition, every id once.

    The snapshot is the last position written. On resume, what stands after it is read back and skipped when the replay brings
    it again; until it has brought all, the snapshot stays before the first that is still to come, for the next resume must
    know those too. Every append states which entry it believes to be the last; where another writer came between, it is
    refused, and this worker ends as the zombie that it is.

    What is older than `retention`, in microseconds, is forgotten at snapshots, but nothing after the third-last of them, which
    is surely durable; with 0, somebody else trims the topic.

    Without `outboxes` a batch is written when `write_batch` returns; with them, when the worker's outbox is settled, which a
    snapshot does at the latest.
    """

    def __init__(
        self,
        url: str,
        partitions: int,
        topic: str,
        metrics: Metrics,
        wrote: Wrote = nobody,
        retention: int = 0,
        outboxes: Outboxes | None = None,
    ) -> None:
        self._url, self._partitions, self._topic, self._metrics, self._wrote = url, partitions, topic, metrics, wrote
        self._retention, self._outboxes = retention, outboxes

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in: a key is a partition's number."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_OncePartition":  # noqa: ARG002 - theirs
        """Open one partition and read back what was written after the snapshot."""
        client, topic, part, position = connect(self._url), self._topic, int(for_part), resume_state or "-"
        outbox, alone = (Outbox(self._url), True) if self._outboxes is None else (self._outboxes.own, False)
        return _OncePartition(
            client, outbox, topic, part, position, self._metrics, self._wrote, self._retention, alone=alone
        )


class _OncePartition(StatefulSinkPartition[Emission | Buried, str]):
    def __init__(
        self,
        client: Any,
        outbox: Outbox,
        topic: str,
        partition: int,
        position: str,
        metrics: Metrics,
        wrote: Wrote,
        retention: int,
        *,
        alone: bool,
    ) -> None:
        self._client, self._outbox, self._alone = client, outbox, alone
        self._stream, self._topic, self._metrics = stream(topic, partition), topic, metrics
        self._partition, self._wrote, self._retention = partition, wrote, retention
        self._covered: list[str] = []
        self._unheard: list[Emission | Buried] = []
        self._last = "0-0" if position == "-" else position
        self._read_back = ReadBack[str]()
        for last, fields in scan(client, topic, partition, position):
            self._read_back.found(fields[b"id"], self._last)
            self._last = last

    def write_batch(self, values: list[Emission | Buried]) -> None:
        fresh = [item for item in values if not self._read_back.brings(item.id.encode())]
        self._metrics.suppressed(self._topic, len(values) - len(fresh))
        if not fresh:
            return
        if self._unheard:
            self._outbox.settle()  # what is appended next must name what was appended last
        named: Iterable[str | bytes] = chain.from_iterable((item.id, item.value) for item in fresh)
        self._unheard = fresh
        self._outbox.put(packed("EVAL", _APPEND_ONCE, 1, self._stream, self._last, *named), 1, self._heard)
        if self._alone:
            self._outbox.settle()

    def _heard(self, answers: list[Any]) -> None:
        (answer,) = answers
        fresh, self._unheard = self._unheard, []
        if isinstance(answer, Exception):
            if "FENCED" not in str(answer):
                raise answer
            raise Fenced(f"{self._stream} was written by another worker; this one ends") from answer
        self._last = answer.decode()
        self._wrote(self._partition, fresh)

    @property
    def position(self) -> str:
        return self._last

    def snapshot(self) -> str:
        self._outbox.settle()
        safe = self._read_back.safe(self._last)
        self._covered = [*self._covered[-2:], safe]
        if self._retention and len(self._covered) == 3:  # noqa: PLR2004 - the third-last snapshot
            trim(self._client, self._stream, self._retention, self._covered[0])
        return safe

    def close(self) -> None:
        if self._alone:
            self._outbox.close()
        self._client.close()


class FeedbackSink(FixedPartitionedSink[Feedback, None]):
    """Links and forwards back into the events, at least once: links are idempotent, forwarded messages are deduplicated.

    They are written when the worker's outbox is settled, by a snapshot at the latest.
    """

    def __init__(self, outboxes: Outboxes, partitions: int) -> None:
        self._outboxes, self._partitions = outboxes, partitions

    def list_parts(self) -> list[str]:
        """Name the writers, one for each partition that records come from."""
        return [str(partition) for partition in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """Say which writer a key is with."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_FeedbackPartition":  # noqa: ARG002 - theirs
        """Open one writer."""
        return _FeedbackPartition(self._outboxes.own, self._partitions)


class _FeedbackPartition(StatefulSinkPartition[Feedback, None]):
    def __init__(self, outbox: Outbox, partitions: int) -> None:
        self._outbox, self._partitions = outbox, partitions

    def write_batch(self, values: list[Feedback]) -> None:
        commands = [appending(self._partitions, key, encoder.encode(record)) for key, record in values]
        self._outbox.put(b"".join(commands), len(commands))

    def snapshot(self) -> None:
        self._outbox.settle()
