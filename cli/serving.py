"""How this project's HTTP processes are served: one uvicorn on a given socket, until a signal; and what they share."""

import logging
import os
import signal
import socket
from time import time_ns
from types import FrameType
from typing import Any

import uvicorn

from connectors import garbage
from connectors.kafka_append import KafkaAppender
from connectors.kafka_client import configured
from connectors.redis_append import RedisAppender
from connectors.settings import Settings
from rendering.signed import Seals


def on_signals() -> None:
    """Let SIGTERM and SIGINT stop uvicorn, and no more. Only from the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)


async def serve(app: Any, listener: socket.socket, log: logging.Logger, said: str, **about: object) -> None:
    """Serve an ASGI application until a signal; requests under way are answered."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,  # a query may hold a write key, a path a user's id or what opens a cart
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,  # longer than a load balancer keeps a connection that it may still use
        timeout_graceful_shutdown=10,
    )
    host, port = listener.getsockname()[:2]
    garbage.calm()
    log.info(said, extra={"host": host, "port": port, **about})
    await uvicorn.Server(config).serve(sockets=[listener])


def appender(settings: Settings) -> RedisAppender | KafkaAppender:
    """Make what appends to the log that the settings name; not open yet."""
    queue = settings.collect_queue_megabytes * 1024 * 1024
    if settings.kafka is None:
        return RedisAppender(settings.redis, settings.partitions, queue_bytes=queue)
    return KafkaAppender(configured(settings, os.environ), settings.partitions, queue_bytes=queue)


def seals_of(settings: Settings) -> Seals:
    """Read the secrets of the links in emails. Raises ValueError in one clear line."""
    secret = settings.content_secret
    try:
        return Seals(("" if secret is None else secret.get_secret_value()).split(","))
    except ValueError as error:
        raise ValueError(f"WAXMARK_CONTENT_SECRET: {error}; make one by: openssl rand -base64 32") from None


def clock() -> int:
    """Read the time in microseconds UTC."""
    return time_ns() // 1_000


def _stopped(number: int, frame: FrameType | None) -> None:
    """Do nothing: uvicorn stops gracefully, then raises the signal once more, which would end us with its code."""
