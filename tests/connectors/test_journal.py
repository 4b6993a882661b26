"""A shard's journal on the disk: read back as written, from any snapshot that may count, and never from a damaged file."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from connectors.claim import Claim
from connectors.journal import BrokenJournal, ShardJournal
from connectors.recovery_files import WrongShare, prepare, share_out
from connectors.topics import Fenced
from state.shard import Changes

Begin = Callable[[bytes | None], ShardJournal]
FOLDER: Final = "shard-0003"


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Start a run, which takes the directory over."""
    runs = iter(range(100))
    return lambda snapshot: ShardJournal(tmp_path, Claim.take(tmp_path, 0, f"run{next(runs)}"), snapshot)


def added(
    *, begins: bool = False, ends: bool = False, chunk: bytes | None = b"people", head: bytes = b"head"
) -> Changes:
    """Change something in shard 3."""
    return Changes(3, head, chunk, begins, ends)


def chunks_of(journal: ShardJournal) -> list[bytes]:
    """Read everything."""
    saved = journal.read()
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
    sleeper.write(added(chunk=b"sleeper"))
    assert chunks_of(begin(later)) == [b"before", b"heir"]
    assert files(tmp_path) == ["00000001.run0", "00000002.run1"]


def test_a_round_lets_go_of_what_is_old_once_no_snapshot_that_may_count_speaks_of_it(
    begin: Begin, tmp_path: Path
) -> None:
    """Three snapshots later the files from before the round are deleted; until then the one before the last can be resumed."""
    journal = begin(None)
    journal.write(added(chunk=b"old"))
    journal.write(added(chunk=b"first of the round", begins=True))
    ended = journal.write(added(chunk=b"last of the round", ends=True))
    assert chunks_of(begin(ended)) == [b"first of the round", b"last of the round"]
    assert len(files(tmp_path)) == 2
    journal = begin(ended)
    journal.read()
    for _ in range(3):
        last = journal.write(added(chunk=None))
    assert files(tmp_path) == ["00000002.run0"]
    assert chunks_of(begin(last)) == [b"first of the round", b"last of the round"]


def test_a_round_that_a_restart_cut_off_lets_go_of_nothing(begin: Begin) -> None:
    """The new run begins a round of its own; only that one's end makes old what was before its beginning."""
    journal = begin(None)
    journal.write(added(chunk=b"old"))
    snapshot = journal.write(added(chunk=b"half a round", begins=True))
    journal = begin(snapshot)
    journal.read()
    assert len(chunks_of(begin(journal.write(added(chunk=b"a change"))))) == 3
    journal.write(added(chunk=b"all again", begins=True))
    ended = journal.write(added(chunk=b"end", ends=True))
    assert chunks_of(begin(ended)) == [b"all again", b"end"]


def test_a_worker_that_was_taken_over_deletes_nothing(begin: Begin, tmp_path: Path) -> None:
    """Its round ended while it no longer counted; its successor may still need the files from before."""
    sleeper = begin(None)
    snapshot = sleeper.write(added(chunk=b"old"))
    sleeper.write(added(begins=True))
    begin(snapshot)
    sleeper.write(added(ends=True))
    sleeper.write(added())
    with pytest.raises(Fenced):
        sleeper.write(added())
    assert chunks_of(begin(snapshot)) == [b"old"]
    assert "00000001.run0" in files(tmp_path)


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
        chunks_of(begin(snapshot))


def test_a_snapshot_from_before_there_were_journals_is_its_own_head(begin: Begin) -> None:
    """The first worker of this version resumes from the last snapshot of the one before."""
    old = msgspec.msgpack.encode([1, 3, 0, {}, {}, {}, {}, {}, 0])
    saved = begin(old).read()
    assert saved is not None
    assert (saved[0], list(saved[1])) == (old, [])


def test_journals_move_with_the_recovery_files_and_are_refused_elsewhere(tmp_path: Path) -> None:
    """Shard 3 belongs to process 1 of two and to process 3 of four; what a crash left half moved is moved again."""
    folders = [tmp_path / str(number) for number in range(4)]
    for number in range(2):
        prepare(folders[number], 8, number, 2)
    journal = ShardJournal(folders[1], Claim.take(folders[1], 1, "run"), None)
    snapshot = journal.write(added())
    half = folders[3] / FOLDER
    half.mkdir(parents=True)
    (half / "00000001.run").write_bytes(b"")
    share_out(folders, 4)
    assert not (folders[1] / FOLDER).exists()
    assert chunks_of(ShardJournal(folders[3], Claim.take(folders[3], 3, "next"), snapshot)) == [b"people"]
    share_out(folders, 2)
    (folders[1] / FOLDER).rename(folders[0] / FOLDER)
    with pytest.raises(WrongShare, match="has journals 3 of other processes"):
        prepare(folders[0], 8, 0, 2)
