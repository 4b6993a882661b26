"""The last look: whether what a trigger was decided for is still so, the moment before it is handed to a provider."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from state.commerce import key_of
from state.outputs import Recheck, Trigger

NOT_REFUSED: Final = "not refused"

_cart: Final = msgspec.json.Decoder(list[dict[str, Any]])


class Stale(Exception):
    """The trigger must not be sent any more; the message says why, and is a metric's and a record's reason."""


class Fresh(NamedTuple):
    """A trigger that may go, with what is still true of its payload, and the address to send it to (perhaps none)."""

    trigger: Trigger
    to: str


def look(trigger: Trigger, profile: Mapping[str, str] | None, catalogue: Mapping[str, Mapping[str, Any]]) -> Fresh:
    """Check consent, orders since, the cart and the stock. Raises Stale.

    A profile that is gone is a person who was forgotten, and gets nothing. Products that the catalogue does not know are in
    stock. The cart is looked at only where the profile shows the trigger's own: a person may have several.
    """
    if profile is None:
        raise Stale("the person is not known any more")
    refusal = profile.get("consent", NOT_REFUSED)
    if refusal != NOT_REFUSED:
        raise Stale(refusal)
    recheck = trigger.recheck
    if recheck is not None and recheck.orders is not None and int(profile.get("orders", 0)) > recheck.orders:
        raise Stale("ordered since")
    items = trigger.payload.get("items")
    to = profile.get("email") or trigger.email or ""
    if not items:
        return Fresh(trigger, to)
    left = _in_stock(_in_cart(items, trigger, recheck, profile), catalogue)
    return Fresh(trigger if left == items else _with(trigger, left), to)


def _in_cart(
    items: list[dict[str, Any]], trigger: Trigger, recheck: Recheck | None, profile: Mapping[str, str]
) -> list[dict[str, Any]]:
    if recheck is None or not recheck.cart or profile.get("cart_id", "") != trigger.subject:
        return items
    in_cart = {str(line["product_id"]) for line in _cart.decode(profile.get("cart", "[]"))}
    left = [item for item in items if key_of(item) in in_cart]
    if not left:
        raise Stale("no longer in the cart")
    return left


def _in_stock(items: list[dict[str, Any]], catalogue: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    left = [item for item in items if _stock(item, catalogue) > 0]
    if not left:
        raise Stale("out of stock")
    return left


def _stock(item: Mapping[str, Any], catalogue: Mapping[str, Mapping[str, Any]]) -> float:
    stock = catalogue.get(key_of(item), {}).get("stock")
    return 1.0 if stock is None else float(stock)


def _with(trigger: Trigger, items: list[dict[str, Any]]) -> Trigger:
    total = sum((item.get("price") or 0.0) * (item.get("quantity") or 1.0) for item in items)
    payload = trigger.payload | {"items": items, "item_count": len(items), "total": round(total, 2)}
    return msgspec.structs.replace(trigger, payload=payload)
