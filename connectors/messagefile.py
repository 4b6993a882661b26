"""Bare Segment messages as a log: a JSONL file of one message a line and nothing else, as other tools export them.

A message counts as appended when it says that it was received (`receivedAt`), else sent (`sentAt`), else to have happened
(`originalTimestamp`, `timestamp`). The lines stay in the file's order, so what states an earlier time than a line above it
is appended with that line. Lines that are no messages are records too, as they would be in a live log: the fold says what
is wrong with them.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from connectors.logfile import BrokenLog, Watch, lines
from state.clock import to_micros
from state.records import Record, partition_of
from state.wire import PersonId


class _Message(msgspec.Struct, rename="camel"):
    type: str
    user_id: PersonId | None = None
    anonymous_id: PersonId | None = None
    received_at: datetime | None = None
    sent_at: datetime | None = None
    original_timestamp: datetime | None = None
    timestamp: datetime | None = None

    @property
    def key(self) -> str:
        return str(self.user_id or self.anonymous_id or "")

    @property
    def appended(self) -> int:
        stated = self.received_at or self.sent_at or self.original_timestamp or self.timestamp
        return 0 if stated is None else to_micros(stated)


_message: Final = msgspec.json.Decoder(_Message)
_NO_MESSAGE: Final = _Message("")


class MessageFile:
    """A file of bare messages, read as the log of `partitions` partitions.

    `latest` is the present, in microseconds UTC: a time after it is a wrong clock's and moves nothing. `disordered` counts
    the messages read so far that state an earlier time than one above them, and `most` is by how much at most.
    """

    def __init__(self, path: Path, partitions: int, latest: int) -> None:
        self._path, self._partitions, self._latest = path, partitions, latest
        self.disordered = self.most = 0

    def read(self, watch: Watch = lambda _: None) -> Iterator[tuple[int, Record]]:
        """Yield the records; append times never fall. Raises BrokenLog where the file does not begin with a message."""
        now = 0
        for number, line in lines(self._path, watch):
            value = line.strip()
            if not value:
                continue
            message = _read(value)
            stated = message.appended
            if 0 < stated < now:
                self.disordered += 1
                self.most = max(self.most, now - stated)
            elif stated <= self._latest:
                now = max(now, stated)
            if not now:
                raise BrokenLog(
                    f"{self._path}:{number}: neither a log header nor a Segment message with a receivedAt, sentAt or "
                    "timestamp in the past"
                )
            yield partition_of(message.key, self._partitions), Record(f"line-{number}", now, value)
        if not now:
            raise BrokenLog(f"{self._path}: empty")


def _read(value: bytes) -> _Message:
    try:
        return _message.decode(value)
    except (ValueError, RecursionError):
        return _NO_MESSAGE
