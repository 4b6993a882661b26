"""The recovery files of a cluster whose processes each have a directory of their own, as pods with volumes do.

File k belongs to process k modulo their number, and so does the journal of shard k. The engine resumes with any number of
processes, if together they have every file once; with a file twice, the one that is empty may win, and state is lost.
"""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from bytewax.recovery import init_db_dir

from connectors.journal import force

_SHARE: Final = "share them out with `waxmark recovery share-out` (docs/operations.md, Rescale)"


class WrongShare(Exception):
    """The recovery files are not where this number of processes would look for them; the message says what to do."""


def prepare(directory: Path, files: int, process: int, processes: int) -> int:
    """Create a process's share of the recovery files, or check that it has just that; return how many there are.

    Args:
        directory: the process's own.
        files: how many there are in all; fixed when the first were made.
        process: its number, from 0.
        processes: how many there are.

    Raises:
        WrongShare: the files there were shared out for another number of processes.
    """
    mine = set(range(process, files, processes))
    found = set(_files(directory))
    if strangers := {shard for shard in _journals(directory) if shard % processes != process}:
        raise WrongShare(f"{directory} has journals {_listed(strangers)} of other processes than {process}: {_SHARE}")
    if not found:
        directory.mkdir(parents=True, exist_ok=True)
        init_db_dir(directory, files)
        for index, file in _files(directory).items():
            if index not in mine:
                file.unlink()
    elif found != mine:
        raise WrongShare(
            f"{directory} has recovery files {_listed(found)}, process {process} of {processes} has {_listed(mine)}: {_SHARE}"
        )
    return len(mine)


def share_out(directories: Sequence[Path], processes: int) -> int:
    """Move every file and journal to the directory of the process it will belong to; return how many moved.

    May be run again after a crash. The dataflow must not run.

    Args:
        directories: of all processes there were and will be, in their order.
        processes: how many there will be.

    Raises:
        WrongShare: a file is missing, or there twice and both hold state.
    """
    if not 0 < processes <= len(directories):
        raise WrongShare(f"{processes} processes need as many directories, not {len(directories)}")
    places: dict[int, Path] = {}
    for index, file in _all(directories):
        places[index] = _better(places[index], file) if index in places else file
    if not places:
        raise WrongShare("there are no recovery files in these directories")
    missing = set(range(_asked(next(iter(places.values())), "SELECT part_count FROM parts"))) - places.keys()
    if missing:
        raise WrongShare(f"recovery files {_listed(missing)} are missing; name the directories of all processes")
    moving = [(file, directories[index % processes] / file.name) for index, file in places.items()]
    moving = [(file, target) for file, target in moving if file != target]
    for file, target in moving:
        _move(file, target)
    return len(moving) + _share_out_journals(directories, processes)


def _share_out_journals(directories: Sequence[Path], processes: int) -> int:
    """Copy each journal, name it, then take the old one's name away before it is deleted, so that none is found in two places.

    Where a crash left two all the same, they are equal, or a person must say which counts.
    """
    places: dict[int, Path] = {}
    for directory in directories:
        for shard, journal in _journals(directory).items():
            if shard in places:
                if _contents(journal) != _contents(places[shard]):
                    raise WrongShare(f"{journal} and {places[shard]} are of different times: put the older aside")
                _delete(journal)
            else:
                places[shard] = journal
    moving = [(journal, directories[shard % processes] / journal.name) for shard, journal in places.items()]
    moving = [(journal, target) for journal, target in moving if journal != target]
    for journal, target in moving:
        coming = target.with_suffix(".coming")
        shutil.rmtree(coming, ignore_errors=True)
        shutil.copytree(journal, coming)
        for path in (*coming.iterdir(), coming):
            force(path)
        coming.rename(target)
        force(target.parent)
        _delete(journal)
    return len(moving)


def _delete(journal: Path) -> None:
    gone = journal.with_suffix(".gone")
    shutil.rmtree(gone, ignore_errors=True)
    journal.rename(gone)
    shutil.rmtree(gone)


def _contents(journal: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in journal.iterdir()}


def _move(file: Path, target: Path) -> None:
    """Copy, then name, then delete: between volumes nothing can be renamed, and what is half copied must not be found.

    SQLite copies, as after a kill a part of the state is in its write-ahead log.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    coming = target.with_suffix(".coming")
    coming.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as old, closing(sqlite3.connect(coming)) as new:
        old.backup(new)
    coming.replace(target)
    force(target.parent)
    for rest in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        rest.unlink(missing_ok=True)


def _files(directory: Path) -> dict[int, Path]:
    return {int(file.stem.removeprefix("part-")): file for file in directory.glob("part-*.sqlite3")}


def _journals(directory: Path) -> dict[int, Path]:
    return {int(folder.name.removeprefix("shard-")): folder for folder in directory.glob("shard-[0-9][0-9][0-9][0-9]")}


def _all(directories: Sequence[Path]) -> Iterator[tuple[int, Path]]:
    for directory in directories:
        yield from _files(directory).items()


def _better(one: Path, other: Path) -> Path:
    """Delete the file of two that was never used, or is a copy that a crash left; return the other."""
    histories = [_history(one), _history(other)]
    if all(histories) and histories[0] != histories[1]:
        raise WrongShare(f"{one} and {other} both hold state, of different times: put the older aside")
    worse, better = (one, other) if histories[1] else (other, one)
    worse.unlink()
    return better


def _history(file: Path) -> list[Any]:
    with closing(sqlite3.connect(file)) as store:
        tables = [store.execute(f"SELECT * FROM {table}").fetchall() for table in ("exs", "fronts", "commits")]  # noqa: S608 - ours
    return [row for rows in tables for row in rows]


def _asked(file: Path, question: str) -> int:
    with closing(sqlite3.connect(file)) as store:
        return int(store.execute(question).fetchone()[0])


def _listed(indices: set[int]) -> str:
    return ", ".join(map(str, sorted(indices)))
