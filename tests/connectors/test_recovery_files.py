"""Recovery files over several volumes, with a real engine on them."""

import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from connectors.recovery_files import WrongShare, prepare, share_out

COUNTING = textwrap.dedent("""
    import sys
    from datetime import timedelta

    import bytewax.operators as op
    from bytewax.connectors.files import FileSink
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
    from bytewax.recovery import RecoveryConfig
    from bytewax.run import cli_main

    class Three(StatefulSourcePartition):
        def __init__(self, key, at):
            self.key, self.at = key, at or 0
            print("resumed", key, self.at)
            self.end = self.at + 3
        def next_batch(self):
            if self.at == self.end:
                raise StopIteration
            self.at += 1
            return [(self.key, 1)]
        def snapshot(self):
            return self.at

    class Threes(FixedPartitionedSource):
        def list_parts(self):
            return list("0123")
        def build_part(self, step_id, for_part, resume_state):
            return Three(for_part, resume_state)

    process, addresses, directory = int(sys.argv[1]), sys.argv[2].split(";"), sys.argv[3]
    flow = Dataflow("threes")
    threes = op.input("threes", flow, Threes())
    totals = op.stateful_map("total", threes, lambda state, value: ((state or 0) + value,) * 2)
    op.output("out", op.map("text", totals, lambda keyed: (keyed[0], str(keyed[1]))), FileSink(directory + "/out"))
    alone = len(addresses) == 1
    cli_main(
        flow,
        process_id=None if alone else process,
        addresses=None if alone else addresses,
        epoch_interval=timedelta(0),
        recovery_config=RecoveryConfig(directory),
    )
""")


def free_ports(count: int) -> list[int]:
    """Find ports that are free now, different from each other."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def run_on(directories: list[Path]) -> set[str]:
    """Let four partitions count three further, in a process for each directory; say from where each resumed."""
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(len(directories)))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(number), addresses, str(directory)], stdout=subprocess.PIPE, text=True
        )
        for number, directory in enumerate(directories)
    ]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return {line for text in said for line in text.splitlines() if line.startswith("resumed")}


def all_resumed_at(count: int) -> set[str]:
    """What `run_on` says when each partition went on from there."""
    return {f"resumed {key} {count}" for key in range(4)}


def prepared(folder: Path, processes: int) -> list[Path]:
    """Prepare a directory for each process."""
    directories = [folder / str(number) for number in range(processes)]
    for number, directory in enumerate(directories):
        prepare(directory, 8, number, processes)
    return directories


def test_two_processes_then_four_then_one_go_on_from_the_same_state(tmp_path: Path) -> None:
    """Each has a volume of its own; the files move between runs, and every partition resumes where it was."""
    folders = [tmp_path / str(number) for number in range(4)]
    assert run_on(prepared(tmp_path, 2)) == all_resumed_at(0)
    assert share_out(folders, 4) == 4
    assert run_on(folders) == all_resumed_at(3)
    assert share_out(folders, 1) == 6
    assert run_on(folders[:1]) == all_resumed_at(6)


def test_a_process_whose_files_were_shared_out_for_another_number_is_refused(tmp_path: Path) -> None:
    """Without this, pods added by a mere change of replicas made files anew, and the engine might have taken the empty ones."""
    prepared(tmp_path, 2)
    assert prepare(tmp_path / "0", 8, 0, 2) == 4
    with pytest.raises(WrongShare, match="has recovery files 0, 2, 4, 6, process 0 of 4 has 0, 4"):
        prepare(tmp_path / "0", 8, 0, 4)


def test_empty_files_that_new_pods_made_too_early_give_way_to_those_with_state(tmp_path: Path) -> None:
    """Replicas were raised first, and the new pods prepared their volumes; sharing out mends it."""
    run_on(prepared(tmp_path, 2))
    for number in (2, 3):
        prepare(tmp_path / str(number), 8, number, 4)
    folders = [tmp_path / str(number) for number in range(4)]
    share_out(folders, 4)
    assert run_on(folders) == all_resumed_at(3)


def test_a_share_out_that_was_killed_before_it_deleted_a_file_can_be_run_again(tmp_path: Path) -> None:
    """The copy is there twice, with the same history: one of them goes."""
    run_on(prepared(tmp_path, 2))
    folders = [tmp_path / str(number) for number in range(4)]
    folders[2].mkdir()
    (folders[2] / "part-2.sqlite3").write_bytes((folders[0] / "part-2.sqlite3").read_bytes())
    share_out(folders, 4)
    assert run_on(folders) == all_resumed_at(3)


def test_files_of_different_times_are_not_mixed(tmp_path: Path) -> None:
    """An old backup beside the present files: nobody but a person can tell which is meant."""
    run_on(prepared(tmp_path, 1))
    backup = tmp_path / "1"
    backup.mkdir()
    (backup / "part-0.sqlite3").write_bytes((tmp_path / "0" / "part-0.sqlite3").read_bytes())
    run_on([tmp_path / "0"])
    with pytest.raises(WrongShare, match="different times"):
        share_out([tmp_path / "0", backup], 2)


def test_a_volume_that_was_forgotten_is_missed(tmp_path: Path) -> None:
    """Half of the files would be resumed from, and half of the state lost; the engine refuses that too, but later."""
    prepared(tmp_path, 2)
    with pytest.raises(WrongShare, match="1, 3, 5, 7 are missing"):
        share_out([tmp_path / "0"], 1)
    with pytest.raises(WrongShare, match="no recovery files"):
        share_out([tmp_path / "9"], 1)
    with pytest.raises(WrongShare, match="need as many directories"):
        share_out([tmp_path / "0"], 2)
