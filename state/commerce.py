"""Segment's e-commerce v2 and email vocabularies: canonical names, v1 aliases, and their properties.

Source: Segment's published specs "E-Commerce (v2)", "V1 Events" and "Email". Names outside are valid events too; they are
merely not checked.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

MAX_TEXT: Final = 2048

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Id = Text | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Amount = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""Money or a count as a float; the bounds also keep NaN and infinities out, which lax decoding would let in as strings."""

MAX_PRODUCTS: Final = 200


class Kind(IntEnum):
    """What an event means to the machines; persisted in engagement counts, so numbers are never reused."""

    OTHER = 0
    BROWSE = 1
    CART = 2
    CHECKOUT = 3
    ORDER = 4
    REFUND = 5
    EMAIL_OPEN = 6
    EMAIL_CLICK = 7
    EMAIL_SENT = 8
    UNSUBSCRIBE = 9
    BOUNCE = 10
    COMPLAINT = 11
    RISK = 12

    @property
    def is_activity(self) -> bool:
        """Tell whether the person did this, as opposed to what was done to them by mail."""
        return self <= Kind.ORDER


class Product(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """A product as Segment lists it in `products`, or spreads it over an event's own properties."""

    product_id: Id | None = None
    sku: Id | None = None
    name: Text | None = None
    category: Text | None = None
    brand: Text | None = None
    variant: Text | None = None
    price: Amount | None = None
    quantity: Amount | None = None
    coupon: Text | None = None
    url: Text | None = None
    image_url: Text | None = None

    @property
    def key(self) -> str:
        """Name the line of a cart that this product is: its id, else its SKU, else its name, else empty. 0 is an id."""
        product_id = self.product_id
        if product_id:  # nearly always
            return str(product_id)
        for given in (product_id, self.sku, self.name):
            if given is not None and given != "":
                return str(given)
        return ""


def key_of(item: Mapping[str, Any]) -> str:
    """Name the line of a cart that an item of a payload is, as `Product.key` does."""
    for name in ("product_id", "sku", "name"):
        given = item.get(name)
        if given is not None and given != "":
            return str(given)
    return ""


class Properties(Product, frozen=True):
    """The properties that e-commerce events have, checked while decoding; unknown ones are passed over."""

    cart_id: Id | None = None
    checkout_id: Id | None = None
    order_id: Id | None = None
    total: Amount | None = None
    revenue: Amount | None = None
    value: Amount | None = None
    currency: Text | None = None
    email: Text | None = None
    products: Annotated[list[Product], Meta(max_length=MAX_PRODUCTS)] = []

    @property
    def amount(self) -> float:
        """Say what an order was worth: total, else revenue, else value, else 0."""
        for stated in (self.total, self.revenue, self.value):
            if stated is not None:
                return stated
        return 0.0


class Known(msgspec.Struct, frozen=True):
    """What the vocabulary says of one event name."""

    name: str
    kind: Kind
    required: str | None = None
    """A property without which the event means nothing; a sku or name stands in for a product_id."""
    old: bool = False
    """The name is one of version 1, whose properties have other names too."""

    def is_met_by(self, fields: Properties) -> bool:
        """Tell whether the properties hold what the event needs."""
        if self.required is None:
            return True
        if self.required == "order_id":
            return bool(fields.order_id or fields.order_id == 0)
        return bool(fields.product_id or fields.key)


RISK_CROSSED: Final = "Churn Risk Crossed"
"""What the churn machine says of a person, once in an episode; a campaign may be opened by it as by any event."""

_VOCABULARY: Final = (
    Known("Products Searched", Kind.BROWSE),
    Known("Product List Viewed", Kind.BROWSE),
    Known("Product List Filtered", Kind.BROWSE),
    Known("Promotion Viewed", Kind.BROWSE),
    Known("Promotion Clicked", Kind.BROWSE),
    Known("Product Clicked", Kind.BROWSE),
    Known("Product Viewed", Kind.BROWSE, "product_id"),
    Known("Product Added", Kind.CART, "product_id"),
    Known("Product Removed", Kind.CART, "product_id"),
    Known("Cart Viewed", Kind.CART),
    Known("Checkout Started", Kind.CHECKOUT),
    Known("Checkout Step Viewed", Kind.CHECKOUT),
    Known("Checkout Step Completed", Kind.CHECKOUT),
    Known("Payment Info Entered", Kind.CHECKOUT),
    Known("Order Updated", Kind.OTHER),
    Known("Order Completed", Kind.ORDER, "order_id"),
    Known("Order Refunded", Kind.REFUND, "order_id"),
    Known("Order Cancelled", Kind.REFUND, "order_id"),
    Known("Coupon Entered", Kind.CHECKOUT),
    Known("Coupon Applied", Kind.CHECKOUT),
    Known("Coupon Denied", Kind.CHECKOUT),
    Known("Coupon Removed", Kind.CHECKOUT),
    Known("Product Added to Wishlist", Kind.BROWSE, "product_id"),
    Known("Product Removed from Wishlist", Kind.BROWSE, "product_id"),
    Known("Wishlist Product Added to Cart", Kind.CART, "product_id"),
    Known("Product Shared", Kind.BROWSE),
    Known("Cart Shared", Kind.BROWSE),
    Known("Product Reviewed", Kind.BROWSE, "product_id"),
    Known("Email Delivered", Kind.EMAIL_SENT),
    Known("Email Opened", Kind.EMAIL_OPEN),
    Known("Email Link Clicked", Kind.EMAIL_CLICK),
    Known("Email Bounced", Kind.BOUNCE),
    Known("Email Marked as Spam", Kind.COMPLAINT),
    Known("Unsubscribed", Kind.UNSUBSCRIBE),
    Known(RISK_CROSSED, Kind.RISK),
)

_V1_ALIASES: Final = {
    "Viewed Product Category": "Product List Viewed",
    "Viewed Promotion": "Promotion Viewed",
    "Clicked Promotion": "Promotion Clicked",
    "Clicked Product": "Product Clicked",
    "Viewed Product": "Product Viewed",
    "Added Product": "Product Added",
    "Removed Product": "Product Removed",
    "Viewed Cart": "Cart Viewed",
    "Started Checkout": "Checkout Started",
    "Started Order": "Checkout Started",
    "Viewed Checkout Step": "Checkout Step Viewed",
    "Completed Checkout Step": "Checkout Step Completed",
    "Updated Order": "Order Updated",
    "Completed Order": "Order Completed",
    "Refunded Order": "Order Refunded",
    "Cancelled Order": "Order Cancelled",
    "Searched Products": "Products Searched",
    "Email Unsubscribed": "Unsubscribed",
}

KNOWN: Final[dict[str, Known]] = {known.name: known for known in _VOCABULARY}
KNOWN.update({alias: msgspec.structs.replace(KNOWN[name], old=True) for alias, name in _V1_ALIASES.items()})
