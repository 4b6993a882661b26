"""What is so now: a cart's lines with the catalogue's prices over them, ready to be shown, with nothing of whose they are."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from babel import Locale, UnknownLocaleError, numbers

from connectors.catalogue import Cart
from rendering.signed import Link
from state.clock import DAY, HOUR, MINUTE, SECOND

UNNAMED: Final = "Item"


class Shop(NamedTuple):
    """What is the shop's own: its name and address for the links back, how it writes money, and its currency."""

    name: str = ""
    url: str = ""
    currency: str = ""
    locale: str = "en_US"


class State(StrEnum):
    """What there is to say of a cart. Of a person who is unknown, or a link whose time is over, nothing."""

    OPEN = "open"
    EMPTY = "empty"
    ORDERED = "ordered"
    NONE = "none"


class Item(NamedTuple):
    """One line. `before` is what it cost when it was put in, where it costs less now."""

    name: str
    variant: str
    quantity: float
    price: float | None
    before: float | None
    currency: str
    url: str
    image_url: str
    is_sold_out: bool


class Shown(NamedTuple):
    """A cart as it is shown: what can be bought first. `total` is None where a price is unknown, or currencies differ."""

    state: State
    items: tuple[Item, ...] = ()
    total: float | None = None
    currency: str = ""


NOTHING: Final = Shown(State.NONE)


def shown(cart: Cart | None, link: Link, shop: Shop) -> Shown:
    """Say how a cart stands. `link` tells what the email knew."""
    if cart is None:
        return NOTHING
    currency = link.currency or shop.currency
    items = sorted((_item(line, product, currency) for line, product in cart.lines), key=lambda item: item.is_sold_out)
    if not items:
        has_ordered = link.orders is not None and cart.orders > link.orders
        return Shown(State.ORDERED if has_ordered else State.EMPTY)
    bought = [item for item in items if not item.is_sold_out]
    currencies = {item.currency for item in bought}
    if not bought or len(currencies) > 1 or any(item.price is None for item in bought):
        return Shown(State.OPEN, tuple(items))
    total = sum((Decimal(str(item.price)) * Decimal(str(item.quantity)) for item in bought), Decimal(0))
    return Shown(State.OPEN, tuple(items), float(total), currencies.pop())


def priced(product: Mapping[str, Any], link: Link, shop: Shop) -> Item:
    """Say what the product of a price link costs now; where the catalogue does not know, what the email said still holds."""
    line = {"price": link.price, "quantity": 1.0}
    return _item(line, product, link.currency or shop.currency)


def left(link: Link, now: int) -> str:
    """Say how long it is to a countdown's end, by its two largest units."""
    rest = link.until * SECOND - now
    if rest <= 0:
        return "This has ended"
    if rest < MINUTE:
        return "Less than a minute left"
    days, hours, minutes = rest // DAY, rest % DAY // HOUR, rest % HOUR // MINUTE
    parts = [(days, "day"), (hours, "hour")] if days else [(hours, "hour"), (minutes, "minute")]
    return " ".join(f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in parts if count) + " left"


@lru_cache(maxsize=8192)
def money(amount: float, currency: str, locale: str) -> str:
    """Write an amount as the locale does; without a currency, as a number with two decimals."""
    parsed = parsed_locale(locale)
    if not currency:
        return numbers.format_decimal(Decimal(str(amount)), format="#,##0.00", locale=parsed)
    return numbers.format_currency(Decimal(str(amount)), currency, locale=parsed)


@lru_cache(maxsize=16)
def parsed_locale(name: str) -> Locale:
    """Read a locale's name, as `de_DE` or `de-DE`. Raises ValueError."""
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        raise ValueError(f"--locale: {name} is no locale, as in en_US") from None


def counted(quantity: float) -> str:
    """Write a quantity, whole where it is."""
    return str(int(quantity)) if quantity == int(quantity) else f"{quantity:.3f}".rstrip("0")


def _item(line: Mapping[str, Any], product: Mapping[str, Any], currency: str) -> Item:
    then = line.get("price")
    price, named = product.get("price", then), product.get("currency") or currency
    is_less = price is not None and then is not None and price < then and named == (currency or named)
    stock = product.get("stock")
    return Item(
        name=str(product.get("name") or line.get("name") or ""),
        variant=str(line.get("variant") or ""),
        quantity=float(line.get("quantity") or 1.0),
        price=price,
        before=then if is_less else None,
        currency=named,
        url=_web(product.get("url") or line.get("url")),
        image_url=_web(product.get("image_url") or line.get("image_url")),
        is_sold_out=stock is not None and stock <= 0,
    )


def _web(address: object) -> str:
    """Pass a web address, and no script: these come from events, which anybody may send."""
    text = address if isinstance(address, str) else ""
    return text if text.startswith(("https://", "http://")) else ""
