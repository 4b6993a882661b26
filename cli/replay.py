"""`waxmark replay`: what the code of production would have sent, from a file."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from connectors import campaign_file, logfile
from connectors.logfile import Watch
from connectors.messagefile import MessageFile
from connectors.settings import Settings
from dataflows.replay import Campaigns
from dataflows.replay import replay as replayed
from dataflows.scoring import churn_over
from operators.fold import Limits
from state.clock import MINUTE, SECOND
from state.events import parse_time
from state.outputs import Outputs

_out = Console(highlight=False, soft_wrap=True)
_aside = Console(stderr=True, highlight=False, soft_wrap=True)


def replay(
    file: Path,
    *,
    campaigns: Path | None = None,
    tenant: str | None = None,
    triggers: Path | None = None,
    until: str | None = None,
) -> None:
    """Fold a log with the code of production, and print what would have been sent; the summary goes to stderr.

    The file is a log, as export or simulate write it, or bare Segment messages, one a line, as other tools export them.
    A bare message counts as appended at its receivedAt, else sentAt, else timestamp; the order of the lines is kept, so
    sort them by that time. WAXMARK_PARTITIONS is then the number of partitions.

    Example: `waxmark replay log.jsonl --campaigns campaigns.yaml --triggers triggers.jsonl`

    Parameters
    ----------
    file
        The log, or messages.
    campaigns
        Definitions to use instead of those in the log, for every tenant in it. Bare messages need them.
    tenant
        Let --campaigns replace the definitions of this tenant alone.
    triggers
        Where to write the triggers instead of printing them, one a line, in order of their ids.
    until
        Suppose that nothing more was appended until this time (ISO 8601), and let happen what was due before it.
    """
    settings = Settings()
    if tenant is not None and campaigns is None:
        raise ValueError("--tenant says whose campaigns --campaigns replaces; give both")
    instead = None if campaigns is None else Campaigns(campaign_file.load(campaigns), tenant)
    header = logfile.read_header(file)
    bare = None
    if header is None:
        bare = MessageFile(file, settings.partitions, latest=time_ns() // 1000)
        header = logfile.Header(logfile.VERSION, settings.partitions, fed_back=False)
        if instead is None:
            next(bare.read())  # says whether it is one
            raise ValueError(f"{file} holds messages and no campaigns; name them by --campaigns")
    read_to = header.read_to if until is None else _time(until)
    with _progress(file) as watch:
        records = logfile.read(file, watch) if bare is None else bare.read(watch)
        outputs = replayed(
            records,
            header.partitions,
            Limits(settings.session_gap_minutes * MINUTE),
            feed_back=not header.fed_back,
            read_to=read_to,
            instead=instead,
            churn_over=churn_over(settings),
        )
        found, summary = _summed_up(outputs)
    if triggers is not None:
        triggers.write_bytes(b"".join(value + b"\n" for value in found))
    else:
        for value in found:
            _out.print(value.decode(), markup=False)
    _aside.print(summary)
    if bare is not None and bare.disordered:
        _aside.print(
            f"{bare.disordered} messages stand below one of a later time, by up to {bare.most / SECOND:.0f} s, and count as "
            "appended with it; sort the file by receivedAt to replay them as they came"
        )


def _time(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValueError(f'--until: "{text}" is not a time; write 2026-01-31 or 2026-01-31T12:00:00Z') from error


@contextmanager
def _progress(file: Path) -> Iterator[Watch]:
    """Show on a terminal how much of a file has been read."""
    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_aside, disable=not _aside.is_terminal) as progress:
        task = progress.add_task("replaying", total=file.stat().st_size)
        yield lambda read: progress.update(task, completed=read)


def _summed_up(outputs: Iterable[Outputs]) -> tuple[list[bytes], Table]:
    found: dict[str, bytes] = {}
    counts: Counter[tuple[str, str]] = Counter()
    records = 0
    for output in outputs:
        records += output.records
        for emission in output.triggers:
            found[emission.id] = emission.value
        counts.update((e.campaign_id, e.label) for e in (*output.triggers, *output.decisions))
        counts.update(("dead letters", letter.reason) for letter in output.dead_letters)
    table = Table("campaign", "outcome", "count", title=f"{records} records folded, {len(found)} triggers")
    for (campaign, outcome), count in sorted(counts.items()):
        table.add_row(campaign, outcome, str(count))
    return [found[id_] for id_ in sorted(found)], table
