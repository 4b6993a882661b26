"""The log in Redis to a file and back: positions, append times and bytes stay, and what does not fit is told."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from connectors import logfile, redis_log
from connectors.logfile import BrokenLog
from connectors.redis_log import NotEmpty
from connectors.redis_streams import stream
from connectors.topics import EVENTS
from state.records import Record

PARTITIONS = 3
ROOT = Path(__file__).parents[2]


def filled(client: Any) -> None:
    """Write a log of three partitions: text, bytes that are no text, a trace context, an empty record."""
    client.xadd(stream(EVENTS, 0), {"v": b'{"a":"\xc3\xa9"}', "traceparent": "00-a-b-01"}, id="1700000000000-0")
    client.xadd(stream(EVENTS, 0), {"v": b"\xff\x00\n"}, id="1700000000000-1")
    client.xadd(stream(EVENTS, 2), {"v": b""}, id="1700000000001-7")


def held(client: Any) -> list[Any]:
    """Read everything that the log holds."""
    return [client.xrange(stream(EVENTS, partition)) for partition in range(PARTITIONS)]


def written(path: Path, *records: tuple[int, Record]) -> Path:
    """Write a log file."""
    with path.open("wb") as file:
        logfile.write(file, logfile.Header(logfile.VERSION, PARTITIONS, fed_back=True), records)
    return path


def test_a_log_that_is_exported_and_imported_is_the_same(client: Any, tmp_path: Path) -> None:
    """Every position, append time and byte; what was exported once more is the same file but for the time of export."""
    filled(client)
    before, path = held(client), tmp_path / "log.jsonl"
    assert redis_log.export(client, path, PARTITIONS) == 3
    header = logfile.read_header(path)
    assert header is not None
    assert (header.partitions, header.fed_back) == (PARTITIONS, True)
    assert abs(header.read_to - time.time_ns() // 1000) < 60_000_000
    client.flushall()
    assert redis_log.load(client, path) == 3
    assert held(client) == before


def test_one_partition_can_be_exported_alone(redis_url: str, client: Any, tmp_path: Path) -> None:
    """By the command; the header still says how many there are, so that keys go where they went."""
    filled(client)

    def export(partition: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from cli.main import main; main()", "export", str(tmp_path / "log.jsonl")]
        return subprocess.run(
            [*command, "--partition", str(partition)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"WAXMARK_REDIS": redis_url, "WAXMARK_PARTITIONS": str(PARTITIONS)},
        )

    done = export(2)
    assert done.returncode == 0, done.stderr
    assert [(p, r.position) for p, r in logfile.read(tmp_path / "log.jsonl")] == [(2, "1700000000001-7")]
    header = logfile.read_header(tmp_path / "log.jsonl")
    assert header is not None
    assert header.partitions == PARTITIONS
    refused = export(3)
    assert refused.returncode == 1
    assert refused.stderr == "--partition: there is no 3; partitions are 0 to 2\n"


def test_what_is_already_there_is_not_mixed_with_what_is_imported(client: Any, tmp_path: Path) -> None:
    """Append times never fall, so a log that holds something as young takes nothing; and the refusal quotes nobody."""
    path = written(tmp_path / "log.jsonl", (1, Record("5-0", 5000, b'{"email":"ann@example.com"}')))
    client.xadd(stream(EVENTS, 1), {"v": b"{}"}, id="5-0")
    with pytest.raises(NotEmpty) as refused:
        redis_log.load(client, path)
    assert str(refused.value) == f"{path}: partition 1 holds records as young; import into an empty log"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([(0, Record("line-1", 5000, b"{}"))], ":2: the position is no stream id of the append time"),
        ([(0, Record("17", 17_000, b"{}"))], ":2: the position is no stream id of the append time"),
        ([(0, Record("5-0", 6000, b"{}"))], ":2: the position is no stream id of the append time"),
        (
            [(0, Record("5-1", 5000, b"{}")), (1, Record("5-0", 5000, b"{}")), (0, Record("5-1", 5000, b"{}"))],
            ":4: the position does not follow the one before it in its partition",
        ),
    ],
)
def test_a_record_that_cannot_keep_its_place_is_told_by_its_line(
    client: Any, tmp_path: Path, records: list[tuple[int, Record]], said: str
) -> None:
    """A log of another transport, or one that was sorted by hand."""
    path = written(tmp_path / "log.jsonl", *records)
    with pytest.raises(BrokenLog) as broken:
        redis_log.load(client, path)
    assert str(broken.value) == f"{path}{said}"


def test_a_file_of_bare_messages_is_not_imported(client: Any, tmp_path: Path) -> None:
    """It has no positions, so it could not be imported twice with the same result."""
    path = tmp_path / "messages.jsonl"
    path.write_text(json.dumps({"type": "page", "userId": "ann", "messageId": "m"}) + "\n")
    with pytest.raises(BrokenLog, match="no log header"):
        redis_log.load(client, path)
