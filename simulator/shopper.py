"""One shopper: who they are, how they like to shop, and what they do on a visit."""

from collections.abc import Iterator
from random import Random
from typing import Final

from simulator.acts import Act, Checkout, Device, Line, clock_skew, spread, think
from simulator.catalogue import CART, CHECKOUT, HOME, NOTHING, SECTIONS, Product, page, pick
from state.clock import DAY, SECOND

MAX_LINES: Final = 6
"""Bounds a cart, and with it the memory of a shopper who only ever adds."""

_ACCOUNT: Final = page("/account")
_FIRST_NAMES: Final = ("Ada", "Ben", "Chloé", "Dmitri", "Elif", "Femi", "Grace", "Hiro", "Inés", "Jonas")
_PLANS: Final = ("free", "free", "free", "plus", "gold")
_ZONES: Final = ("Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo")


class Shopper:
    """A person and their habits; holds a bounded amount, however long they shop."""

    __slots__ = ("act", "acts", "devices", "due", "greeted", "intent", "mailable", "quick", "traits", "user_id", "v1")

    def __init__(self, rng: Random, number: int, *, known_only: bool) -> None:
        # Three in ten never log in: to the shop they are a visitor id and nothing else.
        member = known_only or rng.random() < 0.7
        self.user_id = f"user-{number:06d}" if member else ""
        email = f"shopper{number}@mail.example"
        name, plan, zone = rng.choice(_FIRST_NAMES), rng.choice(_PLANS), rng.choice(_ZONES)
        self.traits = {"email": email, "first_name": name, "plan": plan, "timezone": zone}
        two = member and rng.random() < 0.3
        self.devices = [Device(rng, clock_skew(rng), known=known_only) for _ in range(1 + two)]
        self.intent = rng.betavariate(2, 3)
        self.v1 = rng.random() < 0.03
        self.greeted = self.quick = False
        self.mailable = member
        self.due = 0
        self.act: Act | None = None
        self.acts: Iterator[Act] = iter(())

    def visit(self, rng: Random, *, known_only: bool) -> Iterator[Act]:
        """Tell, one by one, what this shopper does from coming in to leaving."""
        device = rng.choice(self.devices)
        if not self.quick and rng.random() < 0.3:  # carts left behind are cleared some day
            device.cart = []
        if self.mailable and self.greeted and rng.random() < 0.06:
            yield from self._mail(rng)
        yield Act(think(rng), device, "page", "Home", NOTHING, HOME)
        if known_only and not self.greeted:
            yield self._login(rng, device)
        if not (self.quick and device.cart):
            yield from self._browse(rng, device)
        if device.cart and rng.random() < (0.75 if self.quick else self.intent):
            yield from self._check_out(rng, device)
        # A visitor clears their cookies now and then; a member who logs out leaves the device to a stranger.
        if not device.cart and not known_only and rng.random() < 0.2:
            device.forget(rng)

    def returns_after(self, rng: Random) -> int:
        """Say how long someone who left a cart stays away before they come back for it; 0 is for ever.

        From under two minutes to a day, each order of magnitude alike: some before a campaign is due, some after.
        """
        self.quick = any(device.cart for device in self.devices) and rng.random() < 0.5
        return spread(rng, 100 * SECOND, DAY) if self.quick else 0

    def _browse(self, rng: Random, device: Device) -> Iterator[Act]:
        for _ in range(1 + int(rng.expovariate(1.2))):
            section = SECTIONS[int(rng.random() * len(SECTIONS))]
            yield Act(think(rng), device, "track", "Product List Viewed", section.listed, section.page)
            for _ in range(1 + int(rng.random() * 3)):
                product = pick(rng, section)
                yield Act(think(rng), device, "track", "Product Viewed", product.viewed, product.page)
                if len(device.cart) < MAX_LINES and rng.random() < 0.3:
                    yield self._add(rng, device, product)
            if self.user_id and not device.known and rng.random() < 0.25:
                yield self._login(rng, device)
        if device.cart and rng.random() < 0.1:
            line = device.cart.pop(int(rng.random() * len(device.cart)))
            yield Act(think(rng), device, "track", "Product Removed", line, CART)

    def _add(self, rng: Random, device: Device, product: Product) -> Act:
        if not device.cart:
            device.cart_id = f"cart-{rng.getrandbits(48):012x}"
        quantity = 1 if rng.random() < 0.8 else 2
        image, url = product.image_url, product.url
        line = Line(product.product_id, product.name, product.price, quantity, image, url, device.cart_id)
        device.cart.append(line)
        return Act(think(rng), device, "track", "Product Added", line, product.page)

    def _login(self, rng: Random, device: Device) -> Act:
        device.known = self.greeted = True
        return Act(think(rng), device, "identify", "", self.traits, _ACCOUNT)

    def _check_out(self, rng: Random, device: Device) -> Iterator[Act]:
        if self.user_id and not device.known:
            yield self._login(rng, device)
        order_id, lines = f"order-{rng.getrandbits(48):012x}", list(device.cart)
        total = round(sum(line.price * line.quantity for line in lines), 2)
        started = Checkout(order_id, total, lines, checkout_id=order_id.replace("order", "checkout"))
        yield Act(think(rng), device, "track", "Checkout Started", started, CHECKOUT)
        if rng.random() < 0.7:
            device.cart = []
            ordered = Checkout(order_id, total, lines, revenue=round(total / 1.19, 2))
            yield Act(think(rng), device, "track", "Order Completed", ordered, CHECKOUT)

    def _mail(self, rng: Random) -> Iterator[Act]:
        about = {"email_id": f"mail-{rng.getrandbits(32):08x}", "email": self.traits["email"]}
        chance = rng.random()
        if chance < 0.04:
            self.mailable = False
            yield Act(think(rng), None, "track", "Email Bounced", about)
            return
        yield Act(think(rng), None, "track", "Email Delivered", about)
        if chance < 0.6:
            yield Act(think(rng), None, "track", "Email Opened", about)
        if chance < 0.06:
            self.mailable = False
            yield Act(think(rng), None, "track", "Email Marked as Spam", about)
        elif chance < 0.12:
            self.mailable = False
            yield Act(think(rng), None, "track", "Unsubscribed", about)
        elif chance < 0.3:
            yield Act(think(rng), None, "track", "Email Link Clicked", about)
