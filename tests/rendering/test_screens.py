"""Every email in a real browser, as wide as a phone and as wide as a mail program.

The pages and their pictures come from a server of the test; nothing is fetched from elsewhere.
"""

import html
import io
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from cli.render import BROWSERS
from tests.rendering.samples import IMAGES, NAMES, RENDERER, data, product

WIDTHS = (375, 640)
HEIGHT = 2600

LONG = "Handmade Stoneware Espresso Cup with Saucer, " * 3 + "x" * 90
EMAILS = {name: data() for name in NAMES} | {
    "cart-abandonment of long names": data(
        product(1, name=LONG, price=1234567.89, variant=LONG), traits={"name": "x" * 29}
    ),
    "cart-abandonment of 20 items": data(*(product(n) for n in range(1, 21))),
    "cart-abandonment without pictures": data(product(1, image_url=""), product(2, image_url="/x.png")),
    "cart-abandonment from right to left": data(product(1, name="قميص كتان أبيض"), traits={"name": "ليلى"}),
    "price-drop of a long name": data(
        product(1, name=LONG), product(2), catalogue={"P-1": {"price": 1}, "P-2": {"price": 2}}
    ),
}
_MEASURE = """
function measured(frame) {
  const page = frame.contentDocument, width = frame.clientWidth;
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height].map(Math.round) };
  const shown = e => e.getClientRects().length > 0;
  return {
    overflow: page.documentElement.scrollWidth - width,
    beyond: [...page.querySelectorAll('td, img, a')]
      .filter(e => shown(e) && e.getBoundingClientRect().right > width + 1).length,
    height: page.documentElement.scrollHeight,
    images: [...page.images].map(i => ({box: box(i), loaded: i.naturalWidth > 0, alt: i.alt})),
    buttons: [...page.querySelectorAll('.wide a')].map(a => ({
      box: box(a), text: a.textContent.trim(), href: a.href,
      colour: page.defaultView.getComputedStyle(a).color, ground: page.defaultView.getComputedStyle(a).backgroundColor})),
    smallest: Math.min(...[...page.querySelectorAll('td div, td a')].filter(e => shown(e) && e.textContent.trim())
      .map(e => parseFloat(page.defaultView.getComputedStyle(e).fontSize)).filter(size => size > 0)),
    unsubscribe: [...page.links].filter(a => a.textContent == 'Unsubscribe' && shown(a)).map(box),
    mode: page.compatMode,
  };
}
addEventListener('load', () => {
  const frames = [...document.querySelectorAll('iframe')];
  document.body.textContent = 'MEASURED' + JSON.stringify(frames.map(measured)) + 'MEASURED';
});
"""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # a browser opens many connections at once, and waits long for one that is turned away


def _chromium() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    return found


def _picture(path: str) -> bytes:
    number = sum(path.encode()) % 3
    image = Image.new("RGB", (600, 600), [(214, 196, 170), (176, 110, 70), (120, 140, 110)][number])
    ImageDraw.Draw(image).ellipse((120, 120, 480, 480), fill=(240, 230, 210))
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve the emails, and pages that show all of them at once."""
    pages: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = pages.get(self.path)
            content = _picture(self.path) if found is None else found.encode()
            self.send_response(200)
            self.send_header("content-type", "image/png" if found is None else "text/html; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.send_header("cache-control", "max-age=600")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    frames = []
    for number, (title, values) in enumerate(EMAILS.items()):
        pages[f"/{number}"] = RENDERER.render(title.split(" ")[0], values).html.replace(IMAGES, url)
        frames += [
            f'<iframe src="/{number}" style="border:0;width:{width}px;height:{HEIGHT}px"></iframe>' for width in WIDTHS
        ]
    body = "".join(frames)
    style = "body{margin:0;white-space:nowrap;font-size:0}"
    pages["/measured"] = f"<!doctype html><style>{style}</style><body>{body}<script>{_MEASURE}</script>"
    pages["/shown"] = f"<!doctype html><style>{style}</style><body>{body}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


def _run(folder: Path, *arguments: str) -> str:
    command = [_chromium(), "--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    done = subprocess.run([*command, *arguments], capture_output=True, timeout=90, check=True)
    return done.stdout.decode()


@pytest.fixture(scope="module")
def measures(site: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict[str, Any]]:
    """Measure every email at every width, in one run of the browser."""
    page = _run(tmp_path_factory.mktemp("measures"), "--virtual-time-budget=20000", "--dump-dom", f"{site}/measured")
    found = re.search(r"MEASURED(\[.*\])MEASURED", page)
    assert found is not None, page[:2000]
    keys = [(title, width) for title in EMAILS for width in WIDTHS]
    return dict(zip(keys, json.loads(html.unescape(found[1])), strict=True))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("title", EMAILS)
def test_an_email_fits_its_screen(measures: dict[tuple[str, int], dict[str, Any]], title: str, width: int) -> None:
    """Nobody scrolls sideways, whatever the names; and letters can be read without glasses."""
    found = measures[title, width]
    assert found["overflow"] <= 0
    assert found["beyond"] == 0
    assert found["smallest"] >= 13
    assert found["mode"] == "CSS1Compat"
    assert len(found["unsubscribe"]) == 1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("title", EMAILS)
def test_the_button_is_there_to_be_pressed(
    measures: dict[tuple[str, int], dict[str, Any]], title: str, width: int
) -> None:
    """One, large enough for a thumb, in a colour that its words stand out from, and before the third screen on a phone."""
    (button,) = measures[title, width]["buttons"]
    left, top, wide, high = button["box"]
    assert left >= 0
    assert left + wide <= width
    assert high >= 44
    assert wide >= (0.8 * width if width == 375 else 140)
    assert button["text"]
    assert button["href"].startswith("https://")
    assert _contrast(button["colour"], button["ground"]) >= 4.5
    assert top < 3 * 800 or "20 items" in title


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("title", EMAILS)
def test_pictures_have_their_boxes(measures: dict[tuple[str, int], dict[str, Any]], title: str, width: int) -> None:
    """Loaded, square as they are, within the page, and described for those who do not see them."""
    images = measures[title, width]["images"]
    for image in images:
        left, _, wide, high = image["box"]
        assert image["loaded"]
        assert image["alt"]
        assert left >= 0
        assert left + wide <= width
        assert wide >= 56
        assert abs(wide - high) <= 2
    expected = {"welcome": 0, "win-back": 0, "browse-abandonment": 1, "cart-abandonment": 3, "post-purchase": 3}
    assert len(images) == expected.get(title, len(images))


def test_every_email_is_drawn(site: str, tmp_path: Path) -> None:
    """In a picture of all of them, each has its page, its words and its button's colour."""
    total = sum(WIDTHS) * len(EMAILS)
    _run(tmp_path, f"--window-size={total},{HEIGHT}", f"--screenshot={tmp_path}/all.png", f"{site}/shown")
    with Image.open(tmp_path / "all.png") as picture:
        drawn = picture.convert("RGB")
    left = 0
    for title in EMAILS:
        for width in WIDTHS:
            part = drawn.crop((left, 0, left + width, HEIGHT))
            left += width
            colours = {colour: count for count, colour in part.getcolors(maxcolors=1 << 22) or []}
            assert len(colours) > 20, (title, width)
            assert colours.get((31, 93, 76), 0) > 3000, (title, width)  # the button
            assert colours.get((255, 255, 255), 0) > 30_000, (title, width)  # the page


def _contrast(one: str, other: str) -> float:
    """Compare two colours as WCAG 2 does."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
