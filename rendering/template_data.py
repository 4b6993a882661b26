"""What a template may use: the trigger, brought up to now by the catalogue, and the person, the shop and the links."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import msgspec

from rendering.filters import is_web_address
from state.commerce import key_of
from state.outputs import Trigger

_OF_THE_TRIGGER: Final = (
    "trigger_id", "campaign_id", "subject", "occurred_at", "decided_at", "send_at", "expires_at",
)  # fmt: skip
_OF_THE_CATALOGUE: Final = ("name", "price", "currency", "image_url", "url", "stock")
_ADDRESSES: Final = ("url", "image_url")
_TEXTS: Final = frozenset(
    {"email", "consent", "as_of", "first_seen", "last_seen", "churn_model", "churn_version", "churn_reasons"}
)


def template_data(
    trigger: Trigger,
    profile: Mapping[str, Any],
    catalogue: Mapping[str, Mapping[str, Any]],
    shop: Mapping[str, str],
    links: Mapping[str, str],
) -> dict[str, Any]:
    """Compose a template's data. Nothing given is changed, and nothing is kept of it but values.

    `catalogue` holds products by id as they are now, `profile` decoded values. An item that costs less than when it was put
    in has a `price_before`; one with a stock of 0 is `sold_out`, comes last and does not count in `total`. Without the price
    of an item, or in several currencies, there is no total: none is better than a wrong one.
    """
    payload = trigger.payload
    properties = dict(payload.get("properties") or {})
    currency = properties.get("currency") or shop.get("currency")
    items = [_item(item, catalogue.get(key_of(item), {}), currency) for item in payload.get("items") or []]
    items.sort(key=lambda item: "sold_out" in item)
    item_count = max(int(payload.get("item_count") or 0), len(items))
    data: dict[str, Any] = {
        "trigger": {name: getattr(trigger, name) for name in _OF_THE_TRIGGER},
        "items": items,
        "item_count": item_count,
        "more_count": item_count - len(items),
        "price_drops": [item for item in items if "price_before" in item and "sold_out" not in item],
        "properties": properties,
        "profile": {"user_id": trigger.user_id, "email": trigger.email, "traits": {}, **profile},
        "shop": dict(shop),
        "links": dict(links),
        "locale": shop.get("locale"),
    }
    if items:
        currencies = {item.get("currency") for item in items}
        currency = next(iter(currencies)) if len(currencies) == 1 else None
        if currency and item_count == len(items):
            data |= _total(items)
    data["currency"] = currency
    return data


def decoded_profile(fields: Mapping[str, str]) -> dict[str, Any]:
    """Decode a profile as Redis holds it, where every field is a text and some of them are JSON."""
    return {name: text if name in _TEXTS else _decoded(text) for name, text in fields.items()}


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def product_ids(trigger: Trigger) -> list[str]:
    """List the products of which template_data wants to know what the catalogue says."""
    return [key for item in trigger.payload.get("items") or [] if (key := key_of(item))]


def _item(then: Mapping[str, Any], now: Mapping[str, Any], currency: object) -> dict[str, Any]:
    then = {name: value for name, value in then.items() if value is not None and value != ""}
    item = dict(then)
    item |= {name: value for name in _OF_THE_CATALOGUE if (value := _read(name, now.get(name))) is not None}
    for name in _ADDRESSES:
        if not is_web_address(item.get(name, "https://x")):
            del item[name]  # a path within the shop's site, or worse: in an email it leads nowhere
    quantity = item.get("quantity", 1)
    item["quantity"] = int(quantity) if quantity == int(quantity) else quantity
    item.setdefault("currency", currency)
    before, price = item.get("price_before", then.get("price")), item.get("price")
    item.pop("price_before", None)
    if price is not None:
        item["line_total"] = _exact([item])
        if before is not None and before > price and item["currency"] == then.get("currency", currency):
            item["price_before"] = before
    if (stock := item.get("stock")) is not None and stock == int(stock):
        item["stock"] = int(stock)
    if stock is not None and stock <= 0:
        item["sold_out"] = True
    return item


def _read(name: str, value: Any) -> Any:
    """Read a field of the catalogue, which may hold numbers as texts; what is none is not there."""
    if name not in {"price", "stock"} or not isinstance(value, str):
        return None if value == "" else value
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _total(items: list[dict[str, Any]]) -> dict[str, float]:
    bought = [item for item in items if "sold_out" not in item]
    if not bought or any("price" not in item for item in bought):
        return {}
    before = [{**item, "price": item.get("price_before", item["price"])} for item in bought]
    total, total_before = _exact(bought), _exact(before)
    return {"total": total} if total_before <= total else {"total": total, "total_before": total_before}


def _exact(items: Iterable[Mapping[str, Any]]) -> float:
    """Add up in decimals: 3 times 0.1 is 0.3."""
    return float(sum((Decimal(str(item["price"])) * Decimal(str(item["quantity"])) for item in items), Decimal(0)))
