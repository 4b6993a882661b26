"""Kafka's messages as records of the log, and ticks: records that say nothing but what time it is.

A tick has no value and the header `waxmark-tick`. The broker stamps it like any record, in the order of the partition, so
whoever has read it has read all that was appended before its time, whatever clocks and replicas do.
"""

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from connectors.kafka_client import KafkaRefused, said
from state.clock import MILLISECOND
from state.records import Record

TICK: Final = "waxmark-tick"
TRACEPARENT: Final = "traceparent"


class Expired(Exception):
    """The log no longer holds the records after a snapshot: some were never read."""


class Reading:
    """How far one partition has been read.

    `position` is the offset to read next, negative for the beginning; `time` the highest append time read, in microseconds
    UTC. A broker's clock may be set back, or a new leader's be slow: append times are then held at the highest seen, the same
    way in every reading from the same position and time. `at_end` says that nothing was left when the broker last answered.
    """

    def __init__(self, where: str, position: int, time: int) -> None:
        self._where = where
        self.position, self.time = position, time
        self.at_end = False

    def take(self, messages: Iterable[Any]) -> list[Record]:
        """Take in what a consumer gave. Raises Expired, or KafkaRefused for any other error in between."""
        time, records = self.time, []
        for message in messages:
            error = message.error()
            if error is not None:
                self._hear(error, message)
                continue
            kind, millis = message.timestamp()
            if kind != TIMESTAMP_LOG_APPEND_TIME:
                raise KafkaRefused(
                    f"{self._where}: not stamped by the broker; set LogAppendTime, as `waxmark topics` does"
                )
            offset, value, headers = message.offset(), message.value(), message.headers()
            self.position, self.at_end = offset + 1, False
            stamped = millis * MILLISECOND
            if stamped > time:
                self.time = time = stamped
            if headers is None:
                records.append(Record(str(offset), time, value or b""))
            elif value is not None or not _is_tick(headers):
                records.append(Record(str(offset), time, value or b"", _traceparent(headers)))
        return records

    def _hear(self, error: KafkaError, message: Any) -> None:
        match error.code():
            case KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self.position, self.at_end = max(self.position, message.offset()), True
            case KafkaError._AUTO_OFFSET_RESET | KafkaError.OFFSET_OUT_OF_RANGE | KafkaError._LOG_TRUNCATION:  # noqa: SLF001
                raise Expired(
                    f"{self._where}: the log does not hold position {self.position} any more: records expired before they were "
                    "read, or the topic was made anew. WAXMARK_ACCEPT_EXPIRED=true goes on with what there is"
                )
            case _:
                raise said(error, self._where)


def _is_tick(headers: list[tuple[str, bytes]]) -> bool:
    return any(name == TICK for name, _ in headers)


def _traceparent(headers: list[tuple[str, bytes | None]]) -> str | None:
    for name, value in headers:
        if name == TRACEPARENT and value is not None:
            return value.decode(errors="replace")
    return None
