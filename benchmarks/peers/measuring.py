"""What a contender used: CPU of its whole process tree, wall time, and peak memory of the tree; and what it counted."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

NAMES: Final = ("sessions", "abandonments", "duplicates", "rejects")
_LOOK_SECONDS: Final = 0.1
_LIMIT_SECONDS: Final = 1200.0
_ORPHANS_SECONDS: Final = 15.0
_PR_SET_CHILD_SUBREAPER: Final = 36
_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """A contender did not end well; the message is the end of what it said."""


class Measured(NamedTuple):
    """One run. Seconds, and megabytes of resident sets added up over the tree at its fattest moment."""

    cpu: float
    wall: float
    peak_mb: float
    counts: dict[str, int]


def measured(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Measured:
    """Run a command to its end. Raises Failed.

    CPU is what the kernel charged to the tree as processes were waited for, or, where some were not (workers of a JVM's), the
    sum of what each process had when last looked at, whichever is more.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(environment), stdout=out, stderr=errors, start_new_session=True
        )
        used, peak = dict[int, float](), 0.0
        while True:
            peak = max(peak, _look(process.pid, used))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() - began > _LIMIT_SECONDS:
                process.kill()
            time.sleep(_LOOK_SECONDS)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime + _orphans(used)
        out.seek(0)
        errors.seek(0)
        said = out.read().decode(errors="replace")
        if process.returncode:
            raise Failed(f"{' '.join(command)}: {process.returncode}: {said[-1500:]}{errors.read().decode()[-3000:]}")
    return Measured(max(cpu, sum(used.values())), wall, peak, _counts(said))


def _counts(said: str) -> dict[str, int]:
    total = Counter[str]()
    for line in said.splitlines():
        if line.startswith("{") and line.endswith("}"):
            total.update(json.loads(line))
    return {name: total[name] for name in NAMES}


def _orphans(tree: Iterable[int]) -> float:
    """Wait for the processes of the tree that were left to this one, end what does not end, and say what they used."""
    cpu, end = 0.0, time.monotonic() + _ORPHANS_SECONDS
    for pid in tree:
        with contextlib.suppress(ChildProcessError):
            found, usage = 0, None
            while not found:
                found, _, usage = os.wait4(pid, os.WNOHANG)
                if not found and time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                if not found:
                    time.sleep(_LOOK_SECONDS / 5)
            cpu += usage.ru_utime + usage.ru_stime if usage else 0.0
    return cpu


def _look(root: int, used: dict[int, float]) -> float:
    """Note what each process of the tree has used so far; return their memory in MB."""
    memory, tree = 0.0, {root}
    for pid, fields in sorted(_processes()):
        if pid == root or int(fields[1]) in tree or pid in used:
            tree.add(pid)
            used[pid] = (int(fields[11]) + int(fields[12])) / _TICK
            memory += int(fields[21]) * _PAGE / 1e6
    return memory


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield each process with its `stat` from the state on; children have higher numbers than their parents."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
