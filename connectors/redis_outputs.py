"""What the dataflow writes to Redis Streams: topics exactly once, and links and forwards back to the events."""

from typing import Any, Final

import redis
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.read_back import ReadBack
from connectors.recorder import Metrics
from connectors.redis_streams import append, connect, scan, stream, trim
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
    """

    def __init__(
        self, url: str, partitions: int, topic: str, metrics: Metrics, wrote: Wrote = nobody, retention: int = 0
    ) -> None:
        self._url, self._partitions, self._topic, self._metrics, self._wrote = url, partitions, topic, metrics, wrote
        self._retention = retention

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in: a key is a partition's number."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_OncePartition":  # noqa: ARG002 - theirs
        """Open one partition and read back what was written after the snapshot."""
        part, position = int(for_part), resume_state or "-"
        return _OncePartition(
            connect(self._url), self._topic, part, position, self._metrics, self._wrote, self._retention
        )


class _OncePartition(StatefulSinkPartition[Emission | Buried, str]):
    def __init__(
        self,
        client: Any,
        topic: str,
        partition: int,
        position: str,
        metrics: Metrics,
        wrote: Wrote,
        retention: int,
    ) -> None:
        self._client, self._stream, self._topic, self._metrics = client, stream(topic, partition), topic, metrics
        self._partition, self._wrote, self._retention = partition, wrote, retention
        self._covered: list[str] = []
        self._last = "0-0" if position == "-" else position
        self._read_back = ReadBack[str]()
        for last, fields in scan(client, topic, partition, position):
            self._read_back.found(fields[b"id"], self._last)
            self._last = last
        self._append = client.register_script(_APPEND_ONCE)

    def write_batch(self, values: list[Emission | Buried]) -> None:
        fresh = [item for item in values if not self._read_back.brings(item.id.encode())]
        self._metrics.suppressed(self._topic, len(values) - len(fresh))
        if not fresh:
            return
        arguments: list[str | bytes] = [self._last]
        for item in fresh:
            arguments += [item.id, item.value]
        try:
            self._last = self._append(keys=[self._stream], args=arguments).decode()
        except redis.ResponseError as error:
            if "FENCED" not in str(error):
                raise
            raise Fenced(f"{self._stream} was written by another worker; this one ends") from error
        self._wrote(self._partition, fresh)

    @property
    def position(self) -> str:
        return self._last

    def snapshot(self) -> str:
        safe = self._read_back.safe(self._last)
        self._covered = [*self._covered[-2:], safe]
        if self._retention and len(self._covered) == 3:  # noqa: PLR2004 - the third-last snapshot
            trim(self._client, self._stream, self._retention, self._covered[0])
        return safe

    def close(self) -> None:
        self._client.close()


class FeedbackSink(FixedPartitionedSink[Feedback, None]):
    """Links and forwards back into the events, at least once: links are idempotent, forwarded messages are deduplicated."""

    def __init__(self, url: str, partitions: int) -> None:
        self._url, self._partitions = url, partitions

    def list_parts(self) -> list[str]:
        """Name the writers, one for each partition that records come from."""
        return [str(partition) for partition in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """Say which writer a key is with."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_FeedbackPartition":  # noqa: ARG002 - theirs
        """Open one writer."""
        return _FeedbackPartition(connect(self._url), self._partitions)


class _FeedbackPartition(StatefulSinkPartition[Feedback, None]):
    def __init__(self, client: Any, partitions: int) -> None:
        self._client, self._partitions = client, partitions

    def write_batch(self, values: list[Feedback]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for key, record in values:
            append(pipe, self._partitions, key, encoder.encode(record))
        pipe.execute()

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self._client.close()
