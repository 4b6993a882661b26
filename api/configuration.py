"""What browser SDKs ask for before they send, so that they load against us alone."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.cors import allowing
from api.doors import Door, Doors, basic
from api.keys import Source
from state.clock import to_iso


class Configuration:
    """The handlers of SDK configuration. `clock` gives the time in microseconds UTC."""

    def __init__(self, doors: Doors, clock: Callable[[], int]) -> None:
        self._doors, self._clock = doors, clock

    async def segment(self, request: Request) -> Response:
        """Tell Segment's browser library that it has one destination, which is us."""
        key = request.path_params["write_key"]
        self._doors.source([key])
        us = {
            "apiKey": key,
            "apiHost": f"{request.url.netloc}/v1",
            "protocol": request.url.scheme,
            "type": "browser",
            "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
        }
        plan = {name: {"__default": {"enabled": True, "integrations": {}}} for name in ("track", "identify", "group")}
        return _answer(request, {"integrations": {"Segment.io": us}, "plan": plan, "edgeFunction": {}})

    async def rudderstack(self, request: Request) -> Response:
        """Tell RudderStack's browser library that its source is on, and has no destinations in the browser."""
        key = basic(request.headers.get("authorization", "")) or request.query_params.get("writeKey")
        door: Door[Source] = self._doors.source([key])
        source: dict[str, Any] = {
            "id": door.owner.name,
            "name": door.owner.name,
            "writeKey": key,
            "enabled": True,
            "workspaceId": door.owner.tenant,
            "config": {"statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}},
            "destinations": [],
            "dataplanes": {},
        }
        updated = to_iso(self._clock())
        return _answer(request, {"source": source | {"updatedAt": updated}, "updatedAt": updated})


def _answer(request: Request, content: dict[str, Any]) -> Response:
    cors = {name.decode(): value.decode("latin-1") for name, value in allowing(dict(request.scope["headers"]))}
    return JSONResponse(content, headers=cors | {"cache-control": "public, max-age=60"})
