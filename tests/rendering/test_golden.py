"""Every template's email, letter by letter.

After a change that is meant, and then read the diff:
WAXMARK_GOLDEN=write .venv/bin/python -m pytest -n0 tests/rendering/test_golden.py
"""

import os
import re
from pathlib import Path

import pytest

from rendering.strict_liquid import MAX_HTML
from tests.rendering.samples import NAMES, RENDERER, data, product

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", NAMES)
def test_an_email_is_what_it_was(name: str) -> None:
    """Both parts; tags stand on lines of their own so that a diff can be read."""
    email = RENDERER.render(name, data())
    parts = {
        f"{name}.html": email.html.replace("><", ">\n<"),
        f"{name}.txt": f"{email.subject}\n\n{email.text}",
    }
    for file, text in parts.items():
        if os.environ.get("WAXMARK_GOLDEN") == "write":
            GOLDEN.mkdir(exist_ok=True)
            (GOLDEN / file).write_text(text)
        assert (GOLDEN / file).read_text() == text, f"{file} has changed; if that is meant, see the top of this file"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_data_gives_the_same_email(name: str) -> None:
    """No clock and no chance is in it."""
    assert RENDERER.render(name, data()) == RENDERER.render(name, data())


@pytest.mark.parametrize("name", NAMES)
def test_an_email_has_what_every_email_needs(name: str) -> None:
    """A way out, where it comes from, and a text part that is one."""
    email = RENDERER.render(name, data())
    for part in (email.html, email.text):
        assert "https://mail.example/u/one" in part
        assert "12 Harbour Row, Bristol" in part
    assert email.html.count("<img ") == email.html.count('alt="')
    assert '<html lang="en-GB"' in email.html
    assert "color-scheme" in email.html
    assert not {"<", ">", "{", "}"} & set(email.text)
    assert "\n\n\n" not in email.text
    assert all(line == line.strip() for line in email.text.splitlines())
    preheader = {"cart-abandonment": "We kept it for you", "welcome": "Glad you are here"}.get(name, "")
    assert preheader in email.html
    assert not preheader or preheader not in email.text


@pytest.mark.parametrize("name", NAMES)
def test_opening_an_email_calls_nobody_but_the_shop(name: str) -> None:
    """MJML had fetched a font from its maker, who so learnt of every opening; an unreachable one cost 45 seconds."""
    page = RENDERER.render(name, data()).html
    hosts = set(re.findall(r"https?://([^/\"')\s]+)", page))
    assert hosts <= {"shop.example", "img.example", "mail.example", "www.w3.org"}
    assert "@import" not in page
    assert "<link" not in page


def test_fifty_letters_of_name_and_twenty_items_stay_below_what_gmail_clips() -> None:
    """The most that a trigger carries."""
    items = [
        product(
            n,
            name="Handmade Stoneware Espresso Cup with Saucer, Blue",
            image_url=f"https://img.example/{'x' * 200}/{n}",
        )
        for n in range(1, 21)
    ]
    email = RENDERER.render("cart-abandonment", data(*items, catalogue={}))
    assert len(email.html.encode()) < MAX_HTML * 0.7
    assert email.text.count("Espresso") == 20


def test_right_to_left_and_pictures_pass_whole() -> None:
    """Text is text in any script."""
    email = RENDERER.render("cart-abandonment", data(product(1, name="قميص كتان 👕"), traits={"firstName": "يعل"}))
    for part in (email.subject, email.text, email.html):
        assert "قميص كتان 👕" in part
    assert "يعل" in email.text
