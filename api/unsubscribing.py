"""Unsubscribing: a page with one button, and RFC 8058's one click, which mail programs send themselves."""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.content.now import Shop
from api.content.page import page
from connectors.appending import Appender, Entry, Unavailable
from rendering.signed import Link, Purpose, Seals, Unreadable
from state.clock import HOUR, to_iso

_encode: Final = msgspec.json.Encoder().encode
_ASKED: Final = (
    "<p>We will send no more such emails to this address.</p>"
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    '<button type="submit">Unsubscribe</button></form>'
)


class Unsubscribing:
    """The handlers of `/u/{token}`. `clock` gives the time in microseconds UTC.

    A GET changes nothing: scanners of links follow every one. A POST is answered 200 once the log has the `Unsubscribed`
    event. Whatever its body says, it means the same, and it is not read: the token says who it is, and that they may.
    """

    def __init__(self, seals: Seals, log: Appender, shop: Shop, clock: Callable[[], int]) -> None:
        self._seals, self._log, self._shop, self._clock = seals, log, shop, clock

    def routes(self) -> list[Route]:
        """List what is answered."""
        return [
            Route("/u/{token}", self.ask, methods=["GET"]),
            Route("/u/{token}", self.unsubscribe, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Show the button."""
        if self._link(request) is None:
            return self._unknown()
        return page("Unsubscribe", _ASKED, self._shop)

    async def unsubscribe(self, request: Request) -> Response:
        """Append the event; 503 with Retry-After while the log is away."""
        link = self._link(request)
        if link is None:
            return self._unknown()
        try:
            await self._log.append([Entry(link.user_id, unsubscribed(link, self._clock()))])
        except Unavailable as away:
            said = "<p>This did not work just now, and it is our fault. Please press the button again in a moment.</p>"
            retry = {"retry-after": str(away.retry_after)}
            return page("Please try again", said + _ASKED, self._shop, 503, retry)
        return page("You are unsubscribed", "<p>We will send no more such emails to this address.</p>", self._shop)

    def _link(self, request: Request) -> Link | None:
        try:
            return self._seals.open(request.path_params["token"], Purpose.UNSUBSCRIBE, self._clock())
        except Unreadable:
            return None

    def _unknown(self) -> Response:
        said = "<p>It may have been cut off. Please use the link in the email once more, or answer to the email.</p>"
        return page("This link does not work", said, self._shop, 404)


def unsubscribed(link: Link, now: int) -> bytes:
    """Write the event, at `now` in microseconds.

    Its message id is of the email and the hour: mail programs that ask several times ask once, and who subscribes again and
    later leaves by the same email is heard again.
    """
    said = f"{link.tenant}\x1f{link.user_id}\x1f{link.trigger_id}\x1f{now // HOUR}"
    time = to_iso(now)
    return _encode(
        {
            "type": "track",
            "event": "Unsubscribed",
            "messageId": f"unsubscribe-{hashlib.blake2b(said.encode(), digest_size=16).hexdigest()}",
            "userId": link.user_id,
            "timestamp": time,
            "properties": {"trigger_id": link.trigger_id},
            "tenant": link.tenant,
            "receivedAt": time,
        }
    )
