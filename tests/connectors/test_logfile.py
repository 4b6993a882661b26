"""Files of records: a log comes back as it was written, bare messages get the times they state, a broken file is told."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from connectors import logfile
from connectors.logfile import BrokenLog
from connectors.messagefile import MessageFile
from state.clock import SECOND, to_iso
from state.records import Record, partition_of
from tests.shopping import at, sent

HEADER = '{"waxmark":"log","version":1,"partitions":2,"fed_back":true}'


def record(**changes: Any) -> str:
    """Write a line of a log file, with changes; ... leaves a field out."""
    line = {"partition": 0, "position": "1-0", "log_time": 1, "value": "{}"} | changes
    return json.dumps({name: value for name, value in line.items() if value is not ...})


def written(path: Path, *lines: str | bytes) -> Path:
    """Write a file."""
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def appended(path: Path, *lines: bytes, latest: int = at(days=365)) -> list[int]:
    """Read bare messages, and list how many seconds after the start of the story each counts as appended."""
    records = MessageFile(written(path, *lines), 3, latest).read()
    return [(record.log_time - at()) // SECOND for _, record in records]


def test_a_log_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """To the byte: text, bytes that are no text, and the trace context."""
    records = [
        (0, Record("1-0", 1000, b'{"a":"\xc3\xa9"}')),
        (1, Record("2-0", 2000, b"\xff\n\x00", "00-a-b-01")),
        (0, Record("3-0", 3000, b"")),
    ]
    header = logfile.Header(logfile.VERSION, 2, fed_back=True, read_to=4000)
    file = io.BytesIO()
    assert logfile.write(file, header, records) == 3
    path = tmp_path / "log.jsonl"
    path.write_bytes(file.getvalue())
    assert logfile.read_header(path) == header
    assert list(logfile.read(path)) == records


def test_the_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    """In bytes, growing, and the whole size at the end."""
    path = written(tmp_path / "log.jsonl", HEADER, *(record(value="x" * n) for n in range(600)))
    told: list[int] = []
    list(logfile.read(path, told.append))
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size
    assert len(told) > 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], ": empty"),
        (["", "  "], ": empty"),
        (['{"a": 1}'], ":1: neither a log header nor a Segment message"),
        (['{"type": "track"}'], ":1: neither a log header nor a Segment message"),
        (['{"type": "page", "receivedAt": "9999-01-01T00:00:00Z"}'], ":1: neither"),
        (['{"type": "page", "receivedAt": "0001-01-01T00:00:00+14:00"}'], ":1: neither"),
        (["", "{" * 100_000], ":2: neither"),
        ([HEADER.replace("1", "9")], ":1: log format version 9; this is version 1"),
        ([HEADER.replace('"partitions":2', '"partitions":0')], ":1: not a log header that this version understands"),
        ([HEADER, record(partition=2)], ":2: partition 2 of a log that has 2"),
        ([HEADER, record(partition=-1)], ":2: Expected `int` >= 0 - at `$.partition`"),
        ([HEADER, record(), record(log_time=10**18)], ":3: Expected `int` <= 253402300799999999 - at `$.log_time`"),
        ([HEADER, record(value=..., base64="é")], ":2: string argument should contain only ASCII characters"),
        ([HEADER, record(value=..., base64="A")], ":2: Invalid base64-encoded string"),
        ([HEADER, record(position=...)], ":2: Object missing required field `position`"),
        ([HEADER, record()[:20]], ":2: "),
        ([HEADER, '{"a":' * 100_000], ":2: "),
    ],
)
def test_a_broken_file_is_told_by_its_line(tmp_path: Path, lines: list[str], said: str) -> None:
    """A log stops at the line at fault; bare messages, of which any may be broken, must begin with a sound one."""
    path = written(tmp_path / "log.jsonl", *lines)
    with pytest.raises(BrokenLog) as broken:
        list(MessageFile(path, 2, at()).read() if logfile.read_header(path) is None else logfile.read(path))
    assert str(broken.value).startswith(f"{path}{said}")


def test_bare_messages_are_no_log(tmp_path: Path) -> None:
    """Whoever needs positions, as import does, is told what writes them."""
    path = written(tmp_path / "messages.jsonl", sent("page", at()))
    with pytest.raises(BrokenLog, match="no log header; waxmark export and waxmark simulate write one"):
        list(logfile.read(path))


def test_a_message_counts_as_appended_when_it_was_received_else_sent_else_done(tmp_path: Path) -> None:
    """ReceivedAt is our own clock's or a peer's; the device's own follow in order of how near they are to it."""

    def message(**seconds: int) -> bytes:
        return json.dumps({"type": "page"} | {name: to_iso(at(seconds=s)) for name, s in seconds.items()}).encode()

    lines = [
        message(timestamp=1),
        message(originalTimestamp=2, timestamp=9),
        message(sentAt=3, originalTimestamp=9, timestamp=9),
        message(receivedAt=4, sentAt=9, originalTimestamp=9, timestamp=9),
        message(),
        message(receivedAt=5),
    ]
    assert appended(tmp_path / "messages.jsonl", *lines) == [1, 2, 3, 4, 4, 5]


def test_append_times_never_fall_and_disorder_is_counted(tmp_path: Path) -> None:
    """The order of the lines is kept, so a line of an earlier time is appended with the one above it."""
    path = written(tmp_path / "messages.jsonl", *(sent("page", at(seconds=s)) for s in (5, 3, 6, 1, 7)))
    file = MessageFile(path, 3, at(days=1))
    assert [(r.log_time - at()) // SECOND for _, r in file.read()] == [5, 5, 6, 6, 7]
    assert (file.disordered, file.most) == (2, 5 * SECOND)


def test_a_clock_in_the_future_moves_nobody_elses_time(tmp_path: Path) -> None:
    """A device in the year 2099 would let every wait of everybody fall due before the next line is read."""
    lines = [sent("page", at(seconds=1)), sent("page", at(days=30_000)), sent("page", at(seconds=2))]
    assert appended(tmp_path / "messages.jsonl", *lines) == [1, 1, 2]


def test_a_message_goes_to_its_persons_partition_and_is_named_by_its_line(tmp_path: Path) -> None:
    """The same partition as on the wire: by user id, else visitor id; numbers are ids too. Lines that are none stay."""
    lines = [
        sent("page", at(), user="ann", visitor="v"),
        sent("page", at(), user=None, visitor="v"),
        b'{"type":"page","userId":17,"messageId":"m"}',
        b"",
        b"\xff{",
    ]
    found = list(MessageFile(written(tmp_path / "messages.jsonl", *lines), 64, at()).read())
    assert [partition for partition, _ in found] == [partition_of(key, 64) for key in ("ann", "v", "17", "")]
    assert [record.position for _, record in found] == ["line-1", "line-2", "line-3", "line-5"]
    assert [record.value for _, record in found] == [lines[0], lines[1], lines[2], lines[4]]
