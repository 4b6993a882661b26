"""A shard's journal on the disk: read back as written, from any snapshot that may count, and never from a damaged file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Final

import msgspec
import pytest

from connectors import journal as journals
from connectors.claim import Claim
from connectors.journal import BrokenJournal, ShardJournal
from connectors.recovery_files import WrongShare, prepare, share_out
from connectors.topics import Fenced
from state.snapshots import Changes
from tests.beside import AtOnce, Later

AT_ONCE: Final = AtOnce()
Begin = Callable[[bytes | None], ShardJournal]
FOLDER: Final = "shard-0003"
SOME: Final = bytes(1 << 20)
"""So much that it is forced to the disk before a snapshot asks for it."""


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Start a run, which takes the directory over."""
    runs = iter(range(100))
    return lambda snapshot: ShardJournal(tmp_path, Claim.take(tmp_path, 0, f"run{next(runs)}"), AT_ONCE, snapshot)


def added(
    *, begins: bool = False, ends: bool = False, chunk: bytes | None = b"people", head: bytes = b"head"
) -> Changes:
    """Change something in shard 3."""
    return Changes(3, head, chunk, begins, ends)


def chunks_of(folder: Path, snapshot: bytes) -> list[bytes]:
    """Read everything, and take nothing over."""
    saved = ShardJournal(folder, Claim(folder / "claim-0", "reader"), AT_ONCE, snapshot).read()
    assert saved is not None
    return list(saved[1])


def files(tmp_path: Path) -> list[str]:
    """Name the journal's files."""
    return sorted(file.name for file in (tmp_path / FOLDER).iterdir())


def test_what_was_written_is_read_back_up_to_the_snapshot_and_no_further(begin: Begin) -> None:
    """The engine may resume from the last snapshot but one: what came after it is not read, and comes again by the replay."""
    journal = begin(None)
    assert journal.read() is None
    snapshots = [journal.write(added(chunk=b"%d" % number, head=b"head-%d" % number)) for number in range(3)]
    for number, snapshot in enumerate(snapshots):
        resumed = begin(snapshot)
        saved = resumed.read()
        assert saved is not None
        assert (saved[0], list(saved[1])) == (b"head-%d" % number, [b"%d" % n for n in range(number + 1)])


def test_a_run_goes_on_in_a_file_of_its_own(begin: Begin, tmp_path: Path) -> None:
    """A sleeper that wakes up adds to its own file, of which its successor knows nothing."""
    sleeper = begin(None)
    snapshot = sleeper.write(added(chunk=b"before"))
    heir = begin(snapshot)
    heir.read()
    later = heir.write(added(chunk=b"heir"))
    with pytest.raises(Fenced):
        sleeper.write(added(chunk=b"sleeper"))
    assert chunks_of(tmp_path, later) == [b"before", b"heir"]
    assert files(tmp_path) == ["00000001.run0", "00000002.run1"]


def test_a_round_lets_go_of_what_is_old_once_no_snapshot_that_may_count_speaks_of_it(
    begin: Begin, tmp_path: Path
) -> None:
    """Three snapshots later the files from before the round are deleted; until then the one before the last can be resumed."""
    journal = begin(None)
    journal.write(added(chunk=b"old"))
    journal.write(added(chunk=b"first of the round", begins=True))
    ended = journal.write(added(chunk=b"last of the round", ends=True))
    assert chunks_of(tmp_path, ended) == [b"first of the round", b"last of the round"]
    assert len(files(tmp_path)) == 2
    journal = begin(ended)
    journal.read()
    for _ in range(3):
        last = journal.write(added(chunk=None))
    assert files(tmp_path) == ["00000002.run0"]
    assert chunks_of(tmp_path, last) == [b"first of the round", b"last of the round"]


def test_a_round_that_a_restart_cut_off_lets_go_of_nothing(begin: Begin, tmp_path: Path) -> None:
    """The new run begins a round of its own; only that one's end makes old what was before its beginning."""
    journal = begin(None)
    journal.write(added(chunk=b"old"))
    snapshot = journal.write(added(chunk=b"half a round", begins=True))
    journal = begin(snapshot)
    journal.read()
    assert len(chunks_of(tmp_path, journal.write(added(chunk=b"a change")))) == 3
    journal.write(added(chunk=b"all again", begins=True))
    ended = journal.write(added(chunk=b"end", ends=True))
    assert chunks_of(tmp_path, ended) == [b"all again", b"end"]


def test_a_worker_that_was_taken_over_deletes_nothing_and_gives_no_snapshot(begin: Begin, tmp_path: Path) -> None:
    """The engine would put its snapshot over its successor's, and its round makes nothing old that the successor needs."""
    sleeper = begin(None)
    snapshot = sleeper.write(added(chunk=b"old"))
    sleeper.write(added(begins=True))
    sleeper.write(added(ends=True))
    begin(snapshot)
    for _ in range(3):
        with pytest.raises(Fenced):
            sleeper.write(added())
    assert chunks_of(tmp_path, snapshot) == [b"old"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-3]), "damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:-14]), "shorter"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b"two", b"too")), "damaged"),
        (lambda file: file.unlink(), "missing"),
    ],
    ids=["torn", "without the last chunk", "a flipped bit", "gone"],
)
def test_a_damaged_journal_is_refused_with_its_name(
    begin: Begin, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    """Half a state would be resumed from, and nobody would know whose emails went missing."""
    journal = begin(None)
    journal.write(added(chunk=b"one..."))
    snapshot = journal.write(added(chunk=b"two..."))
    damage(tmp_path / FOLDER / "00000001.run0")
    with pytest.raises(BrokenJournal, match=f"00000001.run0 .*{said}"):
        chunks_of(tmp_path, snapshot)


def test_what_was_added_before_a_snapshot_counts_from_the_snapshot_on(begin: Begin, tmp_path: Path) -> None:
    """A worker killed between the two resumes from the snapshot before, which does not speak of it."""
    journal = begin(None)
    first = journal.write(added(chunk=b"first"))
    journal.add(3, b"early")
    assert chunks_of(tmp_path, first) == [b"first"]
    second = journal.write(added(chunk=b"second"))
    assert chunks_of(tmp_path, second) == [b"first", b"early", b"second"]
    journal.add(3, b"before a round")
    third = journal.write(added(chunk=b"all", begins=True))
    assert chunks_of(tmp_path, third) == [b"first", b"early", b"second", b"before a round", b"all"]
    assert chunks_of(tmp_path, journal.write(added(chunk=b"end", ends=True))) == [b"all", b"end"]


def test_a_snapshot_waits_for_what_is_being_forced_to_the_disk(tmp_path: Path) -> None:
    """The engine's row must not be true before the bytes that it speaks of are safe."""
    later, written = Later(), list[bytes]()
    journal = ShardJournal(tmp_path, Claim.take(tmp_path, 0, "run"), later, None)
    journal.add(3, SOME)
    writer = Thread(target=lambda: written.append(journal.write(added())))
    writer.start()
    writer.join(0.1)
    assert written == []
    later.go()
    writer.join()
    assert chunks_of(tmp_path, written[0]) == [SOME, b"people"]


def test_whatever_a_snapshot_speaks_of_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what was added early, and in the file that a round leaves behind."""
    forced: dict[str, int] = {}
    monkeypatch.setattr(journals, "_force_data", lambda file: forced.update({file.name: file.stat().st_size}))
    journal = ShardJournal(tmp_path, Claim.take(tmp_path, 0, "run"), AT_ONCE, None)
    for number, begins in enumerate((False, False, True, False)):
        journal.add(3, SOME if number % 2 else b"early")
        journal.write(added(begins=begins, chunk=None if number == 1 else b"people"))
        assert forced == {file.name: file.stat().st_size for file in (tmp_path / FOLDER).iterdir()}


@pytest.mark.parametrize("begins", [False, True])
def test_a_sleeper_whose_file_is_gone_learns_that_it_was_taken_over(begin: Begin, tmp_path: Path, begins: bool) -> None:
    """Told that a file is missing instead, its supervisor would start it again, and take the place back from its successor."""
    sleeper = begin(None)
    snapshot = sleeper.write(added())
    sleeper.add(3, b"early")
    heir = begin(snapshot)
    heir.read()
    heir.write(added(begins=True, ends=True))
    for _ in range(3):
        heir.write(added(chunk=None))
    assert files(tmp_path) == ["00000002.run1"]
    with pytest.raises(Fenced):
        sleeper.write(added(chunk=None, begins=begins))


@pytest.mark.parametrize("then", ["add", "write"])
def test_a_disk_that_failed_beside_the_worker_fails_what_comes_next(tmp_path: Path, then: str) -> None:
    """Asked again, the kernel says that all is well: it reports an error once, to the thread that asked first."""
    later = Later()
    journal = ShardJournal(tmp_path, Claim.take(tmp_path, 0, "run"), later, None)
    journal.add(3, SOME)
    (file,) = (tmp_path / FOLDER).iterdir()
    file.rename(tmp_path / "away")
    later.go()
    (tmp_path / "away").rename(file)
    with pytest.raises(FileNotFoundError):
        journal.add(3, SOME) if then == "add" else journal.write(added())


def test_a_snapshot_from_before_there_were_journals_is_its_own_head(begin: Begin) -> None:
    """The first worker of this version resumes from the last snapshot of the one before."""
    old = msgspec.msgpack.encode([1, 3, 0, {}, {}, {}, {}, {}, 0])
    saved = begin(old).read()
    assert saved is not None
    assert (saved[0], list(saved[1])) == (old, [])


def test_journals_move_with_the_recovery_files_and_are_refused_elsewhere(tmp_path: Path) -> None:
    """Shard 3 belongs to process 1 of two and to process 3 of four."""
    folders = [tmp_path / str(number) for number in range(4)]
    for number in range(2):
        prepare(folders[number], 8, number, 2)
    journal = ShardJournal(folders[1], Claim.take(folders[1], 1, "run"), AT_ONCE, None)
    snapshot = journal.write(added())
    share_out(folders, 4)
    assert not (folders[1] / FOLDER).exists()
    assert chunks_of(folders[3], snapshot) == [b"people"]
    share_out(folders, 2)
    (folders[1] / FOLDER).rename(folders[0] / FOLDER)
    with pytest.raises(WrongShare, match="has journals 3 of other processes"):
        prepare(folders[0], 8, 0, 2)


def test_a_journal_that_a_crash_left_half_moved_is_moved_again_and_of_two_times_neither(tmp_path: Path) -> None:
    """What is half copied has no journal's name; what is there twice must be the same, or a person says which counts."""
    folders = [tmp_path / str(number) for number in range(4)]
    prepare(folders[0], 8, 0, 1)
    snapshot = ShardJournal(folders[0], Claim.take(folders[0], 0, "run"), AT_ONCE, None).write(added())
    half = folders[1] / f"{FOLDER}.coming"
    half.mkdir(parents=True)
    (half / "00000001.run").write_bytes(b"half")
    shutil.copytree(folders[0] / FOLDER, folders[2] / FOLDER)
    share_out(folders, 2)
    assert chunks_of(folders[1], snapshot) == [b"people"]
    assert [folder for folder in folders if (folder / FOLDER).exists()] == [folders[1]]
    (folders[2] / FOLDER).mkdir()
    with pytest.raises(WrongShare, match="different times"):
        share_out(folders, 4)
