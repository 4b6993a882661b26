"""`waxmark render`: what a template makes of somebody's data, before anybody gets it."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image, ImageChops
from rich.console import Console

from connectors.catalogue import Catalogue
from connectors.redis_profiles import profile_key
from connectors.redis_streams import connect
from connectors.settings import Settings
from rendering.problems import Hole
from rendering.renderer import Renderer
from rendering.template_data import decoded_profile, product_ids, template_data
from rendering.template_folder import BUILT_IN, shop_of, template_folder
from state.clock import DAY, HOUR, to_iso
from state.outputs import Trigger

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NARROWEST: Final = 240
WIDEST: Final = 2_000
_TALLEST: Final = 8_000
_MARGIN: Final = 24

_out = Console(highlight=False, soft_wrap=True)

_SAMPLE_ITEMS: Final[list[dict[str, Any]]] = [
    {"product_id": "P-1", "name": "Linen Shirt", "variant": "Sand, M", "price": 48.9, "url": "https://shop.example/1"},
    {"product_id": "P-2", "name": "Copper Kettle", "price": 89.0, "url": "https://shop.example/2"},
    {"product_id": "P-3", "name": "Oak Bowl", "price": 24.5, "quantity": 2, "url": "https://shop.example/3"},
]
_SAMPLE_CATALOGUE: Final = {"P-2": {"price": 74.0, "stock": 2}}
_SAMPLE_PROFILE: Final = {
    "traits": {"firstName": "Ann"},
    "email": "ann@example.com",
    "last_seen": "2026-01-05T10:00:00Z",
}
_SAMPLE_LINKS: Final = {name: f"https://mail.example/{name}" for name in ("unsubscribe", "view_in_browser")}


def render(
    template: str,
    *,
    user: str | None = None,
    tenant: str = "default",
    trigger: Path | None = None,
    templates: Path = BUILT_IN,
    out: Path | None = None,
    png: Path | None = None,
    width: int = 640,
) -> None:
    """Render a template and print its subject and text part; nothing is sent.

    Without --user the person is made up; without --trigger so is what they did, or it is what the user has in the cart now.
    With --user, prices and stock are the catalogue's of now.

    Example: `waxmark render cart-abandonment --user user-17 --png cart.png --width 375`

    Parameters
    ----------
    template
        Its id, as campaigns name it.
    user
        Whose profile to take from Redis.
    trigger
        A file with one trigger, as `waxmark triggers` prints it.
    templates
        The folder with the templates.
    out
        Where to write the HTML part.
    png
        Where to write a picture of it; needs Chromium.
    width
        Of the picture, in pixels: 375 is a phone, 640 a mail program.
    """
    if not NARROWEST <= width <= WIDEST:
        raise ValueError(f"--width: {width} is not within {NARROWEST} and {WIDEST}")
    if png is not None:
        browser()  # before anything is done
    load = template_folder(templates)
    profile = _SAMPLE_PROFILE if user is None else _profile(user, tenant)
    caused = _made_up(template, user, tenant, profile) if trigger is None else _read(trigger)
    catalogue = _products(caused) if user is not None else _SAMPLE_CATALOGUE if trigger is None else {}
    try:
        email = Renderer(load).render(template, template_data(caused, profile, catalogue, shop_of(load), _SAMPLE_LINKS))
    except Hole as hole:
        raise ValueError(f"{hole}: this email would not be sent") from None
    if out is not None:
        out.write_text(email.html)
    if png is not None:
        screenshot(email.html, png, width)
    _out.print(f"Subject: {email.subject}\n\n{email.text}", markup=False, end="")


def screenshot(html: str, png: Path, width: int) -> None:
    """Take a picture of a page as wide as a screen of that width shows it. Raises ValueError where Chromium cannot."""
    with tempfile.TemporaryDirectory() as folder:
        page, frame, shot = (Path(folder, name) for name in ("page.html", "frame.html", "shot.png"))
        page.write_text(html)
        # A window is never narrower than 500 pixels, a frame may be.
        frame.write_text(
            f'<body style="margin:0"><iframe src="page.html" style="border:0;width:{width}px;height:{_TALLEST}px"></iframe>'
        )
        command = [browser(), "--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        command += [f"--window-size={max(width, 500)},{_TALLEST}", f"--screenshot={shot}", frame.as_uri()]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # it has none for root
        try:
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603 - our arguments
        except subprocess.TimeoutExpired:
            raise ValueError("--png: Chromium did not answer within 60 s") from None
        if not shot.exists():
            raise ValueError(f"--png: Chromium ended with {done.returncode} and took no picture")
        with Image.open(shot) as picture:
            _trimmed(picture.convert("RGB").crop((0, 0, width, _TALLEST))).save(png)


def browser() -> str:
    """Find Chromium on the PATH. Raises ValueError where there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise ValueError(f"--png needs Chromium, and none is installed ({', '.join(BROWSERS)})")


def _trimmed(picture: Image.Image) -> Image.Image:
    """Cut off what lies below the email: rows of nothing but its background."""
    width, height = picture.size
    background = Image.new("RGB", picture.size, picture.getpixel((width - 1, height - 1)))
    box = ImageChops.difference(picture, background).getbbox()
    return picture.crop((0, 0, width, min(height, (box[3] if box else 0) + _MARGIN)))


def _profile(user: str, tenant: str) -> dict[str, Any]:
    client: Any = connect(Settings().redis)
    fields = client.hgetall(profile_key(tenant, user))
    if not fields:
        raise ValueError(f"no profile of {user} (tenant {tenant})")
    return decoded_profile({name.decode(): value.decode() for name, value in fields.items()})


def _products(trigger: Trigger) -> dict[str, dict[str, Any]]:
    catalogue = Catalogue(Settings().redis)
    try:
        return catalogue.lookup(trigger.tenant, product_ids(trigger))
    finally:
        catalogue.close()


def _read(file: Path) -> Trigger:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Trigger)
    except msgspec.DecodeError as error:
        raise ValueError(f"{file}: no trigger: {error}") from None


def _made_up(template: str, user: str | None, tenant: str, profile: dict[str, Any]) -> Trigger:
    now = time.time_ns() // 1000
    items = _SAMPLE_ITEMS if user is None else profile.get("cart") or []
    return Trigger(
        trigger_id="0" * 26,
        kind="send",
        tenant=tenant,
        campaign_id=template.replace("-", "_"),
        campaign_version="",
        template_id=template,
        user_id=user or "somebody",
        email=profile.get("email"),
        occurred_at=to_iso(now - HOUR),
        decided_at=to_iso(now),
        send_at=to_iso(now),
        expires_at=to_iso(now + DAY),
        subject="",
        payload={
            "items": items,
            "item_count": len(items),
            "properties": {"order_id": "A-1001"} if user is None else {},
        },
        cause=[],
    )
