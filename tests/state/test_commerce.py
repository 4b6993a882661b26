"""The vocabulary is Segment's, old names mean what new ones mean, and no purchase is lost over a detail."""

import json
from typing import Any

import pytest

from state.commerce import KNOWN, MAX_PRODUCTS, MAX_TEXT, RISK_CROSSED, Kind, Product, Properties
from state.events import Event, Rejected, decode, parse_time

NOW = parse_time("2026-01-02T12:00:00Z")

SPECIFIED = """
Products Searched, Product List Viewed, Product List Filtered, Promotion Viewed, Promotion Clicked, Product Clicked,
Product Viewed, Product Added, Product Removed, Cart Viewed, Checkout Started, Checkout Step Viewed,
Checkout Step Completed, Payment Info Entered, Order Completed, Order Updated, Order Refunded, Order Cancelled,
Coupon Entered, Coupon Applied, Coupon Denied, Coupon Removed, Product Added to Wishlist, Product Removed from Wishlist,
Wishlist Product Added to Cart, Product Shared, Cart Shared, Product Reviewed,
Email Bounced, Email Delivered, Email Link Clicked, Email Marked as Spam, Email Opened, Unsubscribed
"""

ALIASED = {
    "Viewed Product Category": "Product List Viewed",
    "Viewed Promotion": "Promotion Viewed",
    "Clicked Promotion": "Promotion Clicked",
    "Clicked Product": "Product Clicked",
    "Viewed Product": "Product Viewed",
    "Added Product": "Product Added",
    "Removed Product": "Product Removed",
    "Started Order": "Checkout Started",
    "Viewed Checkout Step": "Checkout Step Viewed",
    "Completed Checkout Step": "Checkout Step Completed",
    "Updated Order": "Order Updated",
    "Completed Order": "Order Completed",
}
"""As Segment's page on version 2 says, event by event; Completed Order is what version 1 was called before 2016."""


def tracked(event: str, **properties: Any) -> Event | Rejected:
    """Decode a track event with these properties."""
    value = {"type": "track", "messageId": "m-1", "userId": "ann", "event": event, "properties": properties}
    decoded = decode(json.dumps(value).encode(), NOW)
    assert isinstance(decoded, Event | Rejected)
    return decoded


def fields_of(event: str, **properties: Any) -> Properties:
    """Say what was understood of the properties of an event that must be taken."""
    taken = tracked(event, **properties)
    assert isinstance(taken, Event), taken
    return taken.fields


def test_every_specified_name_is_known_and_no_other() -> None:
    """A name invented here would silently change the meaning of somebody's own event; one is ours, for campaigns to name."""
    canonical = {name for name, known in KNOWN.items() if known.name == name} - {RISK_CROSSED}
    assert canonical == {name.strip() for name in SPECIFIED.replace("\n", " ").split(",")}


@pytest.mark.parametrize(("old", "new"), ALIASED.items())
def test_an_old_name_means_what_the_new_one_means(old: str, new: str) -> None:
    """Campaigns name events by version 2 alone."""
    event = tracked(old, id="p-1", orderId="o-1")
    assert isinstance(event, Event)
    assert (event.name, event.kind) == (new, KNOWN[new].kind)


def test_every_alias_leads_to_a_canonical_name() -> None:
    """An alias of an alias would be a name that no campaign can name."""
    assert {known.name for known in KNOWN.values()} <= {name for name, known in KNOWN.items() if known.name == name}
    assert {name for name, known in KNOWN.items() if known.old} == {n for n, k in KNOWN.items() if k.name != n}


def test_names_are_told_apart_by_case() -> None:
    """Segment does so; `product added` is the shop's own event, and is not checked."""
    event = tracked("product added", price="free")
    assert isinstance(event, Event)
    assert (event.name, event.kind, event.fields) == ("product added", Kind.OTHER, Properties())


def test_the_numbers_of_kinds_never_change() -> None:
    """What an event means must not shift under logs and features that are kept."""
    assert [(kind.name, kind.value) for kind in Kind] == [
        ("OTHER", 0),
        ("BROWSE", 1),
        ("CART", 2),
        ("CHECKOUT", 3),
        ("ORDER", 4),
        ("REFUND", 5),
        ("EMAIL_OPEN", 6),
        ("EMAIL_CLICK", 7),
        ("EMAIL_SENT", 8),
        ("UNSUBSCRIBE", 9),
        ("BOUNCE", 10),
        ("COMPLAINT", 11),
        ("RISK", 12),
    ]
    assert [kind for kind in Kind if kind.is_activity] == [*Kind][: Kind.ORDER + 1]


def test_an_order_as_the_specification_shows_it_is_understood() -> None:
    """The example of Segment's page on Order Completed."""
    fields = fields_of(
        "Order Completed",
        checkout_id="fksdjfsdjfisjf9sdfjsd9f",
        order_id="50314b8e9bcf000000000000",
        affiliation="Google Store",
        total=27.50,
        subtotal=22.50,
        revenue=25.00,
        shipping=3,
        tax=2,
        discount=2.5,
        coupon="hasbros",
        currency="USD",
        products=[
            {
                "product_id": "507f1f77bcf86cd799439011",
                "sku": "45790-32",
                "name": "Monopoly: 3rd Edition",
                "price": 19,
                "quantity": 1,
                "category": "Games",
                "url": "https://www.example.com/product/path",
                "image_url": "https:///www.example.com/product/path.jpg",
            },
            {"product_id": "505bd76785ebb509fc183733", "name": "Uno Card Game", "price": 3, "quantity": 2},
        ],
    )
    assert (fields.order_id, fields.amount, fields.currency) == ("50314b8e9bcf000000000000", 27.5, "USD")
    assert [(p.key, p.price, p.quantity) for p in fields.products] == [
        ("507f1f77bcf86cd799439011", 19.0, 1.0),
        ("505bd76785ebb509fc183733", 3.0, 2.0),
    ]


def test_an_order_as_version_1_shows_it_is_understood() -> None:
    """Version 1 wrote `orderId` and `id`, under the same name: refusing it would mail a cart that has been bought."""
    fields = fields_of(
        "Order Completed",
        orderId="50314b8e9bcf000000000000",
        revenue=25.00,
        products=[{"id": "507f1f77bcf86cd799439011", "sku": "45790-32", "name": "Monopoly", "price": 19.00}],
    )
    assert (fields.order_id, fields.amount) == ("50314b8e9bcf000000000000", 25.0)
    assert [(p.product_id, p.sku) for p in fields.products] == [("507f1f77bcf86cd799439011", "45790-32")]


def test_a_product_as_version_1_shows_it_has_its_id_for_a_key() -> None:
    """Not its sku: additions and removals, old and new, are lines of one cart."""
    assert fields_of("Added Product", id="p-1", sku="G-32", name="Monopoly", price=18.99).key == "p-1"
    assert fields_of("Product Removed", product_id="p-1").key == "p-1"


def test_a_new_name_of_a_property_comes_before_an_old_one() -> None:
    """Shops in the middle of a migration send both."""
    fields = fields_of("Completed Order", order_id="new", orderId="old", products=[{"id": 1, "product_id": 2}])
    assert (fields.order_id, fields.products[0].product_id) == ("new", 2)


def test_the_id_of_a_promotion_is_not_that_of_a_product() -> None:
    """Version 1 called both `id`."""
    assert fields_of("Viewed Promotion", id="promo_1", name="Sale").product_id is None


@pytest.mark.parametrize(
    ("sent", "understood"),
    [
        ({"coupon": None, "products": None, "total": None}, {}),
        ({"coupon": "", "total": "", "products": ""}, {}),
        ({"coupon": False, "category": ["a", "b"], "variant": {"size": 42}}, {}),
        ({"name": 1984, "variant": 42.5, "coupon": 0}, {"name": "1984", "variant": "42.5", "coupon": "0"}),
        ({"url": "u" * (MAX_TEXT + 1), "image_url": "i" * MAX_TEXT}, {"image_url": "i" * MAX_TEXT}),
        ({"total": "58.90", "quantity": "2"}, {"total": 58.9, "quantity": 2.0}),
        ({"order_id": 7.0, "cart_id": 12}, {"order_id": 7, "cart_id": 12}),
    ],
    ids=["null", "empty", "not text", "numbers", "endless", "amounts in texts", "ids that are numbers"],
)
def test_no_order_is_lost_over_a_detail(sent: dict[str, Any], understood: dict[str, Any]) -> None:
    """A refused order leaves its cart open: its buyer would be reminded of what they have just paid for."""
    assert fields_of("Order Completed", **({"order_id": "o-1"} | sent)) == Properties(
        **({"order_id": "o-1"} | understood)
    )


def test_the_details_of_a_product_in_a_list_are_as_forgiving() -> None:
    """RudderStack's library was seen to send such a variant and such a price."""
    fields = fields_of("Order Completed", order_id="o-1", products=[{"product_id": 77, "variant": 42, "price": "4.50"}])
    assert fields.products == [Product(product_id=77, variant="42", price=4.5)]


@pytest.mark.parametrize("event", [name for name, known in KNOWN.items() if known.required == "product_id"])
@pytest.mark.parametrize("given", ["product_id", "sku", "name"])
def test_an_event_about_a_product_needs_one(event: str, given: str) -> None:
    """Any of id, sku and name will do; none will not."""
    assert fields_of(event, **{given: "x"}).key == "x"
    refused = tracked(event, price=1)
    assert isinstance(refused, Rejected)
    assert refused.detail == f"{KNOWN[event].name} needs product_id in its properties"


@pytest.mark.parametrize("event", [name for name, known in KNOWN.items() if known.required == "order_id"])
def test_an_event_about_an_order_needs_its_id(event: str) -> None:
    """Without it a refund cannot be told from another's; 0 is one."""
    assert [fields_of(event, order_id=n).order_id for n in (5, 0)] == [5, 0]
    refused = tracked(event, total=1)
    assert isinstance(refused, Rejected)
    assert refused.detail == f"{KNOWN[event].name} needs order_id in its properties"


@pytest.mark.parametrize("event", [name for name, known in KNOWN.items() if known.required is None])
def test_other_known_events_need_nothing(event: str) -> None:
    """An email was opened whether or not its provider says which."""
    assert fields_of(event) == Properties()


def test_a_list_of_as_many_products_as_allowed_is_taken() -> None:
    """One more is refused, in test_malformed."""
    assert len(fields_of("Product List Viewed", products=[{}] * MAX_PRODUCTS).products) == MAX_PRODUCTS


@pytest.mark.parametrize(
    ("product", "key"),
    [
        (Product(product_id="p", sku="s", name="n"), "p"),
        (Product(product_id=7), "7"),
        (Product(sku="s", name="n"), "s"),
        (Product(name="n"), "n"),
        (Product(product_id="", sku="", name="n"), "n"),
        (Product(product_id=0, sku="s"), "0"),
        (Product(product_id="", sku=0, name="n"), "0"),
        (Product(), ""),
    ],
    ids=str,
)
def test_the_line_of_a_cart_is_named_by_the_best_there_is(product: Product, key: str) -> None:
    """Its id, else its sku, else its name; the first row of a database table may well be number 0."""
    assert product.key == key


@pytest.mark.parametrize(
    ("stated", "amount"),
    [
        ({"total": 9, "revenue": 8, "value": 7}, 9.0),
        ({"revenue": 8, "value": 7}, 8.0),
        ({"value": 7}, 7.0),
        ({"total": 0, "revenue": 8}, 0.0),
        ({}, 0.0),
    ],
    ids=str,
)
def test_an_order_is_worth_its_total_else_its_revenue_else_its_value(stated: dict[str, float], amount: float) -> None:
    """A total of zero is stated, and counts: the order was a gift."""
    assert fields_of("Order Completed", order_id="o", **stated).amount == amount
