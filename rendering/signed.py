"""Links in emails that tell nobody whose they are: sealed, so that they are neither read nor made by others.

A token is AES-SIV (RFC 5297) over what the link says, under a key that HKDF derives from the shop's secret. The same link
always gives the same token, so an email that is rendered twice is the same; nothing random is needed. Lengths are padded.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeGuard

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from state.clock import DAY, SECOND, from_iso
from state.outputs import Trigger

LIFETIME: Final = 30 * DAY
"""How long an email shows live content. Unsubscribing works for as long as the secret is known."""

LEAST_SECRET: Final = 16
MAX_PRICED: Final = 50

_KEY_BYTES: Final = 64
_TAG_BYTES: Final = 16
_HEAD_BYTES: Final = 1 + _TAG_BYTES
_STEP: Final = 24
"""Bytes of which a token has a multiple: lengths tell less of a user id, and base64 leaves no bit that says nothing."""
_MAX_PRODUCT: Final = 200
_TOKEN: Final = re.compile(r"(?:[A-Za-z0-9_-]{32}){1,128}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")

_encode: Final = msgspec.msgpack.Encoder().encode


class Purpose(StrEnum):
    """What a link is for. A token for one is no token for another."""

    UNSUBSCRIBE = "u"
    CART = "c"
    PRICE = "p"
    COUNTDOWN = "t"


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. Times are seconds since 1970; 0 is never.

    `orders` is how many the person had made when the email was decided. `product_id`, `price` and `currency` are what the email
    showed; `until` is what a countdown counts to. What a purpose has no use for is not in its tokens.
    """

    expires: int = 0
    tenant: str = ""
    user_id: str = ""
    trigger_id: str = ""
    orders: int | None = None
    until: int = 0
    product_id: str = ""
    price: float | None = None
    currency: str = ""


class Unreadable(Exception):
    """No token of ours for this purpose; the message does not say why."""


class Expired(Unreadable):
    """A token of ours whose time is over."""


_decoder: Final = msgspec.msgpack.Decoder(Link)


class Seals:
    """Seals and opens links. The first secret seals, all of them open: put a new one first to rotate.

    Raises ValueError for no secret, or a short one.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        given = list(dict.fromkeys(secret.strip() for secret in secrets if secret.strip()))
        if not given:
            raise ValueError("no secret is given")
        if min(map(len, given)) < LEAST_SECRET:
            raise ValueError(f"a secret has at least {LEAST_SECRET} characters")
        self._ciphers: dict[int, list[AESSIV]] = {}
        derived = [_derived(secret) for secret in given]
        for key_id, cipher in derived:
            self._ciphers.setdefault(key_id, []).append(cipher)
        self._first_id, self._first = derived[0]

    def seal(self, purpose: Purpose, link: Link) -> str:
        """Write a token: URL-safe, under 200 characters for ids of up to 60."""
        said = _encode(link) + b"\x80"
        padded = said.ljust(len(said) + -(len(said) + _HEAD_BYTES) % _STEP, b"\0")
        sealed = self._first.encrypt(padded, [purpose.encode()])
        return base64.urlsafe_b64encode(bytes([self._first_id]) + sealed).decode()

    def open(self, token: str, purpose: Purpose, now: int) -> Link:
        """Read a token; `now` is in microseconds. Raises Expired, or Unreadable for what is not ours or not for this."""
        if not _TOKEN.fullmatch(token):  # the decoder passes over what is none of its alphabet
            raise Unreadable("no link of ours")
        data = base64.urlsafe_b64decode(token)
        for cipher in self._ciphers.get(data[0], ()):
            try:
                padded = cipher.decrypt(data[1:], [purpose.encode()])
            except InvalidTag:
                continue
            return _current(padded, now)
        raise Unreadable("no link of ours")


def links(
    seals: Seals,
    base_url: str,
    trigger: Trigger,
    *,
    currency: str = "",
    until: int | None = None,
    lifetime: int = LIFETIME,
) -> dict[str, str]:
    """Write the links of one email, by their names in templates.

    `unsubscribe`, `cart_image`, `cart_json`, `view` (the cart as a page), `countdown`, and `price_image_1` and so on for those
    of the trigger's items that have a price. Prices are in the currency that the trigger's properties name, else in `currency`.
    The countdown runs to `until` in microseconds, else to the trigger's expiry. The same trigger gives the same links.
    """
    base, tenant, user_id = base_url.rstrip("/"), trigger.tenant, trigger.user_id
    if not base.startswith(("https://", "http://")):
        raise ValueError("the address of the content endpoints begins with https:// or http://")
    expires = (from_iso(trigger.send_at) + lifetime) // SECOND
    ends = (from_iso(trigger.expires_at) if until is None else until) // SECOND
    told = (trigger.payload.get("properties") or {}).get("currency")
    currency = told if _is_currency(told) else currency
    orders = None if trigger.recheck is None else trigger.recheck.orders
    leaving = seals.seal(Purpose.UNSUBSCRIBE, Link(0, tenant, user_id, trigger.trigger_id))
    cart = seals.seal(Purpose.CART, Link(expires, tenant, user_id, trigger.trigger_id, orders, currency=currency))
    clock = seals.seal(Purpose.COUNTDOWN, Link(until=ends))  # says that it has ended for ever after
    return {
        "unsubscribe": f"{base}/u/{leaving}",
        "cart_image": f"{base}/c/{cart}/cart.png",
        "cart_json": f"{base}/c/{cart}/cart.json",
        "view": f"{base}/c/{cart}/cart.html",
        "countdown": f"{base}/c/{clock}/countdown.png",
    } | {
        f"price_image_{number}": f"{base}/c/{seals.seal(Purpose.PRICE, link)}/price.png"
        for number, item in enumerate(trigger.payload.get("items") or [], 1)
        if number <= MAX_PRICED and (link := _priced(item, expires, tenant, currency))
    }


def _priced(item: Mapping[str, Any], expires: int, tenant: str, currency: str) -> Link | None:
    """Say which product and at what price, and nothing of the person."""
    price, named = item.get("price"), item.get("currency")
    product_id = next((str(item[key]) for key in ("product_id", "sku", "name") if item.get(key) not in (None, "")), "")
    if not isinstance(price, int | float) or isinstance(price, bool) or not 0 < len(product_id) <= _MAX_PRODUCT:
        return None
    currency = named if _is_currency(named) else currency
    return Link(expires, tenant, product_id=product_id, price=float(price), currency=currency)


def _is_currency(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and _CURRENCY.fullmatch(text) is not None


def _derived(secret: str) -> tuple[int, AESSIV]:
    material = HKDF(SHA256(), _KEY_BYTES + 1, salt=None, info=b"waxmark links 1").derive(secret.encode())
    return material[_KEY_BYTES], AESSIV(material[:_KEY_BYTES])


def _current(padded: bytes, now: int) -> Link:
    try:
        link = _decoder.decode(padded.rstrip(b"\0")[:-1])
    except msgspec.DecodeError:  # sealed by us, in a form of another version
        raise Unreadable("no link of ours") from None
    if link.expires and link.expires * SECOND <= now:
        raise Expired("the link's time is over")
    return link
