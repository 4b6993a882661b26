"""What the dataflow writes to Redis Streams: topics exactly once, and links and forwards back to the events."""

from typing import Any, Final

import redis
from bytewax.outputs import FixedPartitionedSink

from connectors.awoken import Answered
from connectors.read_back import ReadBack
from connectors.recorder import Metrics
from connectors.redis_streams import connect, scan, stream, trim
from connectors.topics import EVENTS, Buried, Fenced, Wrote, nobody
from state.outputs import Emission, Feedback
from state.records import partition_of
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
    refused, and this worker ends as the zombie that it is; it learns of that at its next append or snapshot.

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


class _OncePartition(Answered[Emission | Buried]):
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
        self._connection = client.connection_pool.get_connection()
        self._sent: list[Emission | Buried] = []

    def write_batch(self, values: list[Emission | Buried]) -> None:
        """Send what is new; its answer is left for the next time, which needs it."""
        fresh = [item for item in values if not self._read_back.brings(item.id.encode())]
        self._metrics.suppressed(self._topic, len(values) - len(fresh))
        if not fresh:
            return
        self._hear()
        arguments: list[str | bytes] = [self._last]
        for item in fresh:
            arguments += [item.id, item.value]
        self._connection.send_command("EVAL", _APPEND_ONCE, 1, self._stream, *arguments)
        self._sent = fresh

    def listen(self) -> None:
        if self._sent and self._connection.can_read():
            self._hear()

    def _hear(self) -> None:
        """Wait for the answer to what was sent, if it is still to come. Raises Fenced."""
        if not self._sent:
            return
        sent, self._sent = self._sent, []
        try:
            self._last = self._connection.read_response().decode()
        except redis.ResponseError as error:
            if "FENCED" not in str(error):
                raise
            raise Fenced(f"{self._stream} was written by another worker; this one ends") from error
        self._wrote(self._partition, sent)

    @property
    def position(self) -> str:
        self._hear()
        return self._last

    def snapshot(self) -> str:
        self._hear()
        safe = self._read_back.safe(self._last)
        self._covered = [*self._covered[-2:], safe]
        if self._retention and len(self._covered) == 3:  # noqa: PLR2004 - the third-last snapshot
            trim(self._client, self._stream, self._retention, self._covered[0])
        return safe

    def close(self) -> None:
        """Hang up: at a graceful stop the last snapshot has heard all, and after a failure nobody waits for more."""
        self._client.connection_pool.disconnect()
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


class _FeedbackPartition(Answered[Feedback]):
    def __init__(self, client: Any, partitions: int) -> None:
        self._client, self._partitions = client, partitions
        self._connection = client.connection_pool.get_connection()
        self._unheard = 0

    def write_batch(self, values: list[Feedback]) -> None:
        self.snapshot()
        pack = self._connection.pack_command
        commands = [
            part
            for key, record in values
            for part in pack(
                "XADD", stream(EVENTS, partition_of(key, self._partitions)), "*", "v", encoder.encode(record)
            )
        ]
        self._connection.send_packed_command(commands)
        self._unheard = len(values)

    def listen(self) -> None:
        if self._unheard and self._connection.can_read():
            self.snapshot()

    def snapshot(self) -> None:
        """Wait for the answers that are still to come."""
        while self._unheard:
            self._unheard -= 1
            self._connection.read_response()

    def close(self) -> None:
        self._client.connection_pool.disconnect()
        self._client.close()
