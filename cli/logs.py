"""`waxmark simulate`, `export`, `import` and `replay`: the log as a file."""

import os
from pathlib import Path
from time import sleep, time_ns

from rich.console import Console

from cli.replay import replay
from connectors import campaign_file, logfile
from connectors.settings import Settings
from connectors.transports import chosen
from simulator.logs import write_log
from simulator.shop import Shop, visits
from state.clock import DAY, SECOND

__all__ = ["export", "import_", "replay", "simulate"]

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
    """Simulate a shop, into the log that WAXMARK_KAFKA or WAXMARK_REDIS names, or to a log file.

    Example: `waxmark simulate shop.jsonl --events 200000 --seed 7`

    Parameters
    ----------
    to
        A log file to write; without it, events are appended as they happen.
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
        Do not keep to the rate when sending.
    campaigns
        The definitions that a log file begins with.
    """
    if events < 0:
        raise ValueError(f"--events: {events} is less than none")
    settings = Settings()
    shop = Shop(shoppers=shoppers, known_only=known_only, rate=rate, pace=0.05)
    now = time_ns() // 1_000_000 * 1000
    if to is not None:
        start = now - int(events / rate * SECOND) - 2 * DAY
        definitions = campaign_file.load(campaigns)
        write_log(to, shop, seed, partitions=settings.partitions, events=events, campaigns=definitions, start=start)
        _out.print(f"wrote {events} events to {to}")
        return
    sender = chosen(settings, os.environ).sender()
    for sent in visits(shop, seed, now, events=events):
        wait = sent.log_time / SECOND - time_ns() / 1e9
        if wait > 0 and not as_fast_as_possible:
            sleep(wait)
        sender.append(sent.key, sent.value)
    sender.flush()
    _out.print(f"sent {events} events")


def export(to: Path, *, partition: int | None = None) -> None:
    """Export the log, with positions and append times.

    Example: `waxmark export log.jsonl`

    Parameters
    ----------
    to
        The file; written over.
    partition
        Export this partition alone.
    """
    settings = Settings()
    if partition is not None and not 0 <= partition < settings.partitions:
        raise ValueError(f"--partition: there is no {partition}; partitions are 0 to {settings.partitions - 1}")
    partitions = range(settings.partitions) if partition is None else [partition]
    count = chosen(settings, os.environ).export(to, partitions)
    _out.print(f"exported {count} records to {to}")


def import_(file: Path) -> None:
    """Import a log file into an empty log, keeping append times.

    Example: `waxmark import log.jsonl`
    """
    settings = Settings()
    header = _header(file)
    if header.partitions != settings.partitions:
        raise ValueError(f"{file} has {header.partitions} partitions; set WAXMARK_PARTITIONS={header.partitions}")
    _out.print(f"imported {chosen(settings, os.environ).load(file)} records from {file}")


def _header(file: Path) -> logfile.Header:
    header = logfile.read_header(file)
    if header is None:
        raise logfile.BrokenLog(f"{file}:1: no log header; write the file by waxmark export or waxmark simulate")
    return header
