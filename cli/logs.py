"""`waxmark simulate`, `export`, `import` and `replay`: the log as a file."""

from collections import Counter
from pathlib import Path
from time import sleep, time_ns

from rich.console import Console
from rich.progress import track
from rich.table import Table

from connectors import campaign_file, logfile, redis_log
from connectors.redis_streams import append, connect
from connectors.settings import Settings
from dataflows import replay as replaying
from operators.fold import Limits
from simulator.logs import write_log
from simulator.shop import Shop, visits
from state.clock import DAY, MINUTE, SECOND
from state.events import parse_time

_out = Console(highlight=False)


def simulate(
    to: Path | None = None,
    *,
    events: int = 10_000,
    seed: int = 1,
    rate: float = 100.0,
    shoppers: int = 2000,
    known_only: bool = False,
    as_fast_as_possible: bool = False,
    campaigns: Path = Path("campaigns.yaml"),
) -> None:
    """Simulate a shop, to the Redis that WAXMARK_REDIS names, or to a log file.

    Example: `waxmark simulate shop.jsonl --events 200000 --seed 7`

    Parameters
    ----------
    to
        A log file to write; without it, events go to Redis as they happen.
    events
        How many events.
    seed
        Equal seeds give equal shops.
    rate
        Events per second, on average.
    shoppers
        How many people there are.
    known_only
        Everybody is logged in.
    as_fast_as_possible
        Do not keep to the rate when sending to Redis.
    campaigns
        The definitions that a log file begins with.
    """
    settings = Settings()
    shop = Shop(shoppers=shoppers, known_only=known_only, rate=rate, pace=0.05)
    now = time_ns() // 1_000_000 * 1000
    if to is not None:
        start = now - int(events / rate * SECOND) - 2 * DAY
        definitions = campaign_file.load(campaigns)
        write_log(to, shop, seed, partitions=settings.partitions, events=events, campaigns=definitions, start=start)
        _out.print(f"wrote {events} events to {to}")
        return
    client = connect(settings.redis)
    for sent in visits(shop, seed, now, events=events):
        wait = sent.log_time / SECOND - time_ns() / 1e9
        if wait > 0 and not as_fast_as_possible:
            sleep(wait)
        append(client, settings.partitions, sent.key, sent.value)
    _out.print(f"sent {events} events")


def export(to: Path) -> None:
    """Export the log of all partitions, with positions and append times.

    Example: `waxmark export log.jsonl`
    """
    settings = Settings()
    _out.print(f"exported {redis_log.export(connect(settings.redis), to, settings.partitions)} records to {to}")


def import_(file: Path) -> None:
    """Import a log file into an empty log, keeping append times.

    Example: `waxmark import log.jsonl`
    """
    settings = Settings()
    header = _header(file)
    if header.partitions != settings.partitions:
        raise ValueError(f"{file} has {header.partitions} partitions; set WAXMARK_PARTITIONS={header.partitions}")
    _out.print(f"imported {redis_log.load(connect(settings.redis), file)} records from {file}")


def replay(
    file: Path, *, campaigns: Path | None = None, triggers: Path | None = None, until: str | None = None
) -> None:
    """Fold a log file with the code of production, and print what would have been sent.

    Example: `waxmark replay log.jsonl --campaigns campaigns.yaml --triggers triggers.jsonl`

    Parameters
    ----------
    file
        A log file, as export or simulate write it.
    campaigns
        Definitions to use instead of those in the log.
    triggers
        Where to write the triggers, one a line, in order of their ids.
    until
        Suppose that nothing more was appended until this time (ISO 8601), and let happen what was due before it.
    """
    header = _header(file)
    settings = Settings()
    instead = replaying.Campaigns("default", campaign_file.load(campaigns)) if campaigns is not None else None
    outputs = replaying.replay(
        track(logfile.read(file), description="replaying", console=Console(stderr=True)),
        header.partitions,
        Limits(settings.session_gap_minutes * MINUTE),
        feed_back=not header.fed_back,
        read_to=header.read_to if until is None else parse_time(until),
        instead=instead,
    )
    found: dict[str, bytes] = {}
    counts: Counter[tuple[str, str]] = Counter()
    records = 0
    for output in outputs:
        records += output.records
        for emission in output.triggers:
            found[emission.id] = emission.value
        counts.update((e.campaign_id, e.label) for e in (*output.triggers, *output.decisions))
        counts.update(("dead letters", letter.reason) for letter in output.dead_letters)
    if triggers is not None:
        triggers.write_bytes(b"".join(found[id_] + b"\n" for id_ in sorted(found)))
    table = Table("campaign", "outcome", "count")
    for (campaign, outcome), count in sorted(counts.items()):
        table.add_row(campaign, outcome, str(count))
    _out.print(table)
    _out.print(f"{records} records, {len(found)} triggers")


def _header(file: Path) -> logfile.Header:
    header = logfile.read_header(file)
    if header is None:
        raise logfile.BrokenLog(f"{file}:1: no log header; write the file by waxmark export or waxmark simulate")
    return header
