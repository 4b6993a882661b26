"""`waxmark recovery`: the recovery files of processes that each have a directory of their own."""

from pathlib import Path

import cyclopts
from rich.console import Console

from connectors.recovery_files import prepare, share_out
from connectors.settings import Settings

_out = Console(highlight=False, soft_wrap=True)

app = cyclopts.App(name="recovery", help="Prepare recovery files, and share them out for another number of processes.")


@app.command(name="prepare")
def prepare_() -> None:
    """Create this process's share of the recovery files, or check that it has just that.

    WAXMARK_PROCESS_ID and WAXMARK_ADDRESSES say which share; without them it has all.

    Example: `waxmark recovery prepare`
    """
    settings = Settings()
    processes = 1 if settings.addresses is None else len(settings.addresses.split(";"))
    count = prepare(settings.recovery, settings.recovery_files, settings.process_id or 0, processes)
    _out.print(f"{settings.recovery}: {count} of {settings.recovery_files} recovery files")


@app.command(name="share-out")
def share_out_(*directories: Path, processes: int) -> None:
    """Move every recovery file to the directory of the process it will belong to. The dataflow must not run.

    Example: `waxmark recovery share-out /recovery/0 /recovery/1 /recovery/2 /recovery/3 --processes 4`

    Parameters
    ----------
    directories
        Of all processes there were and will be, in the order of their numbers.
    processes
        How many there will be.
    """
    moved = share_out(directories, processes)
    _out.print(f"{moved} recovery files moved; {processes} processes may start")
