"""Pixels: an event as an image, for emails and pages without scripts; by RudderStack's paths."""

import base64
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Refused
from api.doors import Doors, query
from api.intake import Intake, named
from api.messages import Envelope

PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_MAX_PARTS: Final = 100


class Pixels:
    """The handler of `/pixel/v1/{track,page}`. Dots in a parameter's name nest: `properties.price=5`."""

    def __init__(self, intake: Intake, doors: Doors, clock: Callable[[], int]) -> None:
        self._intake, self._doors, self._clock = intake, doors, clock

    async def __call__(self, request: Request) -> Response:
        """Take in the event that the query tells."""
        type_ = request.path_params["type"]
        if type_ not in {"track", "page"}:
            raise Refused(404, "not_found", "there are pixels for track and page")
        now = self._clock()
        parameters = {name: values[0] for name, values in query(request.scope).items()}
        door = self._doors.source([parameters.pop("writeKey", None)])
        door.pass_through(1, now)
        envelope = Envelope(door.owner.tenant, now, type_)
        taken = await self._intake.take([msgspec.json.encode(_nested(parameters))], envelope)
        if taken.refused:
            raise named(taken, single=True)
        # A cached pixel would count the first opening alone.
        return Response(PIXEL, media_type="image/gif", headers={"cache-control": "no-store"})


def _nested(parameters: dict[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in list(parameters.items())[:_MAX_PARTS]:
        *path, last = name.split(".")[:_MAX_PARTS]
        place = tree
        for step in path:
            inner = place.get(step)
            if not isinstance(inner, dict):
                inner = place[step] = {}
            place = inner
        place[last] = value
    return tree
