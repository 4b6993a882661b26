"""Appending to Kafka from an event loop: an `Appender` whose `append` returns when the brokers have acknowledged."""

import asyncio
import logging
from collections.abc import Sequence
from threading import Event, Thread
from typing import Any, Final, Self

from confluent_kafka import KafkaError

from connectors.appending import Away, Entry, Full, Place, admitted
from connectors.kafka_client import Kafka
from connectors.kafka_records import TRACEPARENT
from connectors.topics import EVENTS
from state.records import partition_of

_POLL_SECONDS: Final = 0.1
_PROBE_SECONDS: Final = 1.0

_log: Final = logging.getLogger("waxmark.append")


class KafkaAppender:
    """An `Appender` over Kafka; open it with `async with`.

    An acknowledgement promises what the topic does: with three replicas and min.insync.replicas=2, as `waxmark topics` sets
    them, a record survives the loss of any one broker.

    Args:
        kafka: where; it need not be there yet.
        partitions: P of the log.
        queue_bytes: how much may wait, on its way included; above that, `append` raises Full.
        timeout: seconds after which a broker that does not answer counts as away.
    """

    def __init__(
        self, kafka: Kafka, partitions: int, *, queue_bytes: int = 64 * 1024 * 1024, timeout: float = 5.0
    ) -> None:
        self._topic, self._partitions, self._limit = kafka.topic(EVENTS), partitions, queue_bytes
        own = {"delivery.timeout.ms": int(timeout * 1000), "error_cb": self._heard}
        self._producer: Any = kafka.producer(**own)
        self._size = 0
        self._reachable = False
        self._closing = Event()
        self._thread = Thread(target=self._serve, daemon=True)

    async def __aenter__(self) -> Self:
        """Look whether Kafka is there, and begin."""
        await asyncio.to_thread(self._probe)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_ready(self) -> bool:
        """Tell whether Kafka answered last time, and there is room."""
        return self._reachable and self._size < self._limit

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        """Append records; see `Appender`."""
        open_ = self._reachable and not self._closing.is_set()
        size = admitted(entries, reachable=open_, waiting=self._size, limit=self._limit)
        if not entries:
            return []
        batch = _Batch(len(entries), asyncio.get_running_loop())
        self._size += size
        try:
            for index, entry in enumerate(entries):
                self._produce(entry, batch, index)
            return await batch.answer
        finally:
            self._size -= size

    def _produce(self, entry: Entry, batch: "_Batch", index: int) -> None:
        def delivered(error: Any, message: Any) -> None:
            batch.delivered(index, error, message)

        traced = entry.traceparent is not None
        try:
            self._producer.produce(
                self._topic,
                entry.value,
                entry.key,
                partition_of(entry.key, self._partitions),
                delivered,
                headers=[(TRACEPARENT, entry.traceparent)] if traced else None,
            )
        except BufferError as error:
            raise Full("too many records wait to be appended") from error

    async def close(self) -> None:
        """Append what waits, then let go of Kafka."""
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._producer.flush)

    def _serve(self) -> None:
        """Deliver acknowledgements, and look for the brokers while they are away."""
        while not self._closing.is_set():
            if self._reachable:
                self._producer.poll(_POLL_SECONDS)
            else:
                self._probe()
                self._producer.poll(_POLL_SECONDS)

    def _probe(self) -> None:
        try:
            self._producer.list_topics(self._topic, timeout=_PROBE_SECONDS)
        except Exception as error:  # noqa: BLE001 - librdkafka's own, and any of them means the same
            _log.debug("the log does not answer", extra={"error": type(error).__name__})
        else:
            if not self._reachable:
                _log.info("the log is there")
            self._reachable = True

    def _heard(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            _log.warning("the log is away")
            self._reachable = False


class _Batch:
    """Records of one call under way; told of each on librdkafka's thread, it answers on the event loop's."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[list[Place]] = loop.create_future()
        self._loop, self._left = loop, size
        self._places = [Place(0, "")] * size
        self._failed = False

    def delivered(self, index: int, error: KafkaError | None, message: Any) -> None:
        self._left -= 1
        if error is None:
            self._places[index] = Place(message.partition(), str(message.offset()))
        else:
            self._failed = True
        if not self._left:
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.answer.done():  # its sender may have hung up
            return
        if self._failed:
            self.answer.set_exception(Away("the log went away before it acknowledged"))
        else:
            self.answer.set_result(self._places)
