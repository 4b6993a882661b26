"""What people write about themselves is text in an email, whatever it looks like."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rendering.problems import Hole
from tests.rendering.samples import NAMES, RENDERER, data, email_of, product

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ shop.url }}",
    '"{{',
    "{% raw %}",
    "{% for i in (1..100000) %}",
    "}}{{ 7 | times: 7 }}",
    "waxliquid0x",
    "--><b>x</b><!--",
    "]]><b>",
    "</td></tr></table>",
    "&lt;b&gt;",
    "\x00\x08\ud800",
    "\u202egnirts",
]


class Structure(HTMLParser):
    """The tags and attribute names of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, ...]] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag: str) -> None:
        """Note where it ends."""
        self.tags.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        """Note what Outlook alone reads."""
        self.tags.append(("comment", str(data.count("<"))))

    def handle_data(self, data: str) -> None:
        """Note what is read."""
        self.texts.append(data)


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("name", NAMES)
def test_markup_and_liquid_in_the_data_are_inert(name: str, nasty: str) -> None:
    """The page has the structure that it has for tame words."""
    RENDERER.compiled(name)

    def page(word: str) -> Structure:
        items = [product(1, name=word, variant=word), product(2, name=word)]
        return Structure(RENDERER.render(name, data(*items, traits={"name": word, "timezone": word})).html)

    assert page(nasty).tags == page("tame").tags


def test_what_is_shown_is_what_was_written() -> None:
    """Escaped once, not twice."""
    page = Structure(RENDERER.render("cart-abandonment", data(product(1, name='Tom & Jerry\'s "Mug" <3'))).html)
    assert 'Tom & Jerry\'s "Mug" <3' in page.texts


def test_the_text_part_is_not_escaped_and_its_links_are_whole() -> None:
    """An ampersand is one."""
    text = RENDERER.render("cart-abandonment", data(product(1, name="Tom & Jerry"))).text
    assert "Tom & Jerry: https://shop.example/products/1?a=1&b=2\n" in text
    assert "View in browser: https://mail.example/v/one?a=1&b=2" in text
    assert "{" not in text
    assert "&amp;" not in text


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example/x",
        "/products/1",
        "shop.example/x",
        "https://",
        "https:///x",
        'https://shop.example/"onclick="alert(1)',
        "https://shop.example/<b>",
        "https://shop.example@evil.example/",
        "https://shop.example/a b",
        "https://shop.example/\njavascript:x",
    ],
)
def test_an_address_is_a_web_address_or_refused(address: str) -> None:
    """In a product it counts as none, and the shop's own stands instead; printed bare, it refuses the email."""
    page = Structure(RENDERER.render("cart-abandonment", data(product(1, url=address, image_url=address))).html)
    assert {a.split(":")[0] for a in page.addresses} == {"https", "mailto"}
    assert not any("evil" in a for a in page.addresses)
    with pytest.raises(Hole, match="is no http or https address"):
        email_of('<a href="{{ v }}">x</a>', {"v": address})
    with pytest.raises(Hole, match="is no http or https address"):
        email_of("<a href='{{ v | default: \"https://a.example\" }}'>x</a>", {"v": address})


def test_a_value_within_an_address_is_encoded() -> None:
    """It cannot lead elsewhere or add parameters."""
    email = email_of('<a href="https://shop.example/search?q={{ v }}">x</a>', {"v": "a&b=c/../<"})
    assert 'href="https://shop.example/search?q=a%26b%3Dc%2F..%2F%3C"' in email.html
    assert "https://shop.example/search?q=a%26b%3Dc%2F..%2F%3C" in email.text


def test_a_subject_is_one_line_of_plain_text() -> None:
    """A line break in a subject would begin a header of one's own."""
    email = email_of("x", {"v": "<b>Ann</b>\r\nBcc: all@example.com\x00"}, subject="Hi {{ v }} & co")
    assert email.subject == "Hi Ann Bcc: all@example.com & co"


def test_a_long_subject_is_cut_at_a_word() -> None:
    """Nobody's screen shows more."""
    subject = email_of("x", {"v": "word " * 100}, subject="{{ v }}").subject
    assert len(subject) <= 150
    assert subject.endswith("word…")


@pytest.mark.parametrize(
    "text",
    [
        "Win 1000 $ at evil.example",
        "https://evil.example",
        "evil.example/x",
        "<b>",
        "null",
        "N/A",
        "12345",
        "x" * 31,
        "a@b.c",
        "…",
    ],
)
def test_what_is_no_name_greets_nobody(text: str) -> None:
    """Sign-up forms are used to send others one's own text, and forms' own placeholders are no names."""
    shown = email_of("{{ traits | first_name: 'friend' }}", {"traits": {"firstName": text}}).text
    assert shown in {"friend\n", "Win\n"}


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("Ann Lee", "Ann"),
        (" José ", "José"),
        ("Anne-Marie", "Anne-Marie"),
        ("O'Neil", "O'Neil"),
        ("李雷", "李雷"),
        ("יעל", "יעל"),
        ("J.", "J."),
    ],
)
def test_a_name_is_what_people_are_called(text: str, called: str) -> None:
    """In any script."""
    assert email_of("{{ traits | first_name: 'friend' }}", {"traits": {"name": text}}).text == f"{called}\n"


_texts = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(NASTY)
_values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | _texts | st.lists(_texts, max_size=2)
)


@settings(max_examples=150)
@given(_texts, _texts, st.dictionaries(st.sampled_from(["firstName", "name", "timezone"]), _values))
def test_no_text_of_a_profile_breaks_an_email(name: str, variant: str, traits: dict[str, Any]) -> None:
    """Whatever the text, the page has the tags that the same page has with other text, and it can be encoded."""

    def made(named: str, kind: str, told: dict[str, Any]) -> Any:
        items = [product(1, name=named, variant=kind), product(2)]
        return RENDERER.render("cart-abandonment", data(*items, traits=told, catalogue={}))

    blank = [not each.strip() for each in (name, variant)]
    tame = made(" " if blank[0] else "tame", " " if blank[1] else "tame", {})
    try:
        email = made(name, variant, traits)
    except Hole:
        assert any(not each.isprintable() for each in (name, variant))  # nothing was left of it to be shown
        return
    assert Structure(email.html).tags == Structure(tame.html).tags
    email.html.encode()
    email.text.encode()
    assert "\n" not in email.subject
