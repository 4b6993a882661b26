"""Never an email with a hole: what is missing is replaced as the template says, or the send is refused with its reason."""

from typing import Any

import pytest

from rendering.problems import Hole
from tests.rendering.samples import NAMES, RENDERER, data, email_of, product

PERSON: dict[str, Any] = {
    "traits": {"name": "Ann", "space": "  ", "nothing": None, "zero": 0, "no": False},
    "list": [{}, {"name": ""}],
}


@pytest.mark.parametrize(
    ("body", "variable"),
    [
        ("{{ nobody }}", "nobody"),
        ("{{ traits.phone }}", "traits.phone"),
        ("{{ traits.phone.home }}", "traits.phone.home"),
        ("{{ traits.space }}", "traits.space"),
        ("{{ traits.nothing }}", "traits.nothing"),
        ("{{ traits['phone'] }}", "traits.phone"),
        ("{{ list[5].name }}", "list[5].name"),
        ("{{ list.first.name }}", "list.first.name"),
        ("{{ traits.phone | upcase }}", "traits.phone"),
        ("{{ traits.phone | append: '!' }}", "traits.phone"),
        ("{{ traits.space | append: '!' }}", "traits.space"),
        ("{{ traits.name | append: traits.phone }}", "traits.phone"),
        ("{{ traits.phone | default: traits.fax }}", "traits.fax"),
        ("{{ traits.phone | times: 2 }}", "traits.phone"),
        ("{{ traits.phone | money: 'EUR' }}", "traits.phone"),
        ("{{ traits.phone | date }}", "traits.phone"),
        ("{{ traits.phone | size }}", "traits.phone"),
        ("{% for each in list %}{{ each.name }}{% endfor %}", "each.name"),
        ("{% for each in nobody %}x{% endfor %}", "nobody"),
        ("{% for each in traits.nothing %}x{% endfor %}", "traits.nothing"),
        ("{% assign x = traits.phone %}{{ x }}", "x"),
        ("{% capture x %}  {% endcapture %}{{ x }}", "x"),
        ("{% if traits.stock < 3 %}few{% endif %}", "traits.stock"),
        ("{% if traits.stock >= 3 %}many{% else %}sold out{% endif %}", "traits.stock"),
        ("{% if traits.name and traits.stock <= 3 %}few{% endif %}", "traits.stock"),
        ("{% unless 3 > traits.stock %}many{% endunless %}", "traits.stock"),
        ("{% echo traits.phone %}", "traits.phone"),
        ("{{ 'now' | date }}", "'now' | date"),
        ("{{ now }}", "now"),
        ("{{ list | map: 'name' | join: ', ' }}", "list | map: 'name' | join: ', '"),
        ("{{ traits }}", "traits"),
        ("{{ list }}", "list"),
        ("{{ traits.name | remove: 'Ann' }}", "traits.name | remove: 'Ann'"),
        ("{{ traits.name | money: 'EUR' }}", "traits.name | money: 'EUR'"),
        ("{{ traits.zero | money }}", "currency"),
        ("{{ traits.zero | plus: traits.phone }}", "traits.phone"),
        ("{{ traits.name | times: 2 }}", "traits.name | times: 2"),
        ("{{ traits.name | replace: 'A', traits.phone }}", "traits.phone"),
        ("{{ traits.nothing | first_name }}", "traits.nothing | first_name"),
    ],
)
def test_what_is_missing_refuses_the_email_and_is_named(body: str, variable: str) -> None:
    """Wherever it stands: printed, filtered, looped over, compared."""
    with pytest.raises(Hole) as hole:
        email_of(f"before {body} after", PERSON)
    assert hole.value.template == "t"
    assert hole.value.variable.startswith(variable) or variable == "x"
    assert "\n" not in str(hole.value)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("{{ traits.phone | default: 'none' }}", "none"),
        ("{{ traits.space | default: 'none' }}", "none"),
        ("{{ traits.nothing | default: traits.name }}", "Ann"),
        ("{{ traits.fax | default: traits.phone | default: 'none' }}", "none"),
        ("{{ traits.zero | default: 'none' }}", "0"),
        ("{{ traits.zero }}", "0"),
        ("{{ traits.no }}", "false"),
        ("({{ traits.phone | default: '' }})", "()"),
        ("{% if traits.phone %}yes{% else %}no{% endif %}", "no"),
        ("{% if traits.space %}yes{% else %}no{% endif %}", "no"),
        ("{% unless traits.phone %}no{% endunless %}", "no"),
        ("{% if traits.phone == nil %}no{% endif %}", "no"),
        ("{% if traits.phone == 'x' %}yes{% else %}no{% endif %}", "no"),
        ("{% if traits.phone contains 'x' %}yes{% else %}no{% endif %}", "no"),
        ("{% if traits.phone and traits.phone < 3 %}yes{% else %}no{% endif %}", "no"),
        ("{% case traits.phone %}{% when 'x' %}yes{% else %}no{% endcase %}", "no"),
        ("{{ traits | first_name: 'friend' }}", "Ann"),
        ("{{ traits.phone | first_name: 'friend' }}", "friend"),
    ],
)
def test_a_template_may_say_what_stands_there_instead(body: str, shown: str) -> None:
    """By `default`, or by asking first."""
    assert email_of(body, PERSON).text == f"{shown}\n"


@pytest.mark.parametrize("field", ["subject", "preheader"])
def test_subject_and_preheader_have_no_holes_either(field: str) -> None:
    """A hole in a subject is the first that is seen."""
    with pytest.raises(Hole, match=r"cart-abandonment: items is required and missing"):
        RENDERER.render("cart-abandonment", data() | {"items": []})
    with pytest.raises(Hole, match=r"t: who is missing"):
        email_of("x", subject="Hello {{ who }}") if field == "subject" else email_of("{{ who }}")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_sent_without_an_unsubscribe_link_and_a_postal_address(name: str) -> None:
    """Both are the law in most countries."""
    with pytest.raises(Hole, match=r"links\.unsubscribe is required and missing"):
        RENDERER.render(name, data(links={}))
    with pytest.raises(Hole, match=r"shop\.address is required and missing"):
        RENDERER.render(name, data(shop={"address": ""}))


def test_a_price_drop_that_is_none_any_more_is_not_sent() -> None:
    """The price rose again between the trigger and the email."""
    with pytest.raises(Hole, match="price_drops is required and missing"):
        RENDERER.render("price-drop", data(catalogue={}))


def test_the_reason_of_a_refusal_tells_nothing_of_the_person() -> None:
    """It is logged."""
    for body in (
        "{{ v | money: 'EUR' }}",
        "{{ v | date }}",
        "{{ v | web_url }}",
        "{{ v | times: 2 | divided_by: 0 }}",
        "{% if v < 3 %}x{% endif %}",
    ):
        with pytest.raises(Hole) as hole:
            email_of(body, {"v": "secret"})
        assert "secret" not in str(hole.value)


def test_an_email_that_gmail_would_clip_is_refused() -> None:
    """With its end would go the unsubscribe link."""
    with pytest.raises(Hole, match=r"t: html has \d+ bytes, and Gmail would clip it"):
        email_of("{{ v }}", {"v": "word " * 25_000})
    with pytest.raises(Hole, match="t: html is larger than"):
        email_of("{% for i in (1..1000) %}{{ v }}{% endfor %}", {"v": "word " * 200})


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
        "{% assign s = 'xxxxxxxxxx' %}{% for i in (1..60) %}{% assign s = s | append: s %}{% endfor %}",
    ],
)
def test_a_template_that_would_run_for_ever_is_stopped(body: str) -> None:
    """One bad template must not hold up the others."""
    with pytest.raises(Hole, match="LimitError"):
        email_of(body)


def test_one_item_without_a_name_or_a_picture_spoils_no_cart() -> None:
    """The other things in it are worth an email."""
    bare = {"product_id": "P-9", "name": "", "price": None, "quantity": 1.0, "url": "", "image_url": "", "variant": ""}
    email = RENDERER.render("cart-abandonment", data(product(1), bare))
    assert "One more item: https://shop.example\n" in email.text
    assert "Total" not in email.text
