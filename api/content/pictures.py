"""Pictures of what is so now, put together from strips that are kept: what was drawn once serves all who see the same.

Product images are not in them. To fetch one at open time would let whoever names an address in an event make this server call
it, and would wait for it; the template shows product images by their own addresses.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from PIL import Image, ImageDraw

from api.content.now import UNNAMED, Item, Shown, State, counted, money
from api.content.png import Strip, assembled, strip
from api.content.typeface import Typeface

SCALE: Final = 2
"""Pixels to one of CSS: crisp on the screens that most phones have."""
WIDTH: Final = 600
PRICE_WIDTH: Final = 240
MAX_ROWS: Final = 10
VERSION: Final = 1
"""Of the layout. Whoever has a picture of another is not told that it is still so."""

_MARGIN, _GAP, _EDGE = 20, 16, 2
_MUTED, _FAINT, _FULL = 170, 40, 255
_SAID: Final = {
    State.EMPTY: ("Your cart is empty right now", "Whatever you were looking for, it may still be there."),
    State.ORDERED: ("Thank you for your order", "There is nothing left in your cart."),
    State.NONE: ("See what is in the shop now", "Prices and stock change; there you find them as they are."),
}
_ROW, _TITLE, _FOOT, _NOTE, _PRICE, _CLOCK = 60, 52, 56, 120, 32, 48


class _Canvas:
    """A band under work, in CSS pixels."""

    def __init__(self, typeface: Typeface, width: int, height: int) -> None:
        size = (width * SCALE, height * SCALE)
        self._ink, self._accent = Image.new("L", size, 0), Image.new("L", size, 0)
        self._pens = ImageDraw.Draw(self._ink), ImageDraw.Draw(self._accent)
        self._typeface, self._is_accented = typeface, False
        self.width, self.height = width, height

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        *,
        room: float,
        bold: bool = False,
        anchor: str = "ls",
        level: int = _FULL,
        accent: bool = False,
        struck: bool = False,
    ) -> float:
        """Write a line on a baseline, cut to the room there is; return how wide it became."""
        if not text or room <= 0:
            return 0.0
        font = self._typeface.font(size * SCALE, bold=bold)
        fitted = self._typeface.fitted(text, font, int(room * SCALE))
        pen = self._pens[accent]
        self._is_accented |= accent
        pen.text((x * SCALE, y * SCALE), fitted, fill=level, font=font, anchor=anchor)
        width = font.getlength(fitted) / SCALE
        if struck:
            start = {"l": x, "m": x - width / 2, "r": x - width}[anchor[0]]
            middle = y - size * 0.34
            pen.line(
                [(start * SCALE, middle * SCALE), ((start + width) * SCALE, middle * SCALE)], fill=level, width=SCALE
            )
        return width

    def rule(self, y: float) -> None:
        """Draw a thin line across."""
        ends = [(_MARGIN * SCALE, y * SCALE), ((self.width - _MARGIN) * SCALE - 1, y * SCALE)]
        self._pens[0].line(ends, fill=_FAINT, width=SCALE)

    def strip(self) -> Strip:
        """Finish it."""
        return strip(self._ink, self._accent if self._is_accented else None)


class Pictures:
    """Draws pictures as PNG.

    Args:
        typeface: what with.
        locale: how money is written.
        most_bytes: how much is kept of strips drawn before; what was not used longest goes first.
    """

    def __init__(self, typeface: Typeface, locale: str, *, most_bytes: int = 32 * 1024 * 1024) -> None:
        self._typeface, self._locale, self._most = typeface, locale, most_bytes
        self.edition: Final = f"{VERSION} {typeface.name} {locale}"
        self._kept: OrderedDict[tuple[object, ...], Strip] = OrderedDict()
        self.kept_bytes = self.drawn = 0

    def warm_up(self) -> None:
        """Load the fonts and the locale, before the first email waits for them."""
        for accented in (None, 2.0):
            item = Item("Item", "", 2.0, 1.0, accented, "EUR", "", "", is_sold_out=False)
            self.cart(Shown(State.OPEN, (item,), 1.0, "EUR"))
            self.price(item)
        self.cart(Shown(State.NONE))

    def cart(self, cart: Shown) -> bytes:
        """Show a cart: what is in it, what it costs now, and what it came to; kindly where there is nothing."""
        if cart.state is not State.OPEN:
            return assembled(
                WIDTH * SCALE, [self._strip(("note", cart.state), partial(self._note, *_SAID[cart.state]))]
            )
        rows = [self._row(item) for item in cart.items[:MAX_ROWS]]
        more = len(cart.items) - len(rows)
        total = "" if cart.total is None else money(cart.total, cart.currency, self._locale)
        strips = [self._strip(("title",), self._title), *rows]
        if more or total:
            strips.append(self._strip(("foot", more, total), partial(self._foot, more, total)))
        return assembled(WIDTH * SCALE, strips)

    def price(self, item: Item) -> bytes:
        """Show a price: what it is, what it was, or that there are none left."""
        price, before = self._money(item.price, item), self._money(item.before, item)
        key = ("price", price, before, item.is_sold_out)
        return assembled(PRICE_WIDTH * SCALE, [self._strip(key, partial(self._price, price, before, item.is_sold_out))])

    def countdown(self, said: str) -> bytes:
        """Show how long it is."""
        return assembled(WIDTH * SCALE, [self._strip(("clock", said), partial(self._clock, said))])

    def _strip(self, key: tuple[object, ...], draw: Callable[[], Strip]) -> Strip:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        self.drawn += 1
        found = self._kept[key] = draw()
        self.kept_bytes += len(found.deflated)
        while self.kept_bytes > self._most and len(self._kept) > 1:
            self.kept_bytes -= len(self._kept.popitem(last=False)[1].deflated)
        return found

    def _money(self, amount: float | None, item: Item) -> str:
        return "" if amount is None else money(amount, item.currency, self._locale)

    def _row(self, item: Item) -> Strip:
        price, before = self._money(item.price, item), self._money(item.before, item)
        key = ("row", item.name, item.variant, item.quantity, price, before, item.is_sold_out)
        return self._strip(key, partial(self._draw_row, item, price, before))

    def _draw_row(self, item: Item, price: str, before: str) -> Strip:
        canvas, level = _Canvas(self._typeface, WIDTH, _ROW), _MUTED if item.is_sold_out else _FULL
        name = self._typeface.drawable(item.name) or UNNAMED
        details = [
            self._typeface.drawable(item.variant),
            f"Quantity {counted(item.quantity)}" if item.quantity != 1 else "",
        ]
        under = " · ".join(filter(None, details))
        taken = self._draw_price(canvas, WIDTH - _MARGIN, 35, price, before, sold_out=item.is_sold_out)
        room = WIDTH - 2 * _MARGIN - _GAP - taken
        canvas.text(_MARGIN, 27 if under else 35, name, 16, room=room, level=level)
        canvas.text(_MARGIN, 46, under, 13, room=room, level=_MUTED)
        canvas.rule(_ROW - 1)
        return canvas.strip()

    def _draw_price(self, canvas: _Canvas, right: float, y: float, price: str, before: str, *, sold_out: bool) -> float:
        if sold_out:
            return canvas.text(right, y, "Sold out", 15, room=right, anchor="rs", level=_MUTED)
        taken = canvas.text(right, y, price, 16, room=right, bold=True, anchor="rs", accent=bool(before))
        if before:
            right -= taken + 10
            taken += 10 + canvas.text(right, y, before, 14, room=right, anchor="rs", level=_MUTED, struck=True)
        return taken

    def _title(self) -> Strip:
        canvas = _Canvas(self._typeface, WIDTH, _TITLE)
        canvas.text(_MARGIN, 34, "In your cart now", 20, room=WIDTH - 2 * _MARGIN, bold=True)
        canvas.rule(_TITLE - 1)
        return canvas.strip()

    def _foot(self, more: int, total: str) -> Strip:
        canvas = _Canvas(self._typeface, WIDTH, _FOOT)
        taken = canvas.text(WIDTH - _MARGIN, 35, total, 20, room=300, bold=True, anchor="rs")
        if total:
            canvas.text(WIDTH - _MARGIN - taken - 12, 35, "Total", 15, room=80, anchor="rs", level=_MUTED)
        if more:
            canvas.text(_MARGIN, 35, f"and {more} more", 15, room=150, level=_MUTED)
        return canvas.strip()

    def _note(self, said: str, more: str) -> Strip:
        canvas = _Canvas(self._typeface, WIDTH, _NOTE)
        canvas.text(WIDTH / 2, 58, said, 22, room=WIDTH - 2 * _MARGIN, bold=True, anchor="ms")
        canvas.text(WIDTH / 2, 86, more, 15, room=WIDTH - 2 * _MARGIN, anchor="ms", level=_MUTED)
        return canvas.strip()

    def _price(self, price: str, before: str, sold_out: bool) -> Strip:
        canvas = _Canvas(self._typeface, PRICE_WIDTH, _PRICE)
        if sold_out:
            canvas.text(_EDGE, 22, "Sold out", 17, room=PRICE_WIDTH, level=_MUTED)
        elif not price:
            canvas.text(_EDGE, 22, "See the price in the shop", 15, room=PRICE_WIDTH, level=_MUTED)
        else:
            left = _EDGE + 10 + canvas.text(_EDGE, 22, price, 18, room=PRICE_WIDTH, bold=True, accent=bool(before))
            canvas.text(left, 22, before, 15, room=PRICE_WIDTH - left, level=_MUTED, struck=True)
        return canvas.strip()

    def _clock(self, said: str) -> Strip:
        canvas = _Canvas(self._typeface, WIDTH, _CLOCK)
        canvas.text(WIDTH / 2, 31, said, 20, room=WIDTH - 2 * _MARGIN, bold=True, anchor="ms")
        return canvas.strip()
