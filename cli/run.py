"""`waxmark run`: a dataflow in the foreground, recovery always on."""

import logging
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from connectors import logs
from connectors.campaign_file import load
from connectors.redis_log import publish
from connectors.redis_streams import connect
from connectors.settings import Settings
from dataflows import personalization

_log = logging.getLogger("waxmark.run")


class Flow(StrEnum):
    """The dataflows there are."""

    PERSONALIZATION = "personalization"


def run(flow: Flow, *, campaigns: Path = Path("campaigns.yaml")) -> None:
    """Run a dataflow until SIGTERM or Ctrl-C; after any end, the same command goes on where it was.

    Example: `WAXMARK_REDIS=redis://127.0.0.1:6379/0 waxmark run personalization --campaigns campaigns.yaml`

    Parameters
    ----------
    flow
        Which dataflow.
    campaigns
        The campaigns file; its definitions go into the log if they changed.
    """
    logs.configure(always={"dataflow": flow.value})
    settings = Settings()
    definitions = load(campaigns)
    client = connect(settings.redis)
    if publish(client, settings.partitions, definitions):
        _log.info("campaigns published", extra={"campaigns": len(definitions)})
    client.close()
    recovery = settings.recovery
    if not (recovery / "part-0.sqlite3").exists():
        recovery.mkdir(parents=True, exist_ok=True)
        init_db_dir(recovery, 1)
    _log.info("running", extra={"partitions": settings.partitions, "recovery": str(recovery)})
    cli_main(
        personalization.flow(),
        epoch_interval=timedelta(seconds=settings.snapshot_seconds),
        recovery_config=RecoveryConfig(str(recovery)),
    )
    _log.info("stopped, the last snapshot is written")
