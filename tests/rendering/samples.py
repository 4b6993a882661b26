"""A vocabulary for emails: triggers, people and products, and templates written in the test."""

from collections.abc import Callable
from typing import Any

from rendering.problems import TemplateError
from rendering.renderer import Renderer
from rendering.template_data import template_data
from rendering.template_folder import BUILT_IN, shop_of, template_folder
from state.letters import Email
from state.outputs import Trigger

IMAGES = "https://img.example"
NAMES = (
    "cart-abandonment",
    "checkout-abandonment",
    "browse-abandonment",
    "price-drop",
    "welcome",
    "win-back",
    "post-purchase",
)
LINKS = {
    "unsubscribe": "https://mail.example/u/one",
    "view_in_browser": "https://mail.example/v/one?a=1&b=2",
}
LOAD = template_folder(BUILT_IN)
SHOP = shop_of(LOAD)
RENDERER = Renderer(LOAD)
CATALOGUE = {"P-2": {"price": "74.0", "stock": "2"}}

BARE_LAYOUT = '<mjml><mj-body><mj-include path="content" /></mj-body></mjml>'


def product(number: int = 1, **changed: Any) -> dict[str, Any]:
    """Something in a cart."""
    return {
        "product_id": f"P-{number}",
        "name": ("Linen Shirt", "Copper Kettle", "Oak Bowl")[(number - 1) % 3],
        "variant": ("Sand, M", "", "Large")[(number - 1) % 3],
        "price": (48.9, 89.0, 24.5)[(number - 1) % 3],
        "quantity": 2.0 if number == 3 else 1.0,
        "url": f"https://shop.example/products/{number}?a=1&b=2",
        "image_url": f"{IMAGES}/{number % 3}.png",
    } | changed


def trigger(*items: dict[str, Any], **changed: Any) -> Trigger:
    """One email to send."""
    payload = {"items": list(items), "item_count": len(items), "properties": {"order_id": "A-1001"}}
    fields: dict[str, Any] = {
        "trigger_id": "01KE0000000000000000000000",
        "kind": "send",
        "tenant": "default",
        "campaign_id": "cart_abandonment",
        "campaign_version": "1",
        "template_id": "cart-abandonment",
        "user_id": "ann",
        "email": "ann@example.com",
        "occurred_at": "2026-03-01T23:30:00.000Z",
        "decided_at": "2026-03-02T00:30:00.000Z",
        "send_at": "2026-03-02T00:30:00.000Z",
        "expires_at": "2026-03-03T00:30:00.000Z",
        "subject": "cart-1",
        "payload": payload,
        "cause": [],
    }
    return Trigger(**(fields | changed))


def data(
    *items: dict[str, Any],
    traits: dict[str, Any] | None = None,
    catalogue: dict[str, dict[str, Any]] | None = None,
    shop: dict[str, str] | None = None,
    links: dict[str, str] | None = None,
) -> dict[str, Any]:
    """What a template may use, of somebody called Ann with three things in her cart."""
    profile = {"traits": {"firstName": "Ann"} if traits is None else traits, "last_seen": "2026-02-01T10:00:00.000Z"}
    return template_data(
        trigger(*(items or (product(1), product(2), product(3)))),
        profile,
        CATALOGUE if catalogue is None else catalogue,
        SHOP if shop is None else SHOP | shop,
        LINKS if links is None else links,
    )


def given(**files: str) -> Callable[[str], str]:
    """Load templates written in the test; `partials__row` is partials/row.mjml."""
    texts = {f"{name.replace('__', '/')}.mjml": text for name, text in files.items()}
    texts.setdefault("partials/layout.mjml", BARE_LAYOUT)

    def load(path: str) -> str:
        if path not in texts:
            raise TemplateError(f"{path}: No such file or directory")
        return texts[path]

    return load


def template(body: str, *, subject: str = "Hello", front: str = "") -> str:
    """Write a template of which `body` is the text; the body begins on line 6."""
    head = f"---\nsubject: {subject!r}\npreheader: 'A look'\n{front}---\n"
    return f"{head}<mj-section><mj-column><mj-text>{body}</mj-text></mj-column></mj-section>"


def email_of(body: str, values: dict[str, Any] | None = None, **fields: str) -> Email:
    """Render a body with some data, and nothing else."""
    return Renderer(given(t=template(body, **fields))).render("t", values or {})
