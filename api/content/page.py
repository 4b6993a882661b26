"""Pages that an email's links lead to: small, without scripts, images or anything from elsewhere, and with nobody's name."""

from html import escape
from typing import Final

from starlette.responses import Response

from api.content.now import UNNAMED, Item, Shop, Shown, State, counted, money

PRIVATE: Final = {
    "referrer-policy": "no-referrer",  # the address is the key
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
}
_GUARDED: Final = PRIVATE | {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
}
_STYLE: Final = (
    "body{font:1.125rem/1.5 system-ui,sans-serif;margin:0 auto;padding:2rem 1rem;max-width:38rem;color:#1c1f23;background:#fff}"
    "h1{font-size:1.5rem;line-height:1.25}a{color:#0b57a4}table{width:100%;border-collapse:collapse}"
    "td,th{padding:.75rem 0;border-bottom:1px solid #d5d8db;text-align:start;font-weight:400}"
    "td{text-align:end;white-space:nowrap;padding-inline-start:1rem}small,del{color:#5c6268;display:block}"
    "button{font:inherit;font-weight:600;padding:.75rem 1.5rem;border:0;border-radius:.25rem;background:#1c1f23;color:#fff;"
    "cursor:pointer}button:focus-visible,a:focus-visible{outline:3px solid #0b57a4;outline-offset:3px}"
    "@media(prefers-color-scheme:dark){body{color:#eceef0;background:#16181b}a{color:#8ec1f5}small,del{color:#a6acb2}"
    "button{background:#eceef0;color:#16181b}td,th{border-color:#3a3f45}}"
)
_TOLD: Final = {
    State.OPEN: ("Your cart", ""),
    State.EMPTY: ("Your cart is empty right now", "Whatever you were looking for, it may still be there."),
    State.ORDERED: ("Thank you for your order", "There is nothing left in your cart."),
    State.NONE: ("See what is in the shop now", "This page has nothing to show any more."),
}


def page(title: str, body: str, shop: Shop, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a page; `body` is HTML, everything else text."""
    name = escape(shop.name)
    back = f'<p><a href="{escape(shop.url)}">Go to {name or "the shop"}</a></p>' if shop.url else ""
    heading = escape(title)
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading}{f" · {name}" if name else ""}</title>'
        f'<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style></head><body><main><h1>{heading}</h1>{body}{back}</main></body></html>"
    )
    return Response(html, status, _GUARDED | (headers or {}), "text/html; charset=utf-8")


def cart_page(cart: Shown, shop: Shop) -> Response:
    """Answer with a cart, for who sees no images."""
    title, more = _TOLD[cart.state]
    body = f"<p>{more}</p>" if more else ""
    if cart.items:
        rows = "".join(_row(item, shop) for item in cart.items)
        if cart.total is not None:
            total = escape(money(cart.total, cart.currency, shop.locale))
            rows += f"<tr><th scope='row'>Total</th><td><b>{total}</b></td></tr>"
        body += f"<table>{rows}</table>"
    return page(title, body, shop)


def _row(item: Item, shop: Shop) -> str:
    name = f"<bdi>{escape(item.name) or UNNAMED}</bdi>"
    if item.url:
        name = f'<a rel="noopener" href="{escape(item.url)}">{name}</a>'
    details = [escape(item.variant), f"Quantity {counted(item.quantity)}" if item.quantity != 1 else ""]
    under = " · ".join(filter(None, details))
    price = (
        "Sold out" if item.is_sold_out else "" if item.price is None else money(item.price, item.currency, shop.locale)
    )
    before = "" if item.before is None or item.is_sold_out else money(item.before, item.currency, shop.locale)
    struck = f"<del>{escape(before)}</del>" if before else ""
    return f"<tr><th scope='row'>{name}{f'<small>{under}</small>' if under else ''}</th><td>{escape(price)}{struck}</td></tr>"
