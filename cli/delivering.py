"""`waxmark run delivery`: what the file of providers, the templates and the environment make of the dataflow."""

import asyncio
import logging
import os
import ssl
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from time import time_ns
from typing import Final

import aiohttp
import redis

from cli.serving import seals_of
from connectors import garbage
from connectors.catalogue import AsyncCatalogue
from connectors.delivery_file import load
from connectors.delivery_log import Checkpoints, delivery_log
from connectors.delivery_model import Delivery
from connectors.esp.desk import RedisDesk
from connectors.esp.lane import Lane, Pace
from connectors.esp.opening import opened
from connectors.redis_people import RedisPeople
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from dataflows.delivery import delivery
from rendering.renderer import Renderer
from rendering.signed import links
from rendering.template_folder import shop_of, template_folder
from state.outputs import Trigger

_IDLE_SECONDS: Final = 15.0
"""A connection that was idle for longer is not used again: the provider may be about to close it."""

_log: Final = logging.getLogger("waxmark.delivery")

Links = Callable[[Trigger], Mapping[str, str]]


def deliver(settings: Settings, file: Path, templates: Path) -> None:
    """Deliver until SIGTERM or Ctrl-C. Raises CampaignFileError or TemplateError for what is wrong before anything is sent."""
    plan = load(file, os.environ)
    read = template_folder(templates)
    shop, renderer = plan.shop.over(shop_of(read)), Renderer(read)
    for template in sorted(templates.glob("*.mjml")):
        renderer.compiled(template.stem)
    written = _links(plan, settings, shop)
    stop = Stop().on_signals()
    with Telemetry.of(settings) as telemetry:
        garbage.calm()
        try:
            asyncio.run(_deliver(plan, settings, shop, renderer, written, telemetry, stop))
        except BaseExceptionGroup as failures:
            failure = _first(failures)
            if isinstance(failure, redis.ResponseError):  # out of memory, or a replica that a failover has left behind
                raise OSError(f"Redis refuses to go on: {failure}") from failures
            raise failure from failures


async def _deliver(
    plan: Delivery,
    settings: Settings,
    shop: Mapping[str, str],
    renderer: Renderer,
    written: Links,
    telemetry: Telemetry,
    stop: Stop,
) -> None:
    people, catalogue, checkpoints = (
        RedisPeople(settings.redis),
        AsyncCatalogue(settings.redis),
        Checkpoints(settings.redis),
    )
    log = delivery_log(settings, os.environ, telemetry.metrics)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        trust = ssl.create_default_context()
        lanes = {
            name: Lane(
                name,
                opened(options, plan.shop, session, _clock, trust),
                Pace(options.rate, options.burst or options.rate, options.concurrency, options.give_up_after),
                _clock,
            )
            for name, options in plan.providers.items()
        }
        _log.info("running", extra={"partitions": settings.partitions, "providers": ", ".join(lanes)})
        desk = RedisDesk(people, catalogue, renderer, shop, written)
        await delivery(
            log,
            checkpoints,
            settings.partitions,
            lanes,
            plan.provider_for,
            desk,
            telemetry,
            stop,
            run_id=uuid.uuid4().hex,
            clock=_clock,
        )
        for lane in lanes.values():
            await lane.provider.close()
    await people.close()
    await catalogue.close()
    checkpoints.close()


def _links(plan: Delivery, settings: Settings, shop: Mapping[str, str]) -> Links:
    """Say what links an email has: signed ones where something serves them, else those of the shop's own site."""
    if plan.content is None:
        return lambda _: {"unsubscribe": shop.get("unsubscribe_url", "")}
    seals, base = seals_of(settings), plan.content.url
    currency = shop.get("currency", "")
    return lambda trigger: links(seals, base, trigger, currency=currency)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Find the failure that ended all tasks; the others were cancelled."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _clock() -> int:
    return time_ns() // 1000
