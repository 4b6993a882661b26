"""The endpoints of content at open time: `/c/{token}/...`."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import unavailable
from api.content.now import NOTHING, Item, Shop, Shown, left, priced, shown
from api.content.page import PRIVATE, cart_page
from api.content.pictures import Pictures
from connectors.appending import Away
from connectors.catalogue import AsyncCatalogue
from rendering.signed import Expired, Link, Purpose, Seals, Unreadable

FRESH: Final = PRIVATE | {"cache-control": "private, no-cache, max-age=0, must-revalidate"}
"""Gmail's image proxy, which keeps images for a day or longer, asks again for those that say so."""

R = TypeVar("R")

_log: Final = logging.getLogger("waxmark.content")
_json: Final = msgspec.json.Encoder(order="deterministic").encode


class Content:
    """What an email shows when it is opened. `clock` gives the time in microseconds UTC.

    A token that is not ours is 404. One of ours always has a picture: where its time is over, the person is unknown or Redis is
    away, that of a shop in which things change. An error would stay in the proxies' caches after it has passed.
    """

    def __init__(
        self, seals: Seals, catalogue: AsyncCatalogue, pictures: Pictures, shop: Shop, clock: Callable[[], int]
    ) -> None:
        self._seals, self._catalogue, self._pictures = seals, catalogue, pictures
        self._shop, self._clock = shop, clock
        self._is_reached = True

    def routes(self) -> list[Route]:
        """List what is answered."""
        return [
            Route("/c/{token}/cart.png", self.cart_picture, methods=["GET"]),
            Route("/c/{token}/cart.json", self.cart_json, methods=["GET"]),
            Route("/c/{token}/cart.html", self.cart_page, methods=["GET"]),
            Route("/c/{token}/price.png", self.price_picture, methods=["GET"]),
            Route("/c/{token}/countdown.png", self.countdown_picture, methods=["GET"]),
        ]

    async def cart_picture(self, request: Request) -> Response:
        """Show the cart."""
        cart = await self._cart(request) or NOTHING
        return self._fresh(request, ("cart", cart), lambda: self._pictures.cart(cart), "image/png")

    async def cart_json(self, request: Request) -> Response:
        """Tell the cart; 503 while it cannot be read."""
        cart = await self._cart(request)
        if cart is None:
            raise unavailable("the cart cannot be read now", 2)
        return self._fresh(request, ("json", cart), lambda: _json(_told(cart)), "application/json")

    async def cart_page(self, request: Request) -> Response:
        """Show the cart as a page."""
        return cart_page(await self._cart(request) or NOTHING, self._shop)

    async def price_picture(self, request: Request) -> Response:
        """Show what one of the email's products costs now."""
        link = self._link(request, Purpose.PRICE)
        item = _UNKNOWN_PRICE
        if link is not None:
            found = await self._read(self._catalogue.lookup(link.tenant, [link.product_id]))
            item = _UNKNOWN_PRICE if found is None else priced(found.get(link.product_id, {}), link, self._shop)
        return self._fresh(request, ("price", item), lambda: self._pictures.price(item), "image/png")

    async def countdown_picture(self, request: Request) -> Response:
        """Show how long it is."""
        link = self._link(request, Purpose.COUNTDOWN)
        said = left(link or Link(), self._clock())
        return self._fresh(request, ("clock", said), lambda: self._pictures.countdown(said), "image/png")

    async def _cart(self, request: Request) -> Shown | None:
        """Read the cart of a token; None while it cannot be read."""
        link = self._link(request, Purpose.CART)
        if link is None:
            return NOTHING
        return await self._read(self._reading(link))

    async def _reading(self, link: Link) -> Shown:
        return shown(await self._catalogue.cart(link.tenant, link.user_id), link, self._shop)

    def _link(self, request: Request, purpose: Purpose) -> Link | None:
        """Open the token; None where its time is over."""
        try:
            return self._seals.open(request.path_params["token"], purpose, self._clock())
        except Expired:
            return None
        except Unreadable:
            raise HTTPException(404) from None

    async def _read(self, reading: Awaitable[R]) -> R | None:
        """Read, or return None. Says once that Redis is away, and nothing of what was asked for."""
        try:
            found = await reading
        except Away:
            if self._is_reached:
                _log.warning("profiles and prices cannot be read")
            self._is_reached = False
            return None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one cart, its email is to show a picture
            _log.error("a cart cannot be shown", extra={"error": type(error).__name__})
            return None
        self._is_reached = True
        return found

    def _fresh(self, request: Request, what: object, written: Callable[[], bytes], media_type: str) -> Response:
        """Answer with what is so now, or that it is still so. The tag is of what is shown: nothing is drawn to compare."""
        said = repr((self._pictures.edition, what)).encode(errors="replace")
        tag = f'"{hashlib.blake2b(said, digest_size=12).hexdigest()}"'
        headers = FRESH | {"etag": tag}
        asked = request.headers.get("if-none-match", "")
        if asked == "*" or tag in [each.strip().removeprefix("W/") for each in asked.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(written(), headers=headers, media_type=media_type)


_UNKNOWN_PRICE: Final = Item("", "", 1.0, None, None, "", "", "", is_sold_out=False)


def _told(cart: Shown) -> dict[str, Any]:
    items = [
        {
            "name": item.name,
            "variant": item.variant,
            "quantity": item.quantity,
            "price": item.price,
            "price_before": item.before,
            "currency": item.currency,
            "url": item.url,
            "image_url": item.image_url,
            "sold_out": item.is_sold_out,
        }
        for item in cart.items
    ]
    return {"state": cart.state, "items": items, "total": cart.total, "currency": cart.currency}
