"""The journals of shards: files beside the recovery files, that only grow, and are deleted when all in them is written again.

The engine's snapshot of a shard is its head and the places in its journal up to which that head is true. So however far back
the engine resumes, what belongs to it is there: a run writes files of its own, and nobody ever writes into another's.
"""

import contextlib
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final

import msgspec

from connectors.claim import Claim
from state.snapshots import Changes

_FRAME: Final = struct.Struct("<II")
_FORCED_AT: Final = 1 << 20
"""So many bytes are forced to the disk at once, beside the worker, before a snapshot asks for it."""

_DURABLE_AFTER: Final = 3
"""The engine may resume from the last snapshot or the one before; the third-last is surely no longer needed."""


class BrokenJournal(Exception):
    """A journal is not what the engine's snapshot says; the message says which file."""


class _Segment(msgspec.Struct, array_like=True):
    """One file, up to where it counts."""

    name: str
    size: int


class _Place(msgspec.Struct, array_like=True, tag="journal"):
    partition: int
    head: bytes
    segments: list[_Segment]


_encode: Final = msgspec.msgpack.Encoder().encode
_place: Final = msgspec.msgpack.Decoder(_Place)


class ShardJournal:
    """One shard's journal, in `shard-{partition}` of the recovery directory.

    What was added is on the disk before `write` returns; most of it before `write` is called, for `beside` forces it there
    meanwhile. Files are deleted three snapshots after they were last spoken of. A worker that was taken over deletes
    nothing, and gives the engine no snapshot to put over its successor's.
    """

    def __init__(self, directory: Path, claim: Claim, beside: Executor, snapshot: bytes | None) -> None:
        self._root, self._claim, self._beside, self._snapshot = directory, claim, beside, snapshot
        self._segments: list[_Segment] = []
        self._round_at: int | None = None
        self._has_file = False
        self._unforced = 0
        self._forcing: Future[None] | None = None
        self._kept: deque[set[str]] = deque(maxlen=_DURABLE_AFTER)

    def read(self) -> tuple[bytes, Iterator[bytes]] | None:
        """Read the head, and the chunks one by one; None where there is no snapshot. Raises BrokenJournal.

        A snapshot from before there were journals is its own head, and has no chunks.
        """
        if self._snapshot is None:
            return None
        try:
            place = _place.decode(self._snapshot)
        except msgspec.ValidationError:
            return self._snapshot, iter(())
        self._segments = place.segments
        folder = self._folder(place.partition)
        return place.head, (
            chunk for segment in place.segments for chunk in _chunks(folder / segment.name, segment.size)
        )

    def add(self, partition: int, chunk: bytes) -> None:
        """Add a chunk ahead of the next snapshot. Raises OSError where one before could not be forced to the disk."""
        folder = self._folder(partition)
        with self._fenced_first():
            self._append(folder, chunk)
            if self._unforced >= _FORCED_AT and (self._forcing is None or self._forcing.done()):
                self._await_forcing()
                self._unforced = 0
                self._forcing = self._beside.submit(_force_data, folder / self._segments[-1].name)

    def write(self, changes: Changes) -> bytes:
        """Add a chunk, and return the engine's snapshot: the head, and where its chunks are."""
        folder = self._folder(changes.partition)
        with self._fenced_first():
            if changes.begins_round:
                self._force(folder)
                self._has_file = False
            if changes.chunk is not None:
                self._append(folder, changes.chunk)
            self._force(folder)
        if changes.begins_round:
            self._round_at = len(self._segments) - 1
        if changes.ends_round and self._round_at is not None:
            del self._segments[: self._round_at]
            self._round_at = None
        self._tidy(folder)
        self._claim.check()
        return _encode(_Place(changes.partition, changes.head, self._segments))

    @property
    def size(self) -> int:
        """Say how many bytes the chunks take that count."""
        return sum(segment.size for segment in self._segments)

    def _folder(self, partition: int) -> Path:
        return self._root / f"shard-{partition:04}"

    def _append(self, folder: Path, chunk: bytes) -> None:
        if not self._has_file:
            self._begin_file(folder)
        segment, frame = self._segments[-1], _FRAME.pack(len(chunk), zlib.crc32(chunk))
        with (folder / segment.name).open("ab") as file:
            file.write(frame)
            file.write(chunk)
        segment.size += len(frame) + len(chunk)
        self._unforced += len(frame) + len(chunk)

    def _force(self, folder: Path) -> None:
        """Wait until all that was added is on the disk."""
        self._await_forcing()
        if self._unforced:
            _force_data(folder / self._segments[-1].name)
            self._unforced = 0

    @contextlib.contextmanager
    def _fenced_first(self) -> Iterator[None]:
        """Tell of having been taken over, rather than of the file that the successor has deleted."""
        try:
            yield
        except OSError:
            self._claim.check()
            raise

    def _await_forcing(self) -> None:
        forcing, self._forcing = self._forcing, None
        if forcing is not None:
            forcing.result()

    def _begin_file(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        latest = max((_number(file.name) for file in folder.iterdir()), default=0)
        name = f"{latest + 1:08}.{self._claim.run_id}"
        (folder / name).touch(exist_ok=False)
        for directory in (folder, self._root):
            force(directory)
        self._segments.append(_Segment(name, 0))
        self._has_file = True

    def _tidy(self, folder: Path) -> None:
        """Delete the files of which no snapshot that may still count speaks."""
        self._kept.append({segment.name for segment in self._segments})
        if len(self._kept) < _DURABLE_AFTER or not folder.exists():
            return
        old = {file.name for file in folder.iterdir()} - set().union(*self._kept)
        if old:
            self._claim.check()
        for name in old:
            (folder / name).unlink(missing_ok=True)


def _force_data(file: Path) -> None:
    force(file, getattr(os, "fdatasync", os.fsync))  # macOS has the latter alone


def force(path: Path, sync: Callable[[int], None] = os.fsync) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _number(name: str) -> int:
    with contextlib.suppress(ValueError):
        return int(name.partition(".")[0])
    return 0


def _chunks(file: Path, size: int) -> Iterator[bytes]:
    """Read the chunks of a file up to a place, each checked by its sum."""
    try:
        with file.open("rb") as journal:
            while journal.tell() < size:
                length, checksum = _FRAME.unpack(journal.read(_FRAME.size))
                chunk = journal.read(length)
                if zlib.crc32(chunk) != checksum or journal.tell() > size:
                    raise BrokenJournal(f"{file} is damaged before byte {journal.tell()}")
                yield chunk
    except FileNotFoundError:
        raise BrokenJournal(f"{file} is missing: recovery files and journals belong together") from None
    except struct.error:
        raise BrokenJournal(f"{file} is shorter than the {size} bytes that the recovery files speak of") from None
