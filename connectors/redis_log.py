"""The embedded log as a whole: publish campaigns into it, export it, import it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import redis
from msgspec import Raw

from connectors import logfile
from connectors.logfile import BrokenLog
from connectors.redis_streams import append, log_time, scan, stream
from connectors.topics import EVENTS
from state.campaigns import Campaign, encode
from state.clock import SECOND
from state.records import Record
from state.wire import CampaignsInForce, encoder


class NotEmpty(Exception):
    """The log holds records younger than those to import, and append times never fall."""


class Sender:
    """Appends records one by one, at once: for tools, not for the collector."""

    def __init__(self, client: Any, partitions: int) -> None:
        self._client, self._partitions = client, partitions

    def append(self, key: str, value: bytes) -> None:
        """Append one record under a person's key."""
        append(self._client, self._partitions, key, value)

    def flush(self) -> None:
        """Have nothing to wait for."""


def publish(client: Any, partitions: int, campaigns: list[Campaign], tenant: str = "default") -> bool:
    """Append the definitions to every partition, unless they are those last published. Return whether they were new.

    The last digest is kept beside the log; a repeat would be harmless, since the fold passes over definitions in force.
    """
    digest, body = encode(campaigns)
    known = f"waxmark:campaigns:{tenant}"
    if client.get(known) == digest.encode():
        return False
    value = encoder.encode(CampaignsInForce(tenant=tenant, digest=digest, campaigns=Raw(body)))
    pipe = client.pipeline(transaction=True)
    for partition in range(partitions):
        pipe.xadd(stream(EVENTS, partition), {"v": value})
    pipe.set(known, digest)
    pipe.execute()
    return True


def export(client: Any, path: Path, partitions: int, chosen: Iterable[int] | None = None) -> int:
    """Write the events of all partitions, or those chosen, to a log file; return how many there were."""
    seconds, micros = client.time()
    header = logfile.Header(logfile.VERSION, partitions, fed_back=True, read_to=seconds * SECOND + micros)
    with path.open("wb") as file:
        return logfile.write(file, header, _records(client, range(partitions) if chosen is None else chosen))


def _records(client: Any, chosen: Iterable[int]) -> Iterator[tuple[int, Record]]:
    for partition in chosen:
        for position, fields in scan(client, EVENTS, partition):
            trace = fields.get(b"traceparent")
            parent = None if trace is None else trace.decode(errors="replace")
            yield partition, Record(position, log_time(position), fields.get(b"v", b""), parent)


def load(client: Any, path: Path) -> int:
    """Append a log file's records at their own positions and times; return how many there were.

    Raises NotEmpty where a partition already holds something as young, BrokenLog where the file cannot be read. What stands
    before the place at fault is then imported.
    """
    last: dict[int, tuple[int, int]] = {}
    pipe = client.pipeline(transaction=False)
    number = 1
    try:
        for number, (partition, record) in enumerate(logfile.read(path), start=2):
            order = _order(record)
            if order is None:
                raise BrokenLog(f"{path}:{number}: the position is no stream id of the append time")
            if partition not in last and order <= _last(client, partition):
                raise NotEmpty(f"{path}: partition {partition} holds records as young; import into an empty log")
            if order <= last.get(partition, (0, 0)):
                raise BrokenLog(f"{path}:{number}: the position does not follow the one before it in its partition")
            last[partition] = order
            fields: dict[str, bytes | str] = {"v": record.value}
            if record.traceparent is not None:
                fields["traceparent"] = record.traceparent
            pipe.xadd(stream(EVENTS, partition), fields, id=record.position)
            if number % 1000 == 0:
                pipe.execute()
        pipe.execute()
    except redis.ResponseError:  # its text holds the record
        raise NotEmpty(f"{path}: somebody else writes to the log; import into an empty log") from None
    return number - 1


def _order(record: Record) -> tuple[int, int] | None:
    millis, dash, sequence = record.position.partition("-")
    if not (dash and millis.isdecimal() and sequence.isdecimal()) or log_time(record.position) != record.log_time:
        return None
    return int(millis), int(sequence)


def _last(client: Any, partition: int) -> tuple[int, int]:
    for position, _ in client.xrevrange(stream(EVENTS, partition), count=1):
        millis, _, sequence = position.partition(b"-")
        return int(millis), int(sequence)
    return 0, 0
