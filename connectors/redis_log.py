"""The embedded log as a whole: publish campaigns into it, export it, import it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from msgspec import Raw

from connectors import logfile
from connectors.redis_streams import EVENTS, log_time, scan, stream
from state.campaigns import Campaign, encode
from state.clock import SECOND
from state.records import Record
from state.wire import CampaignsInForce, encoder


class NotEmpty(Exception):
    """The log holds records younger than those to import, and append times never fall."""


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


def export(client: Any, path: Path, partitions: int) -> int:
    """Write the events of all partitions to a log file; return how many there were."""
    seconds, micros = client.time()
    header = logfile.Header(logfile.VERSION, partitions, fed_back=True, read_to=seconds * SECOND + micros)
    with path.open("wb") as file:
        return logfile.write(file, header, _records(client, partitions))


def _records(client: Any, partitions: int) -> Iterator[tuple[int, Record]]:
    for partition in range(partitions):
        for position, fields in scan(client, EVENTS, partition):
            trace = fields.get(b"traceparent")
            parent = None if trace is None else trace.decode(errors="replace")
            yield partition, Record(position, log_time(position), fields.get(b"v", b""), parent)


def load(client: Any, path: Path) -> int:
    """Append a log file's records at their own positions and times; return how many there were.

    Raises NotEmpty where a partition already holds something younger, BrokenLog where the file cannot be read.
    """
    count = 0
    pipe = client.pipeline(transaction=False)
    try:
        for partition, record in logfile.read(path):
            fields: dict[str, bytes | str] = {"v": record.value}
            if record.traceparent is not None:
                fields["traceparent"] = record.traceparent
            pipe.xadd(stream(EVENTS, partition), fields, id=record.position)
            count += 1
            if count % 1000 == 0:
                pipe.execute()
        pipe.execute()
    except redis.ResponseError as error:
        raise NotEmpty(f"{path}: {error}; import into an empty log") from error
    return count
