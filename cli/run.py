"""`waxmark run`: a dataflow in the foreground, recovery always on; alone, or as one process of a cluster."""

import logging
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from cli.cluster import Cluster
from connectors import garbage, logs
from connectors.campaign_file import load
from connectors.recovery_files import prepare
from connectors.redis_streams import connect
from connectors.routing import shareable
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.transports import chosen
from dataflows import personalization
from rendering.template_folder import BUILT_IN

_log: Final = logging.getLogger("waxmark.run")


class Flow(StrEnum):
    """The dataflows there are."""

    PERSONALIZATION = "personalization"
    LEARNING = "learning"
    DELIVERY = "delivery"


class PeerLost(Exception):
    """Another process of the cluster ended, and so must this one; all resume together."""


def run(
    flow: Flow,
    *,
    campaigns: Path = Path("campaigns.yaml"),
    workers: int = 1,
    providers: Path = Path("delivery.yaml"),
    templates: Path = BUILT_IN,
) -> None:
    """Run a dataflow until SIGTERM or Ctrl-C; after any end, the same command goes on where it was.

    Example: `WAXMARK_REDIS=redis://127.0.0.1:6379/0 waxmark run personalization --campaigns campaigns.yaml`

    Parameters
    ----------
    flow
        Which dataflow.
    campaigns
        The campaigns file; its definitions go into the log if they changed. Personalization alone needs it.
    workers
        How many processes of personalization, on Kafka; a divisor of WAXMARK_PARTITIONS. They may be more or fewer at each
        start. They are started, stopped, and after a crash restarted together.
    providers
        The file that says who takes which emails. Delivery alone needs it.
    templates
        The folder with the templates of emails. Delivery alone needs it.
    """
    settings = Settings()
    if flow is Flow.DELIVERY:
        _deliver(settings, workers, providers, templates)
        return
    if flow is Flow.LEARNING:
        _learn(settings, workers)
        return
    definitions = load(campaigns)
    connect(settings.redis).close()
    if workers > 1 and settings.process_id is None:
        _check(settings, workers)
        logs.configure(always={"dataflow": flow.value})
        _prepare_recovery(settings, settings.recovery)
        command = [sys.executable, "-c", "from cli.main import main; main()", "run", flow.value]
        Cluster([*command, "--campaigns", str(campaigns)], workers, settings, os.environ).run()
        return
    addresses = [] if settings.addresses is None else settings.addresses.split(";")
    if settings.process_id is None:
        logs.configure(always={"dataflow": flow.value})
    else:
        _check(settings, len(addresses))
        logs.configure(always={"dataflow": flow.value, "process": settings.process_id})
    _prepare_recovery(settings, settings.recovery, len(addresses))
    stop = Stop().on_signals()
    if not settings.process_id and chosen(settings, os.environ).publish(definitions):
        _log.info("campaigns published", extra={"campaigns": len(definitions)})
    _log.info("running", extra={"partitions": settings.partitions, "recovery": str(settings.recovery)})
    _run(personalization.flow(stop), settings, settings.recovery, stop, addresses)


def _learn(settings: Settings, workers: int) -> None:
    """Run learning: one process, with recovery files of its own beside those of personalization."""
    if workers > 1 or settings.process_id is not None:
        raise ValueError("learning is one process: a model has one learner")
    logs.configure(always={"dataflow": Flow.LEARNING.value})
    connect(settings.redis).close()
    recovery = settings.recovery.with_name(f"{settings.recovery.name}-learning")
    _prepare_recovery(settings, recovery)
    from dataflows import learning  # noqa: PLC0415 - loads River, which the other dataflows do without

    stop = Stop().on_signals()
    _log.info("running", extra={"partitions": settings.partitions, "recovery": str(recovery)})
    _run(learning.flow(stop), settings, recovery, stop)


def _deliver(settings: Settings, workers: int, providers: Path, templates: Path) -> None:
    """Run delivery: one process, which keeps its state in its own output."""
    if workers > 1 or settings.process_id is not None:
        raise ValueError("delivery is one process: a provider has one pace")
    logs.configure(always={"dataflow": Flow.DELIVERY.value})
    connect(settings.redis).close()
    from cli.delivering import deliver  # noqa: PLC0415 - loads templates and clients that the other dataflows do without

    deliver(settings, providers, templates)
    _log.info("stopped")


def _run(dataflow: Dataflow, settings: Settings, recovery: Path, stop: Stop, addresses: Sequence[str] = ()) -> None:
    garbage.calm()
    try:
        cli_main(
            dataflow,
            process_id=settings.process_id,
            addresses=list(addresses) or None,
            epoch_interval=timedelta(seconds=settings.snapshot_seconds),
            recovery_config=RecoveryConfig(str(recovery)),
        )
    except BaseException as error:
        if stop.failure is not None:
            raise stop.failure from error
        cause = error
        while cause.__cause__ is not None:  # the engine wraps what a step raised, some times over
            cause = cause.__cause__
        if cause is not error:
            raise cause from error
        if type(error).__name__ == "PanicException":  # Rust's, which is no Exception and has no name in Python
            raise PeerLost(
                "the cluster broke: another of its processes ended, or Redis failed; all resume together"
            ) from error
        raise
    _log.info("stopped, the last snapshot is written")


def _check(settings: Settings, workers: int) -> None:
    if settings.kafka is None:
        raise ValueError("Redis Streams are read by one process; set WAXMARK_KAFKA to run more")
    most = shareable(settings.partitions)
    if workers < 1 or most % workers:
        raise ValueError(
            f"{settings.partitions} partitions cannot be shared by {workers} processes; choose a divisor of {most}"
        )
    if settings.process_id is not None and settings.process_id >= workers:
        raise ValueError(
            f"WAXMARK_PROCESS_ID is {settings.process_id}, but WAXMARK_ADDRESSES names {workers} processes"
        )


def _prepare_recovery(settings: Settings, directory: Path, processes: int = 0) -> None:
    """Create the recovery files where there are none: in a cluster without a shared directory, each process its share."""
    if any(directory.glob("part-*.sqlite3")):
        return
    files = 1 if settings.kafka is None else settings.recovery_files
    prepare(directory, files, settings.process_id or 0, max(processes, 1))
