"""The collector as an ASGI application: which path leads where."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.answers import FAILED, Receive, Refused, Scope, Send
from api.collection import PATHS, Collection
from api.configuration import Configuration
from api.cors import allowing, preflight
from api.doors import Doors
from api.intake import Intake
from api.keys import Keys
from api.pixels import Pixels
from api.profiles import Profiles
from api.webhooks.endpoint import Webhooks
from connectors.appending import Appender
from connectors.recorder import Metrics
from connectors.redis_people import RedisPeople


class Application(NamedTuple):
    """Collection first and by itself, as nearly every request is one; everything else through the router.

    Starlette's router and request objects cost as much as the whole of a small batch.
    """

    collection: Collection
    rest: Starlette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] in PATHS:
            await self.collection(scope, receive, send)
        else:
            await self.rest(scope, receive, send)


def application(
    keys: Keys,
    log: Appender,
    people: RedisPeople,
    clock: Callable[[], int],
    *,
    contract: Callable[[], dict[str, Any]],
    metrics: Metrics,
    mappings: Path = Path(),
) -> Application:
    """Wire the collector.

    Args:
        keys: who may do what.
        log: where events go; its owner opens and closes it.
        people: where profiles are.
        clock: gives the time in microseconds UTC.
        contract: gives the OpenAPI document.
        metrics: hears what is taken and answered.
        mappings: where the webhooks' own mapping files are.

    Raises:
        KeysError: a webhook's secret or mapping file cannot be used.
    """
    doors = Doors(keys)
    intake = Intake(log, people, _new_id, metrics)
    profiles = Profiles(people, log, doors, clock, _new_id)
    configuration = Configuration(doors, clock)
    webhooks = Webhooks(keys.webhooks, mappings, intake, people, clock)

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        return JSONResponse({"status": "ready" if log.is_ready else "unavailable"}, 200 if log.is_ready else 503)

    async def described(_: Request) -> Response:
        return JSONResponse(contract())

    routes = [
        Route("/v1/projects/{write_key}/settings", _open(configuration.segment), methods=["GET", "OPTIONS"]),
        Route("/sourceConfig", _open(configuration.rudderstack), methods=["GET", "OPTIONS"]),
        Route("/sourceConfig/", _open(configuration.rudderstack), methods=["GET", "OPTIONS"]),
        Route("/pixel/v1/{type}", Pixels(intake, doors, clock).__call__, methods=["GET"]),
        Route("/v1/profiles", profiles.of_address, methods=["GET"]),
        Route("/v1/profiles:batch", profiles.many, methods=["POST"]),
        Route("/v1/profiles/{user_id:path}", profiles.one, methods=["GET"]),
        Route("/v1/users/{user_id:path}", profiles.delete, methods=["DELETE"]),
        Route("/v1/deletions/{deletion_id}", profiles.deletion, methods=["GET"]),
        Route("/v1/webhooks/{name}", webhooks.__call__, methods=["POST"]),
        Route("/healthz", live, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/openapi.json", described, methods=["GET"]),
    ]
    rest = Starlette(routes=routes, exception_handlers={Refused: _refused, HTTPException: _http, Exception: _failed})
    return Application(Collection(intake, doors, clock, metrics), rest)


def _open(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_text(preflight(dict(request.scope["headers"]), b"GET, OPTIONS")))
        answered: Response = await handler(request)
        return answered

    return handle


async def _refused(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # noqa: S101 - Starlette's handlers are typed by their widest argument
    headers = _text([*allowing(dict(request.scope["headers"])), *refused.headers])
    return Response(refused.body, refused.status, headers, "application/json")


async def _failed(_: Request, __: Exception) -> Response:
    return Response(FAILED, 500, media_type="application/json")


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - same
    phrase = HTTPStatus(error.status_code).phrase
    content = {"success": False, "code": phrase.lower().replace(" ", "_"), "message": phrase}
    return JSONResponse(content, error.status_code, error.headers)


def _text(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in headers}


def _new_id() -> str:
    return str(uuid4())
