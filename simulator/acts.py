"""What a shopper does things with, and how what they do is told: devices, carts, acts, and how long all that takes."""

from math import exp
from random import Random
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from simulator.catalogue import NOTHING
from state.clock import HOUR, MINUTE, SECOND

_AGENTS: Final = ("Safari/26 iOS", "Chrome/142", "Safari/26", "Firefox/145")

_THINKING: Final = tuple(int(8 * SECOND * exp(NormalDist().inv_cdf((n + 0.5) / 500))) for n in range(500))
"""How long people think before they act, each value as likely as the next: 8 seconds as a rule, minutes at times."""


class Line(msgspec.Struct, omit_defaults=True):
    """A line of a cart as it stands in properties; with `cart_id` where it is all of them."""

    product_id: str
    name: str
    price: float
    quantity: int
    image_url: str
    url: str
    cart_id: str = ""


class Checkout(msgspec.Struct, omit_defaults=True):
    """The properties of a checkout and of an order."""

    order_id: str
    total: float
    products: list[Line]
    checkout_id: str = ""
    revenue: float = 0.0
    currency: str = "EUR"


class Device:
    """A browser or phone: its visitor id, its clock, and the cart that lives in it."""

    __slots__ = ("agent", "anonymous_id", "cart", "cart_id", "known", "skew")

    def __init__(self, rng: Random, skew: int, *, known: bool) -> None:
        self.agent = rng.choice(_AGENTS)
        self.skew = skew
        self.forget(rng)
        self.known = known

    def forget(self, rng: Random) -> None:
        """Start over as a visitor nobody has seen, as a logout or cleared cookies do."""
        text = f"{rng.getrandbits(128):032x}"
        self.anonymous_id = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        self.known = False
        self.cart: list[Line] = []
        self.cart_id = ""


class Act(NamedTuple):
    """One thing a shopper is about to do, `wait` microseconds of unhurried time after the one before.

    Without a `device`, it is told of them by the email provider.
    """

    wait: int
    device: Device | None
    type: str
    name: str
    body: Any
    page: Raw = NOTHING


def think(rng: Random) -> int:
    """Draw how long someone takes before they act, in microseconds at pace 1."""
    return _THINKING[int(rng.random() * len(_THINKING))]


def clock_skew(rng: Random) -> int:
    """Draw how wrong a device's clock is, in milliseconds: one in twenty is, by minutes or hours, either way."""
    if rng.random() >= 0.05:
        return 0
    off = spread(rng, 2 * MINUTE, 6 * HOUR) // 1_000
    return off if rng.random() < 0.5 else -off


def spread(rng: Random, least: int, most: int) -> int:
    """Draw from a range over which every order of magnitude is as likely as the next."""
    return int(least * (most / least) ** rng.random())
