"""Redis Streams as the log: the embedded transport.

P streams each for events, triggers, decisions and dead letters, named `waxmark:{topic}:{partition}`; an entry's id is its
position and, in milliseconds, its append time. An entry has the record's bytes in `v`, and `traceparent` if it has one.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final

import redis
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.idling import Idling
from connectors.recorder import Metrics
from connectors.redis_line import Line, accepted, packed
from connectors.stopping import Stop
from connectors.topics import EVENTS
from state.clock import MILLISECOND, SECOND
from state.records import Batch, Record, partition_of

BATCH: Final = 500
HEARTBEAT: Final = 200
"""Milliseconds after which an idle log is looked at nevertheless, for the time that has passed."""

_TIME: Final = b"*1\r\n$4\r\nTIME\r\n"


class UnsafeRedis(Exception):
    """A Redis that may throw the log away."""


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


def appending(partitions: int, key: str, value: bytes) -> bytes:
    """Write the command that appends one record under a person's key."""
    return packed("XADD", stream(EVENTS, partition_of(key, partitions)), "*", "v", value)


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
    `settling` microseconds are left out of that promise, for a clock that is set back a little; a look brings `most` records
    at most. Streams are trimmed by age up to what the third-last snapshot covers, which is surely durable.
    """

    def __init__(
        self,
        url: str,
        partitions: int,
        stop: Stop,
        retention: int,
        metrics: Metrics,
        settling: int = 100 * MILLISECOND,
        most: int = BATCH,
    ) -> None:
        self._url, self._partitions, self._idling = url, partitions, Idling()
        self._partition = partial(
            _EventPartition,
            stop=stop,
            retention=retention,
            metrics=metrics,
            settling=settling,
            most=most,
            idling=self._idling,
        )

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(partition) for partition in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> "_EventPartition":  # noqa: ARG002 - theirs
        """Open one partition where the snapshot left it.

        Raises UnsafeRedis where that place is gone from the log, and with it perhaps records that were never read: trimming
        leaves it, so the snapshot is an old backup, or somebody else trimmed.
        """
        client, name = connect(self._url), stream(EVENTS, int(for_part))
        if resume_state and resume_state != "0-0" and not client.xrange(name, resume_state, resume_state):
            raise UnsafeRedis(f"{name} no longer holds {resume_state}, from where this recovery store goes on")
        self._idling.opened()
        return self._partition(client, int(for_part), resume_state or "0-0")


class _EventPartition(StatefulSourcePartition[tuple[str, Batch], str]):
    """Where it has read to the end it leaves a question with Redis, which answers as soon as there is more.

    Until then a look costs a question to the kernel, so looks can be frequent.
    """

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
        most: int,
        idling: Idling,
    ) -> None:
        self._client, self._partition, self._position, self._metrics = client, partition, position, metrics
        self._stop, self._retention, self._settling, self._most = stop, retention, settling, most
        self._idling = idling
        self._stream, self._key = stream(EVENTS, partition), str(partition)
        self._line = Line(client)
        self._looking = _TIME + _all_but_last("XREAD", "COUNT", most, "STREAMS", self._stream)
        self._asking = _all_but_last("XREAD", "BLOCK", HEARTBEAT, "COUNT", 1, "STREAMS", self._stream)
        self._covered = [position]
        self._asked = False
        self._is_silent = True

    def next_batch(self) -> list[tuple[str, Batch]]:
        if self._stop.requested and not self._is_silent:
            raise StopIteration
        was_silent, self._is_silent = self._is_silent, False
        if self._asked:
            if not self._line.is_answering():
                return [(self._key, Batch(self._partition, [], 0))] if was_silent else []  # see connectors.awoken
            accepted(self._line.answers(1))
        now, entries = self._look()
        at_end = len(entries) < self._most
        if entries:
            self._position = entries[-1][0].decode()
        if at_end:
            self._line.send(self._asking + _last(self._position))
        self._asked = at_end
        self._metrics.looked(self._partition, now=now, log_time=log_time(self._position), at_end=at_end)
        read_to = now - self._settling if at_end else 0
        return [(self._key, Batch(self._partition, _records(entries), read_to, at_end))]

    def _look(self) -> tuple[int, list[Any]]:
        """Take the server's time, then what there is."""
        self._line.send(self._looking + _last(self._position))
        (seconds, micros), found = accepted(self._line.answers(2))
        return int(seconds) * SECOND + int(micros), _entries(found, self._stream)

    def next_awake(self) -> datetime | None:
        return self._idling.until() if self._asked else None

    def snapshot(self) -> str:
        self._is_silent = True
        self._covered = [*self._covered[-2:], self._position]
        if len(self._covered) == 3:  # noqa: PLR2004 - the third-last snapshot
            self._trim(self._covered[0])
        return self._position

    def _trim(self, covered: str) -> None:
        trim(self._client, self._stream, self._retention, covered)

    def close(self) -> None:
        self._line.close()
        self._client.close()


def _all_but_last(*parts: str | int) -> bytes:
    """Write a command but for its last part, which is another each time."""
    return packed(*parts, "").removesuffix(_last(""))


def _last(part: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(part), part.encode())


def trim(client: Any, name: str, age: int, *needed: str) -> None:
    """Forget what is older than `age`, in microseconds by the server's clock; nothing after a place that is needed."""
    seconds, _ = client.time()
    oldest = f"{max(0, seconds * 1000 - age // MILLISECOND)}-0"
    # Without a limit of 0, Redis drops 10,000 entries at most, and a busy stream would grow for ever.
    client.xtrim(name, minid=min(oldest, *needed, key=order), approximate=True, limit=0)


def order(position: str) -> tuple[int, int]:
    """Sort positions as the stream does."""
    millis, _, sequence = position.partition("-")
    return int(millis), int(sequence or 0)


def _entries(answer: Any, name: str) -> list[Any]:
    """Take one stream's entries out of a raw answer to XREAD, a list of pairs in RESP2 and a map in RESP3."""
    if not answer:
        return []
    found: list[Any] = answer[name.encode()] if isinstance(answer, dict) else answer[0][1]
    return found


def _records(entries: list[Any]) -> list[Record]:
    """Make records of a stream's entries."""
    records = []
    for place, fields in entries:
        position = place.decode()
        time = int(position.partition("-")[0]) * MILLISECOND
        if len(fields) == 2 and fields[0] == b"v":  # noqa: PLR2004 - one name and its value
            records.append(Record(position, time, fields[1]))
        else:
            named = dict(zip(fields[::2], fields[1::2], strict=True))
            trace = named.get(b"traceparent")
            text = None if trace is None else trace.decode(errors="replace")
            records.append(Record(position, time, named.get(b"v", b""), text))
    return records
