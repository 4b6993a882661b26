"""Appending to Redis Streams from an event loop: whatever waits is one round trip, so that one fsync serves all of it."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from connectors.appending import Away, Entry, Place, admitted
from connectors.redis_line import packed
from connectors.redis_streams import UnsafeRedis, stream
from connectors.topics import EVENTS
from state.records import partition_of

ROUND_BYTES: Final = 2 * 1024 * 1024
"""Redis does nothing else while it appends a round, and a reader's wait is felt as latency."""

_PROBE_SECONDS: Final = 0.25
_APPEND: Final = """
local ids = {}
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'v', ARGV[i])
  else
    ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'v', ARGV[i], 'traceparent', ARGV[i + 1])
  end
end
return ids
"""

_log = logging.getLogger("waxmark.append")


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    size: int
    answer: asyncio.Future[list[Place]]


class RedisAppender:
    """An `Appender` over Redis Streams; open it with `async with`.

    What an acknowledgement promises is what that Redis promises: with `appendfsync always` the record is on the disk; with
    `everysec` it survives a killed Redis save where a slow disk holds the file back (Redis then answers first and writes up
    to two seconds later), and a power cut costs a second. A Redis without an append-only file, or that evicts, is refused.

    Args:
        url: the Redis; it need not be there yet.
        partitions: P of the log.
        queue_bytes: how much may wait, on its way included; above that, `append` raises Full.
        timeout: seconds after which a Redis that does not answer counts as away.
    """

    def __init__(self, url: str, partitions: int, *, queue_bytes: int = 64 * 1024 * 1024, timeout: float = 2.0) -> None:
        self._client: Any = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
        )
        self._partitions, self._limit = partitions, queue_bytes
        self._queue: deque[_Waiting] = deque()
        self._size = 0
        self._work = asyncio.Event()
        self._reachable = self._closing = False
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Look whether the Redis is there and safe, and begin. Raises UnsafeRedis."""
        with contextlib.suppress(redis.RedisError, OSError):
            await self._probe()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_ready(self) -> bool:
        """Tell whether Redis answered last time, and there is room."""
        return self._reachable and self._size < self._limit

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        """Append records; see `Appender`."""
        open_ = self._reachable and not self._closing
        size = admitted(entries, reachable=open_, waiting=self._size, limit=self._limit)
        answer: asyncio.Future[list[Place]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(entries, size, answer))
        self._size += size
        self._work.set()
        return await answer

    async def close(self) -> None:
        """Append what waits, then let go of Redis."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await self._task
        await self._hang_up()
        await self._client.aclose()

    async def _run(self) -> None:
        while not self._closing or (self._queue and self._reachable):
            if not self._reachable:
                await self._recover()
                continue
            await self._work.wait()
            taken = self._take()
            if not taken:
                self._work.clear()
                continue
            await self._round(taken)
        self._fail(self._take_all())

    async def _round(self, taken: list[_Waiting]) -> None:
        try:
            places = await self._append([entry for waiting in taken for entry in waiting.entries])
        except (redis.RedisError, OSError) as error:
            self._reachable = False
            _log.warning("the log is away", extra={"error": type(error).__name__, "waiting": len(self._queue)})
            self._fail([*taken, *self._take_all()])
            await self._hang_up()
            return
        start = 0
        for waiting in taken:
            end = start + len(waiting.entries)
            if not waiting.answer.done():  # its sender may have hung up
                waiting.answer.set_result(places[start:end])
            start = end
        self._size -= sum(waiting.size for waiting in taken)

    async def _append(self, entries: list[Entry]) -> list[Place]:
        by_partition: dict[int, list[int]] = {}
        for index, entry in enumerate(entries):
            by_partition.setdefault(partition_of(entry.key, self._partitions), []).append(index)
        buffer = [
            packed("EVAL", _APPEND, 1, stream(EVENTS, partition), *_values(entries[index] for index in indices))
            for partition, indices in by_partition.items()
        ]
        places: list[Place] = [Place(0, "")] * len(entries)
        for (partition, indices), ids in zip(by_partition.items(), await self._sent(buffer), strict=True):
            for index, position in zip(indices, ids, strict=True):
                places[index] = Place(partition, position.decode())
        return places

    async def _sent(self, commands: list[bytes]) -> list[list[bytes]]:
        """Send commands in one write; their answers come in order, and all are read, whatever the first one says."""
        if self._connection is None:
            self._connection = await self._client.connection_pool.get_connection()
        await self._connection.send_packed_command([b"".join(commands)])
        answers = [await self._answer() for _ in commands]
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                raise answer
        return answers

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except redis.ResponseError as error:
            return error

    async def _hang_up(self) -> None:
        """Leave a connection on which answers may still be on their way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._client.connection_pool.release(connection)

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size = 0
        while self._queue and size < ROUND_BYTES:
            taken.append(self._queue.popleft())
            size += taken[-1].size
        return taken

    def _take_all(self) -> list[_Waiting]:
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def _fail(self, waiting: Iterable[_Waiting]) -> None:
        for each in waiting:
            self._size -= each.size
            if not each.answer.done():
                each.answer.set_exception(Away("the log went away before it acknowledged"))

    async def _recover(self) -> None:
        self._work.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._work.wait()
        try:
            await self._probe()
        except (redis.RedisError, OSError):
            return
        except UnsafeRedis:
            _log.exception("the log came back unsafe; nothing is appended to it")
            return
        _log.info("the log is back")

    async def _probe(self) -> None:
        await self._client.ping()
        found = await self._client.config_get("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
        if found.get("maxmemory", "0") != "0" and found.get("maxmemory-policy") != "noeviction":
            raise UnsafeRedis("this Redis evicts keys and would lose the log; set maxmemory-policy noeviction")
        if found.get("appendonly") != "yes":
            raise UnsafeRedis("this Redis keeps nothing over a restart; set appendonly yes, and appendfsync always")
        if found.get("appendfsync") != "always":
            _log.warning("an acknowledged event may be lost with the power", extra={"fsync": found.get("appendfsync")})
        self._reachable = True


def _values(entries: Iterable[Entry]) -> Iterator[bytes | str]:
    for entry in entries:
        yield entry.value
        yield entry.traceparent or ""
