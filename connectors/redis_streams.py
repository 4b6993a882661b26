"""Redis Streams as the log: the embedded transport.

P streams each for events, triggers, decisions and dead letters, named `waxmark:{topic}:{partition}`; an entry's id is its
position and, in milliseconds, its append time. An entry has the record's bytes in `v`, and `traceparent` if it has one.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import redis
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.recorder import Metrics
from connectors.stopping import Stop
from state.clock import MILLISECOND, SECOND
from state.outputs import DeadLetter, Emission, Feedback
from state.records import Batch, Record, partition_of
from state.wire import encoder

EVENTS: Final = "events"
TRIGGERS: Final = "triggers"
DECISIONS: Final = "decisions"
DEAD_LETTERS: Final = "dead-letters"
TOPICS: Final = (EVENTS, TRIGGERS, DECISIONS, DEAD_LETTERS)

BATCH: Final = 500
IDLE: Final = timedelta(milliseconds=10)
HEARTBEAT: Final = 200 * MILLISECOND

_APPEND_ONCE: Final = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local id = last[1] and last[1][1] or '0-0'
if id ~= ARGV[1] then return redis.error_reply('FENCED ' .. id) end
for i = 2, #ARGV, 2 do
  id = redis.call('XADD', KEYS[1], '*', 'id', ARGV[i], 'v', ARGV[i + 1])
end
return id
"""


class UnsafeRedis(Exception):
    """A Redis that may throw the log away."""


class Fenced(Exception):
    """Another writer has appended to a stream that is written by one: this one is a zombie and must end."""


class Buried(NamedTuple):
    """A dead letter on its way to its topic."""

    id: str
    value: bytes


Wrote = Callable[[int, list[Any]], None]
"""Whoever wants to hear what a partition of a topic was just given, repeats left out."""


def _nobody(partition: int, items: list[Any]) -> None:
    """Let nobody hear."""


def stream(topic: str, partition: int) -> str:
    """Name the stream of one partition of a topic."""
    return f"waxmark:{topic}:{partition}"


def connect(url: str) -> redis.Redis:
    """Connect to a Redis that keeps what it is given. Raises UnsafeRedis, or redis.RedisError when it cannot be reached."""
    client = redis.Redis.from_url(url, socket_timeout=30)
    policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
    limit = client.config_get("maxmemory").get("maxmemory", "0")
    if policy != "noeviction" and limit != "0":
        raise UnsafeRedis(f"this Redis evicts keys (maxmemory-policy {policy}) and would lose the log; set noeviction")
    return client


def log_time(position: bytes | str) -> int:
    """Read the append time, in microseconds, from a stream id."""
    head = position.partition(b"-")[0] if isinstance(position, bytes) else position.partition("-")[0]
    return int(head) * MILLISECOND


def append(client: Any, partitions: int, key: str, value: bytes) -> None:
    """Append one record under a person's key; it is durable as far as that Redis is when this returns."""
    client.xadd(stream(EVENTS, partition_of(key, partitions)), {"v": value})


def scan(client: Any, topic: str, partition: int, after: str = "-") -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """Yield the entries of a stream after a position, oldest first, a page at a time."""
    start = after if after == "-" else f"({after}"
    while page := client.xrange(stream(topic, partition), start, "+", count=1000):
        for position, fields in page:
            yield position.decode(), fields
        start = f"({page[-1][0].decode()}"


class EventSource(FixedPartitionedSource[tuple[str, Batch], str]):
    """The events of P streams, in batches, with a report of how far each was read.

    A batch that reached the end says so with the server's time, taken before the look: whatever comes later is younger.
    `settling` microseconds are left out of that promise, for a clock that is set back a little. Streams are trimmed by age up
    to what the third-last snapshot covers, which is surely durable.
    """

    def __init__(
        self,
        url: str,
        partitions: int,
        stop: Stop,
        retention: int,
        metrics: Metrics,
        settling: int = 100 * MILLISECOND,
    ) -> None:
        self._url, self._partitions = url, partitions
        self._partition = partial(_EventPartition, stop=stop, retention=retention, metrics=metrics, settling=settling)

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_EventPartition":  # noqa: ARG002 - theirs
        """Open one partition where the snapshot left it."""
        return self._partition(connect(self._url), int(for_part), resume_state or "0-0")


class _EventPartition(StatefulSourcePartition[tuple[str, Batch], str]):
    def __init__(
        self,
        client: Any,
        partition: int,
        position: str,
        *,
        stop: Stop,
        retention: int,
        metrics: Metrics,
        settling: int,
    ) -> None:
        self._client, self._partition, self._position, self._metrics = client, partition, position, metrics
        self._stop, self._retention, self._settling = stop, retention, settling
        self._stream, self._key = stream(EVENTS, partition), str(partition)
        self._covered = [position]
        self._told = 0
        self._idle = False

    def next_batch(self) -> list[tuple[str, Batch]]:
        if self._stop.requested:
            raise StopIteration
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        pipe.xread({self._stream: self._position}, count=BATCH)
        (seconds, micros), answer = pipe.execute()
        entries = _entries(answer, self._stream)
        self._idle = len(entries) < BATCH
        read_to = seconds * SECOND + micros - self._settling if self._idle else 0
        if not entries and read_to - self._told < HEARTBEAT:
            return []
        self._told = max(read_to, self._told)
        if entries:
            self._position = entries[-1][0].decode()
        records = [_record(position, fields) for position, fields in entries]
        now = seconds * SECOND + micros
        self._metrics.looked(self._partition, now=now, log_time=log_time(self._position), at_end=self._idle)
        return [(self._key, Batch(self._partition, records, read_to))]

    def next_awake(self) -> datetime | None:
        return datetime.now(tz=UTC) + IDLE if self._idle else None

    def snapshot(self) -> str:
        self._covered = [*self._covered[-2:], self._position]
        if len(self._covered) == 3:  # noqa: PLR2004 - the third-last snapshot
            self._trim(self._covered[0])
        return self._position

    def _trim(self, covered: str) -> None:
        seconds, _ = self._client.time()
        oldest = f"{max(0, seconds * 1000 - self._retention // MILLISECOND)}-0"
        self._client.xtrim(self._stream, minid=min(oldest, covered, key=_order), approximate=True)

    def close(self) -> None:
        self._client.close()


def _order(position: str) -> tuple[int, int]:
    millis, _, sequence = position.partition("-")
    return int(millis), int(sequence or 0)


def _entries(answer: Any, name: str) -> list[Any]:
    """Take one stream's entries out of an XREAD answer, which RESP2 gives as pairs and RESP3 as a map."""
    if not answer:
        return []
    found = answer[name.encode()][0] if isinstance(answer, dict) else answer[0][1]
    return list(found)


def _record(position: bytes, fields: dict[bytes, bytes]) -> Record:
    traceparent = fields.get(b"traceparent")
    return Record(
        position.decode(),
        log_time(position),
        fields.get(b"v", b""),
        None if traceparent is None else traceparent.decode(errors="replace"),
    )


class OnceSink(FixedPartitionedSink[Emission | Buried, str]):
    """A topic written exactly once: one writer a partition, every id once.

    The snapshot is the last position written. On resume, what stands after it is read back and skipped when the replay brings
    it again. Every append states which entry it believes to be the last; where another writer came between, it is refused,
    and this worker ends as the zombie that it is.
    """

    def __init__(self, url: str, partitions: int, topic: str, metrics: Metrics, wrote: Wrote = _nobody) -> None:
        self._url, self._partitions, self._topic, self._metrics, self._wrote = url, partitions, topic, metrics, wrote

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """Say which partition a key is in: a key is a partition's number."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_OncePartition":  # noqa: ARG002 - theirs
        """Open one partition and read back what was written after the snapshot."""
        part, position = int(for_part), resume_state or "-"
        return _OncePartition(connect(self._url), self._topic, part, position, self._metrics, self._wrote)


class _OncePartition(StatefulSinkPartition[Emission | Buried, str]):
    def __init__(self, client: Any, topic: str, partition: int, position: str, metrics: Metrics, wrote: Wrote) -> None:
        self._client, self._stream, self._topic, self._metrics = client, stream(topic, partition), topic, metrics
        self._partition, self._wrote = partition, wrote
        self._last = "0-0" if position == "-" else position
        self._written: set[bytes] = set()
        for last, fields in scan(client, topic, partition, position):
            self._last = last
            self._written.add(fields[b"id"])
        self._append = client.register_script(_APPEND_ONCE)

    def write_batch(self, values: list[Emission | Buried]) -> None:
        fresh = [item for item in values if item.id.encode() not in self._written]
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

    def snapshot(self) -> str:
        return self._last

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


def buried(letter: DeadLetter) -> Buried:
    """Address a dead letter for its topic."""
    return Buried(letter.id, encoder.encode(letter))
