"""`waxmark collect`: the HTTP edge in the foreground."""

import logging
import os
import signal
import socket
from pathlib import Path
from time import time_ns
from types import FrameType

import uvicorn
import uvloop

from api import contract
from api.app import application
from api.keys import Keys, KeysError, Reader, Source, load
from connectors import garbage, logs
from connectors.kafka_append import KafkaAppender
from connectors.kafka_client import configured
from connectors.redis_append import RedisAppender
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
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    mappings = (keys or settings.collect_keys or Path()).parent
    with (
        socket.create_server((host, port), backlog=2048, reuse_port=share_port) as listener,
        Telemetry(settings.metrics_host, settings.metrics_port) as telemetry,
    ):
        uvloop.run(_serve(allowed, mappings, settings, listener, telemetry))
    _log.info("stopped")


def _stopped(number: int, frame: FrameType | None) -> None:
    """Do nothing: uvicorn stops gracefully, then raises the signal once more, which would end us with its code."""


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
    async with _log_of(settings) as log:
        app = application(
            keys, log, people, _now, contract=contract.document, metrics=telemetry.metrics, mappings=mappings
        )
        config = uvicorn.Config(
            app.__call__,
            interface="asgi3",
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,  # a query may hold a write key, a path a user's id
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,  # longer than a load balancer keeps a connection that it may still use
            timeout_graceful_shutdown=10,
        )
        host, port = listener.getsockname()[:2]
        garbage.calm()
        _log.info("collecting", extra={"host": host, "port": port, "sources": len(keys.sources)})
        await uvicorn.Server(config).serve(sockets=[listener])
    await people.close()


def _log_of(settings: Settings) -> RedisAppender | KafkaAppender:
    queue = settings.collect_queue_megabytes * 1024 * 1024
    if settings.kafka is None:
        return RedisAppender(settings.redis, settings.partitions, queue_bytes=queue)
    return KafkaAppender(configured(settings, os.environ), settings.partitions, queue_bytes=queue)


def _now() -> int:
    return time_ns() // 1_000
