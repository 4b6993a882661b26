"""`waxmark collect`: the HTTP edge in the foreground."""

import logging
import os
import socket
from pathlib import Path

import uvloop

from api import contract
from api.app import application
from api.keys import Keys, KeysError, Reader, Source, load
from cli import serving
from connectors import logs
from connectors.redis_people import RedisPeople
from connectors.settings import Settings
from connectors.telemetry import Telemetry

_log = logging.getLogger("waxmark.collect")


def collect(*, keys: Path | None = None, host: str = "127.0.0.1", port: int = 8080, share_port: bool = False) -> None:
    """Take in events from SDKs and webhooks, and serve profiles, until SIGTERM or Ctrl-C.

    What was answered by 200 is in the log. While the log is away, senders are put off, and it goes on by itself.

    Example: `WAXMARK_WRITE_KEY=a-key-of-your-own waxmark collect --port 8080`

    Parameters
    ----------
    keys
        Who may send, read and call webhooks (docs/collector.md); without it, WAXMARK_WRITE_KEY and WAXMARK_READ_KEY.
    host
        The interface to listen on.
    port
        The port; 0 takes a free one.
    share_port
        Let several processes listen on the port, one for each core. Rate limits hold for each.
    """
    logs.configure(always={"process": "collect"})
    settings = Settings()
    allowed = _keys(keys or settings.collect_keys, settings)
    serving.on_signals()
    mappings = (keys or settings.collect_keys or Path()).parent
    with (
        socket.create_server((host, port), backlog=2048, reuse_port=share_port) as listener,
        Telemetry(settings.metrics_host, settings.metrics_port) as telemetry,
    ):
        uvloop.run(_serve(allowed, mappings, settings, listener, telemetry))
    _log.info("stopped")


def _keys(path: Path | None, settings: Settings) -> Keys:
    if path is not None:
        return load(path, os.environ)
    sources, readers = [], []
    if settings.write_key is not None:
        sources.append(Source(name="default", write_key=settings.write_key))
    if settings.read_key is not None:
        readers.append(Reader(name="default", read_key=settings.read_key))
    if not sources:
        raise KeysError("nobody could send: set WAXMARK_WRITE_KEY, or name a file of keys by --keys")
    return Keys(sources=tuple(sources), readers=tuple(readers))


async def _serve(keys: Keys, mappings: Path, settings: Settings, listener: socket.socket, telemetry: Telemetry) -> None:
    people = RedisPeople(settings.redis)
    async with serving.appender(settings) as log:
        app = application(
            keys, log, people, serving.clock, contract=contract.document, metrics=telemetry.metrics, mappings=mappings
        )
        await serving.serve(app.__call__, listener, _log, "collecting", sources=len(keys.sources))
    await people.close()
