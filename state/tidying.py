"""The second look at properties that are not as version 2 wants them, but clear enough not to lose a purchase over them."""

from typing import Any, Final

from state.commerce import MAX_TEXT, Known

_TEXTS: Final = frozenset(
    {"name", "category", "brand", "variant", "coupon", "url", "image_url", "currency", "email"},
)


def tidied(properties: dict[str, Any], known: Known) -> dict[str, Any]:
    """Rewrite properties as version 2 wants them.

    Version 1's `id` and `orderId` get their new names. Null and empty strings are absent. A number stands for a text that
    describes; what is no text there (or is longer than `MAX_TEXT`) is left out. Ids, amounts and `products` stay as sent.
    """
    tidy = _described(properties)
    if "orderId" in tidy:
        tidy.setdefault("order_id", tidy["orderId"])
    if known.required == "product_id" and "id" in tidy:
        tidy.setdefault("product_id", tidy["id"])
    products = tidy.get("products")
    if isinstance(products, list):
        tidy["products"] = [_product(p) if isinstance(p, dict) else p for p in products]
    return tidy


def _product(product: dict[str, Any]) -> dict[str, Any]:
    tidy = _described(product)
    if "id" in tidy:
        tidy.setdefault("product_id", tidy["id"])
    return tidy


def _described(mapping: dict[str, Any]) -> dict[str, Any]:
    tidy = {name: value for name, value in mapping.items() if value is not None and value != ""}
    for name in _TEXTS & tidy.keys():
        value = tidy[name]
        text = str(value) if type(value) in {int, float} else value
        if isinstance(text, str) and len(text) <= MAX_TEXT:
            tidy[name] = text
        else:
            del tidy[name]
    return tidy
