"""Content and unsubscribing as an application of their own: many open an email at once, and must not slow the collector."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.answers import FAILED, Refused
from api.content.endpoints import Content
from api.content.now import Shop
from api.content.pictures import Pictures
from api.unsubscribing import Unsubscribing
from connectors.appending import Appender
from connectors.catalogue import AsyncCatalogue
from rendering.signed import Seals


def application(
    seals: Seals,
    catalogue: AsyncCatalogue,
    log: Appender,
    pictures: Pictures,
    shop: Shop,
    clock: Callable[[], int],
) -> Starlette:
    """Wire the endpoints.

    Args:
        seals: opens the tokens.
        catalogue: reads carts and prices; its owner closes it.
        log: where unsubscriptions go; its owner opens and closes it.
        pictures: draws.
        shop: what is the shop's own.
        clock: gives the time in microseconds UTC.
    """

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        is_ready = log.is_ready and await catalogue.is_ready()
        return JSONResponse({"status": "ready" if is_ready else "unavailable"}, 200 if is_ready else 503)

    routes = [
        *Content(seals, catalogue, pictures, shop, clock).routes(),
        *Unsubscribing(seals, log, shop, clock).routes(),
        Route("/healthz", live, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers={Refused: _refused, Exception: _failed})


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # noqa: S101 - Starlette's handlers are typed by their widest argument
    headers = {name.decode(): value.decode() for name, value in refused.headers}
    return Response(refused.body, refused.status, headers | {"cache-control": "no-store"}, "application/json")


async def _failed(_: Request, __: Exception) -> Response:
    return Response(FAILED, 500, {"cache-control": "no-store"}, "application/json")
