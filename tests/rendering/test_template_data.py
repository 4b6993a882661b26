"""What a template may use: the payload of then, the catalogue of now, and never a wrong sum."""

import copy
from typing import Any

import pytest

from rendering.template_data import decoded_profile, product_ids, template_data
from tests.rendering.samples import LINKS, SHOP, data, email_of, product, trigger


def test_the_catalogue_says_what_a_product_costs_now() -> None:
    """The price before stands beside it where it fell, and nowhere else."""
    catalogue: dict[str, dict[str, Any]] = {
        "P-1": {"price": "40", "stock": "7", "name": "Linen Shirt II"},
        "P-2": {"price": 99.0},
        "P-3": {"price": ""},
    }
    one, two, three = data(catalogue=catalogue)["items"]
    assert (one["price"], one["price_before"], one["stock"], one["name"]) == (40.0, 48.9, 7, "Linen Shirt II")
    assert two["price"] == 99.0
    assert "price_before" not in two
    assert three["price"] == 24.5


def test_the_total_is_of_now_and_exact() -> None:
    """3 times 0.1 is 0.3."""
    found = data(product(1, price=0.1, quantity=3.0), catalogue={})
    assert (found["total"], found["item_count"], "total_before" in found) == (0.3, 1, False)
    found = data(product(1), product(2))
    assert (found["total"], found["total_before"]) == (122.9, 137.9)


def test_what_is_sold_out_comes_last_and_does_not_count() -> None:
    """Nobody can buy it."""
    found = data(product(1), product(2), catalogue={"P-1": {"stock": 0}, "P-2": {"stock": 5}})
    assert [item["product_id"] for item in found["items"]] == ["P-2", "P-1"]
    assert found["items"][1]["sold_out"] is True
    assert found["total"] == 89.0


@pytest.mark.parametrize(
    "items",
    [
        [product(1), product(2, price=None)],
        [product(1), product(2, currency="USD")],
        [product(1, quantity=1.0), product(2, price="")],
    ],
)
def test_no_total_is_better_than_a_wrong_one(items: list[dict[str, object]]) -> None:
    """Without a price, or in two currencies."""
    assert "total" not in data(*items, catalogue={})


def test_a_cart_that_was_cut_short_has_no_total_and_says_how_many_more() -> None:
    """A trigger carries twenty items; the cart may hold fifty."""
    sent = trigger(product(1), payload={"items": [product(1)], "item_count": 5, "total": 500.0})
    found = template_data(sent, {}, {}, SHOP, LINKS)
    assert (found["item_count"], found["more_count"], "total" in found) == (5, 4, False)


def test_a_price_of_zero_is_a_price() -> None:
    """A gift costs nothing."""
    found = data(product(1, price=0.0), catalogue={})
    assert found["items"][0]["line_total"] == 0
    assert found["total"] == 0


def test_prices_in_two_currencies_are_no_price_drop() -> None:
    """9 euros are not less than 10 dollars."""
    assert data(product(1), catalogue={"P-1": {"price": 40, "currency": "USD"}})["price_drops"] == []


def test_nothing_given_is_changed() -> None:
    """The trigger is also what is recorded."""
    sent, profile, catalogue = trigger(product(1)), {"traits": {"a": 1}}, {"P-1": {"price": 1.0}}
    before = copy.deepcopy((sent, profile, catalogue))
    template_data(sent, profile, catalogue, SHOP, LINKS)
    assert (sent, profile, catalogue) == before


def test_a_trigger_without_items_has_none() -> None:
    """A welcome is about nothing but the person."""
    found = template_data(trigger(payload={}), {}, {}, {}, {})
    assert (found["items"], found["item_count"], found["currency"]) == ([], 0, None)
    assert found["profile"]["email"] == "ann@example.com"


def test_products_are_known_by_what_carts_know_them_by() -> None:
    """An id of 0 is one."""
    assert product_ids(trigger({"product_id": 0}, {"sku": "S"}, {"name": "N"}, {})) == ["0", "S", "N"]


def test_a_profile_from_redis_is_decoded_but_for_its_texts() -> None:
    """An address that reads as JSON stays an address."""
    fields = {"email": "1", "traits": '{"a":1}', "orders": "3", "cart": "[]", "churn_reasons": "recency", "odd": "{"}
    assert decoded_profile(fields) == {
        "email": "1",
        "traits": {"a": 1},
        "orders": 3,
        "cart": [],
        "churn_reasons": "recency",
        "odd": "{",
    }


@pytest.mark.parametrize(
    ("value", "currency", "locale", "shown"),
    [
        (1234.5, "EUR", "en_GB", "€1,234.50"),
        (1234.5, "EUR", "de-DE", "1.234,50 €"),
        (1234.5, "USD", "en_US", "$1,234.50"),
        (1234.5, "JPY", "ja_JP", "￥1,234"),
        (1234.5, "KWD", "en", "KWD1,234.500"),
        (0, "EUR", "en_GB", "€0.00"),
        (-3.2, "EUR", "en_GB", "-€3.20"),
        (0.1 + 0.2, "EUR", "en_GB", "€0.30"),
        ("19.9", "CHF", "de_CH", "CHF 19.90"),
    ],
)
def test_money_is_written_as_the_shops_language_writes_it(
    value: object, currency: str, locale: str, shown: str
) -> None:
    """With the currency's own number of decimals."""
    found = email_of("{{ v | money: c }}", {"v": value, "c": currency, "locale": locale}).text
    assert found.replace("\N{NO-BREAK SPACE}", " ").strip() == shown


@pytest.mark.parametrize(
    ("pattern", "traits", "locale", "shown"),
    [
        ("d MMMM", {}, "en_GB", "1 March"),
        ("d MMMM", {"timezone": "Europe/Berlin"}, "en_GB", "2 March"),
        ("d MMMM", {"timezone": "Pacific/Auckland"}, "en_GB", "2 March"),
        ("d MMMM", {"timezone": "../../etc/passwd"}, "en_GB", "1 March"),
        ("d MMMM", {"timezone": "No/Where"}, "en_GB", "1 March"),
        ("d MMMM", {"timezone": 5}, "en_GB", "1 March"),
        ("EEEE", {"timezone": "Europe/Berlin"}, "de_DE", "Montag"),
        ("long", {}, "en_US", "March 1, 2026"),
        ("HH:mm", {"timezone": "America/New_York"}, "en_US", "18:30"),
    ],
)
def test_a_day_is_the_persons_day(pattern: str, traits: dict[str, object], locale: str, shown: str) -> None:
    """Half past eleven in London is tomorrow in Berlin."""
    values = {
        "at": "2026-03-01T23:30:00.000Z",
        "profile": {"traits": traits},
        "shop": {"timezone": "Europe/London"},
        "locale": locale,
    }
    assert email_of(f"{{{{ at | date: '{pattern}' }}}}", values).text.strip() == shown
