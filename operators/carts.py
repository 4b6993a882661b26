"""Carts: what is in them, whatever the order in which additions, removals and orders arrive."""

from typing import Final

import msgspec

from state.clock import DAY
from state.commerce import Kind, Product, Properties
from state.events import Event
from state.people import Cart, Line, User
from state.records import Record

MAX_CARTS: Final = 4
MAX_LINES: Final = 50


class Item(msgspec.Struct, frozen=True, gc=False):
    """What is in a cart of one product, as an email shows it; by name, as JSON is written here."""

    image_url: str
    name: str
    price: float | None
    product_id: str
    quantity: float
    url: str
    variant: str


class CartMachine(msgspec.Struct, frozen=True):
    """Open carts. An order buys, in every cart, what was changed up to its event time: Segment's orders name no cart."""

    forgotten_after: int = 30 * DAY

    @property
    def soonest(self) -> int:
        """A cart that was touched is kept this long."""
        return self.forgotten_after

    def concerns(self, kind: Kind) -> bool:
        """Carts are filled, emptied and bought."""
        return kind in {Kind.CART, Kind.ORDER}

    def on_event(self, user: User, event: Event, record: Record) -> None:
        """Change a cart, or take what an order bought out of all of them."""
        if event.kind is Kind.ORDER:
            self._buy(user, event.time)
        elif event.time > user.carts.bought_at:
            self._change(user, event, record.log_time)

    def on_time(self, user: User, now: int) -> None:
        """Forget carts that nobody touched."""
        for cart_id in [i for i, cart in user.carts.open.items() if cart.touched + self.forgotten_after <= now]:
            del user.carts.open[cart_id]

    def due(self, user: User) -> int | None:
        """Say when the next cart is forgotten."""
        carts = user.carts.open
        return min([cart.touched for cart in carts.values()]) + self.forgotten_after if carts else None

    def _buy(self, user: User, time: int) -> None:
        carts = user.carts
        carts.bought_at = max(carts.bought_at, time)
        for cart in carts.open.values():
            cart.lines = {key: line for key, line in cart.lines.items() if line.changed_at > time}
        carts.open = {cart_id: cart for cart_id, cart in carts.open.items() if cart.lines}

    def _change(self, user: User, event: Event, now: int) -> None:
        fields, carts = event.fields, user.carts.open
        cart_id = str(fields.cart_id or "")
        cart = carts.get(cart_id)
        if cart is None:
            if event.name == "Cart Viewed" and not fields.products:
                return
            cart = carts[cart_id] = Cart(now)
            if len(carts) > MAX_CARTS:
                del carts[min(carts, key=lambda i: (carts[i].touched, i))]
        cart.touched = now
        if event.name == "Cart Viewed":
            _replace(cart, fields, event.time)
        elif event.name == "Product Removed":
            _remove(cart, fields, event.time)
        else:
            _put(cart, fields, event.time)
        while len(cart.lines) > MAX_LINES:
            del cart.lines[min(cart.lines, key=lambda key: cart.lines[key].changed_at)]


def contents(cart: Cart | None) -> list[Item]:
    """List what is in a cart, last changed first; nothing for no cart."""
    if cart is None:
        return []
    return [
        Item(line.image_url, line.name, line.price, key, line.quantity, line.url, line.variant)
        for key, line in sorted(cart.lines.items(), key=lambda entry: (-entry[1].changed_at, entry[0]))
        if line.quantity > 0
    ]


def _put(cart: Cart, product: Product, time: int) -> None:
    line = cart.lines.get(product.key)
    quantity = 1.0 if product.quantity is None else product.quantity
    if line is None:
        cart.lines[product.key] = _line(product, quantity, time)
    elif time >= line.changed_at:
        cart.lines[product.key] = _line(product, line.quantity + quantity, time)
    elif line.quantity != 0:
        line.quantity += quantity


def _remove(cart: Cart, product: Product, time: int) -> None:
    """Take out the given quantity, or all of it.

    The line stays behind, at zero or below, so that an addition which happened before but arrives after does not come back.
    """
    line = cart.lines.setdefault(product.key, _line(product, 0.0, time))
    line.quantity = 0.0 if product.quantity is None else line.quantity - product.quantity
    line.changed_at = max(line.changed_at, time)


def _replace(cart: Cart, fields: Properties, time: int) -> None:
    """Take the whole cart as viewed, except what was changed since."""
    if not fields.products:
        return
    later = {key: line for key, line in cart.lines.items() if line.changed_at > time}
    viewed = {p.key: _line(p, 1.0 if p.quantity is None else p.quantity, time) for p in fields.products if p.key}
    cart.lines = viewed | later


def _line(product: Product, quantity: float, time: int) -> Line:
    return Line(
        time,
        quantity,
        product.name or "",
        product.price,
        product.url or "",
        product.image_url or "",
        product.variant or "",
    )
