"""The last look: what was so when the email was decided must be so when it goes out."""

import json
from typing import Any

import pytest

from operators.last_look import Stale, look
from state.outputs import Recheck
from tests.delivery.lettering import trigger

SHOES = {"product_id": "shoes", "name": "Shoes", "price": 50.0, "quantity": 1}
SOCKS = {"product_id": 7, "name": "Socks", "price": 5.0, "quantity": 2}
BOTH = trigger("ann", payload={"items": [SHOES, SOCKS], "item_count": 2, "total": 60.0})


def profile(**changes: Any) -> dict[str, str]:
    """Read a profile as Redis has it: text only."""
    cart = [{"product_id": "shoes"}, {"product_id": "7"}]
    sound = {"consent": "not refused", "orders": "0", "email": "ann@example.com", "cart_id": "cart-1"}
    return sound | {"cart": json.dumps(cart)} | changes


def refusal(of: dict[str, str] | None, catalogue: dict[str, dict[str, Any]] | None = None) -> str:
    """Say why nothing goes out."""
    with pytest.raises(Stale) as stale:
        look(BOTH, of, catalogue or {})
    return str(stale.value)


def test_a_trigger_whose_reasons_still_hold_goes_out_unchanged_to_the_address_of_now() -> None:
    """The address may have been corrected since."""
    fresh = look(BOTH, profile(email="new@example.com"), {})
    assert (fresh.trigger, fresh.to) == (BOTH, "new@example.com")


def test_whoever_bought_after_the_decision_gets_nothing() -> None:
    """The complaint that every shop knows: the reminder of a cart that was bought a minute ago."""
    assert refusal(profile(orders="1")) == "ordered since"


def test_an_order_that_was_known_at_the_decision_does_not_count() -> None:
    """A regular customer has orders; what counts is one more of them."""
    regular = trigger("ann", recheck=Recheck(orders=3, cart=True), payload={"items": [SHOES]})
    assert look(regular, profile(orders="3"), {}).trigger == regular
    with pytest.raises(Stale, match="ordered since"):
        look(regular, profile(orders="4"), {})


def test_a_campaign_that_an_order_does_not_end_is_sent_after_an_order() -> None:
    """A question about an order is no reminder of a cart."""
    post_purchase = trigger("ann", recheck=Recheck(), payload={"properties": {"order_id": "o"}})
    assert look(post_purchase, profile(orders="9"), {}).trigger == post_purchase


@pytest.mark.parametrize("why", ["unsubscribed", "bounced", "complained"])
def test_whoever_refused_since_gets_nothing(why: str) -> None:
    """Consent is asked for at the last moment, not when the email was decided."""
    assert refusal(profile(consent=why)) == why


def test_whoever_was_forgotten_gets_nothing() -> None:
    """A deletion takes the profile away; what was decided before must not reach them."""
    assert refusal(None) == "the person is not known any more"


def test_what_left_the_cart_is_not_shown_and_the_total_is_that_of_the_rest() -> None:
    """They took the shoes out and kept the socks."""
    fresh = look(BOTH, profile(cart=json.dumps([{"product_id": "7"}])), {})
    assert fresh.trigger.payload == {"items": [SOCKS], "item_count": 1, "total": 10.0}
    assert BOTH.payload["item_count"] == 2


def test_an_emptied_cart_sends_nothing() -> None:
    """They took out everything."""
    assert refusal(profile(cart="[]")) == "no longer in the cart"


def test_another_cart_of_the_person_says_nothing_about_this_one() -> None:
    """The profile shows the cart that was touched last, and a person may have several."""
    assert look(BOTH, profile(cart_id="cart-2", cart="[]"), {}).trigger == BOTH


def test_what_is_sold_out_is_not_shown_and_if_all_is_nothing_is_sent() -> None:
    """A product that the catalogue does not know, or whose stock it does not know, counts as available."""
    some = look(BOTH, profile(), {"shoes": {"stock": 0}, "7": {"name": "Socks"}})
    assert some.trigger.payload["items"] == [SOCKS]
    assert refusal(profile(), {"shoes": {"stock": 0}, "7": {"stock": "0"}}) == "out of stock"
