r"""The log as a JSONL file: for export, import, replay and the simulator.

The first line is a header; every other line is one record:

    {"waxmark": "log", "version": 1, "partitions": 4, "fed_back": true, "read_to": 1767225600000000}
    {"partition": 0, "position": "1767225600000-0", "log_time": 1767225600000000, "value": "{\"type\":...}"}

`fed_back` says that the records include the links and forwards which a running shard appended; a replay of a log without
them feeds them back itself. `value` is the record's text to the byte, or `base64` when it is not UTF-8.
"""

import base64
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
from msgspec import Meta

from state.records import Record

VERSION: Final = 1
_LATEST: Final = 253_402_300_799_999_999
"""The end of the year 9999: no calendar of ours reaches further."""

Time = Annotated[int, Meta(ge=0, le=_LATEST)]
Watch = Callable[[int], object]
"""Whoever wants to hear, now and then, how many bytes of a file have been read."""


class BrokenLog(Exception):
    """A log file that cannot be read; the message names the file and line."""


class Header(msgspec.Struct, frozen=True, tag_field="waxmark", tag="log"):
    """What a log file says of itself. Times are microseconds UTC."""

    version: int
    partitions: Annotated[int, Meta(ge=1, le=4096)]
    fed_back: bool
    read_to: Time = 0


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    partition: Annotated[int, Meta(ge=0)]
    position: str
    log_time: Time
    value: str | None = None
    base64: str | None = None
    traceparent: str | None = None


_encoder: Final = msgspec.json.Encoder()
_header: Final = msgspec.json.Decoder(Header)
_line: Final = msgspec.json.Decoder(_Line)


def write(file: BinaryIO, header: Header, records: Iterable[tuple[int, Record]]) -> int:
    """Write a log file; return how many records it has."""
    file.write(_encoder.encode(header) + b"\n")
    count = 0
    for partition, record in records:
        file.write(_encode(partition, record) + b"\n")
        count += 1
    return count


def _encode(partition: int, record: Record) -> bytes:
    text, coded = None, None
    try:
        text = record.value.decode()
    except UnicodeDecodeError:
        coded = base64.b64encode(record.value).decode()
    return _encoder.encode(_Line(partition, record.position, record.log_time, text, coded, record.traceparent))


def read_header(path: Path) -> Header | None:
    """Read a log file's header; None where the first line is not one (bare messages). Raises BrokenLog."""
    try:
        with path.open("rb") as file:
            first = file.readline()
    except OSError as error:
        raise BrokenLog(f"{path}: {error.strerror}") from error
    try:
        header = _header.decode(first)
    except (ValueError, RecursionError):
        if b'"waxmark"' in first:
            raise BrokenLog(f"{path}:1: not a log header that this version understands") from None
        return None
    if header.version != VERSION:
        raise BrokenLog(f"{path}:1: log format version {header.version}; this is version {VERSION}")
    return header


def read(path: Path, watch: Watch = lambda _: None) -> Iterator[tuple[int, Record]]:
    """Yield the records of a log file, in the file's order. Raises BrokenLog with the line at fault."""
    header = read_header(path)
    if header is None:
        raise BrokenLog(f"{path}:1: no log header; waxmark export and waxmark simulate write one")
    for number, line in lines(path, watch):
        if number == 1:
            continue
        try:
            partition, record = _decode(line)
        except (ValueError, RecursionError) as error:
            raise BrokenLog(f"{path}:{number}: {error}") from error
        if partition >= header.partitions:
            raise BrokenLog(f"{path}:{number}: partition {partition} of a log that has {header.partitions}")
        yield partition, record


def lines(path: Path, watch: Watch) -> Iterator[tuple[int, bytes]]:
    """Yield a file's lines with their numbers, and tell how far the reading is."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, line
            if number % 256 == 0:
                watch(file.tell())
        watch(file.tell())


def _decode(line: bytes) -> tuple[int, Record]:
    entry = _line.decode(line)
    coded = entry.base64
    value = (entry.value or "").encode() if coded is None else base64.b64decode(coded, validate=True)
    return entry.partition, Record(entry.position, entry.log_time, value, entry.traceparent)
