"""`waxmark backtest`: what online models would have said of a shop's customers, from its history."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from connectors import logfile
from connectors.campaign_model import Duration
from connectors.messagefile import MessageFile
from dataflows.backtest import backtest as validated
from dataflows.backtest import examples
from models.comparison import Comparison, Row, compare, differences, table
from models.defaults import CHAMPION, DEFAULTS
from models.plots import page
from models.plugged import plugged
from operators.churn import RETURNS, Churning
from state.clock import DAY
from state.records import Record

_out: Final = Console(highlight=False, soft_wrap=True)
_durations: Final[TypeAdapter[int]] = TypeAdapter(Duration)


def backtest(
    *,
    events: Annotated[list[Path], Parameter(consume_multiple=True)],
    model: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    horizon: str = "30d",
    eligible: str = "90d",
    returning: Literal["order", "activity"] = "order",
    last: float = 0.5,
    report: Path = Path("backtest.html"),
) -> None:
    """Replay history through the fold of production, and let models compete on its examples.

    A model is asked about a customer when production would ask, and told the answer when production would know it. The
    champion of the defaults always takes part; without --model all defaults do.

    Example: `waxmark backtest --events log.jsonl --model models/template/my_model.py:build --horizon 30d`

    Parameters
    ----------
    events
        Logs as export or simulate write them, or bare Segment messages, one a line. Several are read as one.
    model
        A file and a function in it that returns a River classifier. May be given many times.
    horizon
        How long a customer must stay away to be lost: 30d, 12h.
    eligible
        For how long after their last activity customers are asked about.
    returning
        What counts as coming back: an order, or anything that they do.
    last
        The share of the span, from its end, whose examples are judged.
    report
        Where to write the report with its plots.
    """
    if not 0 < last <= 1:
        raise ValueError("--last is a share: above 0, at most 1")
    builds = dict(plugged(named) for named in model or [])
    builds = {CHAMPION: DEFAULTS[CHAMPION], **builds} if builds else DEFAULTS
    span = _duration("--horizon", horizon)
    churning = Churning(
        horizon=span,
        eligible=_duration("--eligible", eligible),
        every=max(7 * DAY, span // 4),
        returns=RETURNS[returning],
    )
    headers = [logfile.read_header(path) for path in events]
    partitions = {1 if header is None else header.partitions for header in headers}
    if len(partitions) > 1:
        raise ValueError("the logs have different numbers of partitions, and cannot be read as one")
    found = examples(
        heapq.merge(*map(_read, events, headers), key=lambda entry: entry[1].log_time),
        partitions.pop(),
        churning,
        feed_back=not all(header is not None and header.fed_back for header in headers),
        read_to=max(0 if header is None else header.read_to for header in headers),
    )
    if not found:
        raise ValueError(f"no example in these events: the log must be longer than the horizon of {horizon}")
    comparisons = [compare(run, last) for run in validated(found, builds).values()]
    for comparison in comparisons:
        _show(comparison)
    report.write_text(page(f"Backtest, horizon {horizon}", comparisons))
    _out.print(f"report: {report}")


def _duration(option: str, text: str) -> int:
    try:
        return _durations.validate_python(text)
    except ValidationError:
        raise ValueError(f'{option}: "{text}" is no duration; write 30d, 12h') from None


def _read(path: Path, header: logfile.Header | None) -> Iterator[tuple[int, Record]]:
    if header is not None:
        return logfile.read(path)
    return MessageFile(path, 1, latest=time_ns() // 1000).read()


def _show(comparison: Comparison) -> None:
    tenant = comparison.validated.examples[0].tenant
    title = f"{tenant}: {comparison.judged} examples judged, {comparison.base_rate:.1%} stayed away"
    _out.print(_table(table(comparison), title))
    if comparison.against:
        _out.print(_table(differences(comparison), "log loss, with a 95 % interval over users; below 0 is better"))


def _table(rows: list[Row], title: str) -> Table:
    head, *body = rows
    shown = Table(*head, title=title)
    for row in body:
        shown.add_row(*row)
    return shown
