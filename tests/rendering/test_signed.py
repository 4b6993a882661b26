"""Sealed links: who sees one learns nothing, and who makes one up gets nothing."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendering.signed import LIFETIME, Expired, Link, Purpose, Seals, Unreadable, links
from state.clock import SECOND, to_iso
from state.outputs import CausePlace, Recheck, Trigger
from tests.shopping import START, at

OLD, NEW = "the secret of last year, 1234567", "the secret of this year, 1234567"
SEALS = Seals([NEW])
ANN = Link(START // SECOND + 60, "default", "ann@example.com", "01KDVFQ3M0ABCDEFGHJKMNPQRS", 2, currency="EUR")


def trigger(**rest: Any) -> Trigger:
    """A cart email of Ann's."""
    fields: dict[str, Any] = {
        "trigger_id": ANN.trigger_id,
        "kind": "send",
        "tenant": "default",
        "campaign_id": "cart",
        "campaign_version": "1",
        "template_id": "cart",
        "user_id": ANN.user_id,
        "email": "ann@example.com",
        "occurred_at": to_iso(START),
        "decided_at": to_iso(START),
        "send_at": to_iso(at(hours=1)),
        "expires_at": to_iso(at(days=1)),
        "subject": "cart-1",
        "recheck": Recheck(orders=2, cart=True),
        "payload": {
            "properties": {"currency": "EUR"},
            "items": [
                {"product_id": "shoes", "price": 50.0},
                {"product_id": "gift", "price": None},
                {"sku": 7, "price": 3},
            ],
        },
        "cause": [CausePlace(0, "1-0", "m")],
    }
    return Trigger(**(fields | rest))


def token_of(url: str) -> str:
    """Take the token out of a link."""
    return url.split("/")[4]


def test_what_is_sealed_is_read_back() -> None:
    """By whoever has the secret, for the same purpose."""
    assert SEALS.open(SEALS.seal(Purpose.CART, ANN), Purpose.CART, START) == ANN


def test_a_token_tells_nothing_and_differs_between_the_emails_of_one_person() -> None:
    """Neither as it stands nor decoded; two emails cannot be told to be to one person."""
    token = SEALS.seal(Purpose.CART, ANN)
    plain = base64.urlsafe_b64decode(token)
    for word in ("ann", "example", "default", "EUR", ANN.trigger_id):
        assert word.encode() not in plain
        assert word not in token
    other = SEALS.seal(Purpose.CART, Link(ANN.expires, "default", ANN.user_id, "01KDVFQ3M0ABCDEFGHJKMNPQRT", 2))
    assert sum(a == b for a, b in zip(token, other, strict=False)) < len(token) / 4


def test_ids_of_many_lengths_give_tokens_of_few() -> None:
    """A length is a hint too."""
    ids = ["u" * length for length in range(2, 26)]
    lengths = {len(SEALS.seal(Purpose.CART, Link(ANN.expires, "default", id_, ANN.trigger_id, 1))) for id_ in ids}
    assert len(lengths) == 2


def test_tokens_are_short_and_go_into_a_url_as_they_are() -> None:
    """Some mail programs break longer lines. An id that is a UUID or an address fits; a longer one still works."""
    for length, most in ((36, 170), (60, 200), (255, 500)):
        token = SEALS.seal(Purpose.CART, Link(ANN.expires, "default", "u" * length, ANN.trigger_id, 1, currency="EUR"))
        assert len(token) < most
        assert token.replace("-", "").replace("_", "").isalnum()


def test_every_single_character_is_under_seal() -> None:
    """Changed, left out, or put in."""
    token = SEALS.seal(Purpose.UNSUBSCRIBE, ANN)
    for place, character in enumerate(token):
        other = "B" if character == "A" else "A"
        for forged in (token[:place] + other + token[place + 1 :], token[:place] + token[place + 1 :], token[:place]):
            with pytest.raises(Unreadable):
                SEALS.open(forged, Purpose.UNSUBSCRIBE, START)
    for forged in (
        token + "=",
        token + "AAAA",
        token + "\n",
        " " + token,
        token.replace(token[5], "+", 1),
        "A" * 100_000,
    ):
        with pytest.raises(Unreadable):
            SEALS.open(forged, Purpose.UNSUBSCRIBE, START)


@given(st.text())
def test_what_anybody_writes_is_refused_in_one_way(text: str) -> None:
    """Never another exception, whatever it is."""
    with pytest.raises(Unreadable):
        SEALS.open(text, Purpose.CART, START)


@given(
    st.builds(
        Link,
        st.integers(0, 2**40),
        st.text(max_size=32),
        st.text(max_size=255),
        st.text(max_size=26),
        st.none() | st.integers(0, 10**6),
        st.integers(0, 2**40),
        st.text(max_size=200),
        st.none() | st.floats(0, 1e12),
        st.text(max_size=3),
    )
)
def test_whatever_ids_a_shop_has_they_come_back(link: Link) -> None:
    """Any script, zeros at the end, none at all."""
    token = SEALS.seal(Purpose.CART, link)
    assert len(token) % 32 == 0
    assert SEALS.open(token, Purpose.CART, -1) == link


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.CART])
def test_a_token_for_one_purpose_is_none_for_another(purpose: Purpose) -> None:
    """Who is shown a cart picture must not be able to unsubscribe its owner."""
    with pytest.raises(Unreadable):
        SEALS.open(SEALS.seal(Purpose.CART, ANN), purpose, START)


def test_a_token_expires_at_its_second_and_says_so() -> None:
    """What is over is told apart from what is forged, but both are Unreadable."""
    token = SEALS.seal(Purpose.CART, ANN)
    assert SEALS.open(token, Purpose.CART, ANN.expires * SECOND - 1) == ANN
    with pytest.raises(Expired):
        SEALS.open(token, Purpose.CART, ANN.expires * SECOND)


def test_a_secret_is_rotated_without_breaking_the_emails_out_there() -> None:
    """A new one first; the old one goes on being read until it is left out."""
    sent = Seals([OLD]).seal(Purpose.CART, ANN)
    both = Seals([NEW, OLD])
    assert both.open(sent, Purpose.CART, START) == ANN
    assert both.seal(Purpose.CART, ANN) == SEALS.seal(Purpose.CART, ANN) != sent
    with pytest.raises(Unreadable):
        SEALS.open(sent, Purpose.CART, START)


def test_secrets_that_share_a_key_id_are_both_tried() -> None:
    """The id is one byte: among a few hundred secrets some have the same."""
    by_id: dict[int, list[str]] = {}
    for number in range(257):
        secret = f"a secret among many others {number}"
        by_id.setdefault(base64.urlsafe_b64decode(Seals([secret]).seal(Purpose.CART, ANN))[0], []).append(secret)
    pair = next(secrets for secrets in by_id.values() if len(secrets) > 1)
    for secret in pair:
        assert Seals(pair).open(Seals([secret]).seal(Purpose.CART, ANN), Purpose.CART, START) == ANN


@pytest.mark.parametrize("secrets", [[], ["", " "], ["short"], [NEW, "short"]])
def test_no_secret_or_a_short_one_is_refused(secrets: list[str]) -> None:
    """And none is quoted."""
    with pytest.raises(ValueError, match="secret") as refused:
        Seals(secrets)
    assert "short" not in str(refused.value)


def test_the_links_of_an_email_are_the_same_however_often_it_is_rendered() -> None:
    """A retry must be the same letter."""
    assert links(SEALS, "https://m.example/", trigger()) == links(SEALS, "https://m.example", trigger())


def test_an_email_gets_its_links_by_name() -> None:
    """One price link for each item that has a price, by its place among the items."""
    found = links(SEALS, "https://m.example", trigger())
    assert set(found) == {
        "unsubscribe", "cart_image", "cart_json", "view", "countdown", "price_image_1", "price_image_3",
    }  # fmt: skip
    assert all(url.startswith("https://m.example/") and len(url) < 250 for url in found.values())
    cart = SEALS.open(token_of(found["cart_image"]), Purpose.CART, START)
    assert (cart.user_id, cart.orders, cart.currency) == (ANN.user_id, 2, "EUR")
    price = SEALS.open(token_of(found["price_image_3"]), Purpose.PRICE, START)
    assert (price.product_id, price.price, price.user_id, price.trigger_id) == ("7", 3.0, "", "")
    assert SEALS.open(token_of(found["countdown"]), Purpose.COUNTDOWN, START).until == at(days=1) // SECOND


def test_content_ends_after_a_month_and_unsubscribing_never() -> None:
    """Who finds an old email may still leave by it."""
    found = links(SEALS, "https://m.example", trigger())
    with pytest.raises(Expired):
        SEALS.open(token_of(found["cart_image"]), Purpose.CART, at(hours=1) + LIFETIME)
    assert SEALS.open(token_of(found["unsubscribe"]), Purpose.UNSUBSCRIBE, at(days=4000)).user_id == ANN.user_id


def test_what_events_say_does_not_get_into_links_unchecked() -> None:
    """A currency of two thousand characters, a product id that is no shorter: anybody may send events."""
    wild = {"properties": {"currency": "E" * 2000}, "items": [{"product_id": "x" * 2000, "price": 1.0}]}
    found = links(SEALS, "https://m.example", trigger(payload=wild), currency="USD")
    assert SEALS.open(token_of(found["cart_image"]), Purpose.CART, START).currency == "USD"
    assert "price_image_1" not in found


def test_an_address_that_is_none_is_refused() -> None:
    """Before the first email has a link that leads nowhere."""
    with pytest.raises(ValueError, match="https://"):
        links(SEALS, "m.example", trigger())
