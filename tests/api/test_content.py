"""What an email shows when it is opened: the state of now, quickly, to whoever has it, and nothing of whose it is."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr

from api.content.now import Item, Shown, State, left, money
from api.content.pictures import Pictures
from api.content.typeface import Typeface
from cli.content import content
from cli.serving import seals_of
from connectors import redis_server
from connectors.redis_people import MARK
from connectors.redis_profiles import profile_key
from connectors.settings import Settings
from rendering.signed import Link, Purpose, Seals
from state.clock import DAY, HOUR, MINUTE, SECOND
from tests.api.collecting import ROOT
from tests.api.opening import (
    EMAIL,
    LATER,
    OLD_SECRET,
    SEALS,
    START,
    TRIGGER_ID,
    Serving,
    cart_token,
    darkest,
    leaving_token,
    line,
    picture,
    put,
    sell,
)

WIDTH = 1200
TYPEFACE = Typeface()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A process that the tests here share; each has people of its own."""
    with redis_server.running(tmp_path_factory.mktemp("content-redis")) as url:
        found = Serving(
            url, tmp_path_factory.mktemp("content"), "--shop-name", "Wick & Co", "--shop-url", "https://w.example"
        )
        yield found
        code = found.stop()
    assert code == 0, found.log()


def price_token(product_id: str, price: float | None, *, expires: int = LATER) -> str:
    """Seal a link to a product's price."""
    return SEALS.seal(Purpose.PRICE, Link(expires, "default", product_id=product_id, price=price, currency="EUR"))


def test_a_cart_is_shown_twice_as_sharp_as_it_is_wide(serving: Serving) -> None:
    """600 pixels of CSS, not blank, higher with every line."""
    put(serving.redis_url, "one", [line("shoes")])
    put(serving.redis_url, "two", [line("shoes"), line("socks")])
    one, two = (picture(serving.http.get(f"/c/{cart_token(user)}/cart.png")) for user in ("one", "two"))
    assert one.width == two.width == WIDTH
    assert one.height < two.height < one.height * 2
    assert darkest(one) < 60


def test_the_picture_changes_when_the_cart_does_and_only_then(serving: Serving) -> None:
    """The same address; whoever kept the picture is told whether it is still so."""
    url = f"/c/{cart_token('changing')}/cart.png"
    put(serving.redis_url, "changing", [line("shoes")])
    first = serving.http.get(url)
    again = serving.http.get(url, headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    put(serving.redis_url, "changing", [line("shoes"), line("socks")])
    second = serving.http.get(url, headers={"if-none-match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.content != first.content


def test_the_picture_changes_with_the_price_and_the_stock(serving: Serving) -> None:
    """What fell in price is in another colour, what is sold out in grey; the profile has not changed."""
    url = f"/c/{cart_token('pricing')}/cart.png"
    put(serving.redis_url, "pricing", [line("lamp", 80.0)])
    before = serving.http.get(url)
    sell(serving.redis_url, "lamp", price=60, currency="EUR", stock=3)
    cheaper = serving.http.get(url)
    sell(serving.redis_url, "lamp", stock=0)
    sold_out = serving.http.get(url)
    assert len({before.content, cheaper.content, sold_out.content}) == 3
    assert is_coloured(cheaper)
    assert not is_coloured(before)
    assert not is_coloured(sold_out)


def is_coloured(response: httpx.Response) -> bool:
    """Whether a picture has a red pixel in it."""
    data = picture(response).tobytes()
    return any(red > blue + 60 for red, blue in zip(data[::3], data[2::3], strict=True))


def test_a_cart_is_told_as_json_with_the_catalogues_word_over_the_events(serving: Serving) -> None:
    """Prices are of now, what they were is said where they fell, and what is sold out comes last and costs nothing."""
    lines = [line("gone"), line("vase", 80.0, quantity=3.0), line("mug", 0.1, quantity=3.0, url="javascript:alert(1)")]
    put(serving.redis_url, "teller", lines)
    sell(serving.redis_url, "gone", stock=-1)
    sell(serving.redis_url, "vase", name="Vase, tall", price=60.5, currency="EUR", url="https://w.example/vase")
    told = serving.http.get(f"/c/{cart_token('teller')}/cart.json").json()
    assert told["state"] == "open"
    assert [(i["name"], i["price"], i["price_before"], i["sold_out"]) for i in told["items"]] == [
        ("Vase, tall", 60.5, 80.0, False),
        ("Mug", 0.1, None, False),
        ("Gone", 50.0, None, True),
    ]
    assert told["items"][0]["url"] == "https://w.example/vase"
    assert told["items"][1]["url"] == "", "what events say is no link unless it is one"
    assert (told["total"], told["currency"]) == (181.8, "EUR"), "added up in decimals"


def test_there_is_no_total_rather_than_a_wrong_one(serving: Serving) -> None:
    """A price that nobody told, or two currencies."""
    put(serving.redis_url, "unpriced", [line("shoes"), line("riddle", None)])
    put(serving.redis_url, "mixed", [line("shoes"), line("import")])
    sell(serving.redis_url, "import", price=40, currency="USD")
    for user in ("unpriced", "mixed"):
        told = serving.http.get(f"/c/{cart_token(user)}/cart.json").json()
        assert told["total"] is None
        assert told["items"][1]["price_before"] is None, "40 dollars are not less than 50 euros"
        picture(serving.http.get(f"/c/{cart_token(user)}/cart.png"))


def test_an_empty_cart_and_an_order_are_said_kindly(serving: Serving) -> None:
    """Each in its own words; after an order there are thanks instead of a reminder."""
    put(serving.redis_url, "empty", [])
    put(serving.redis_url, "buyer", [], orders=2)
    states = {user: serving.http.get(f"/c/{cart_token(user)}/cart.json").json()["state"] for user in ("empty", "buyer")}
    assert states == {"empty": "empty", "buyer": "ordered"}
    assert "Thank you for your order" in serving.http.get(f"/c/{cart_token('buyer')}/cart.html").text
    empty, buyer = (serving.http.get(f"/c/{cart_token(user)}/cart.png") for user in ("empty", "buyer"))
    assert empty.content != buyer.content
    assert darkest(picture(empty)) < 60


def test_unknown_people_deleted_people_and_old_emails_get_one_and_the_same_answer(serving: Serving) -> None:
    """No picture is broken in anybody's inbox, and none says which of these it is."""
    put(serving.redis_url, "erased", [line("shoes")], **{f"{MARK}1": "now"})
    put(serving.redis_url, "keeper", [line("shoes")])
    tokens = [cart_token("nobody"), cart_token("erased"), cart_token("keeper", expires=int(time.time()) - 1)]
    for kind in ("cart.png", "cart.json", "cart.html"):
        answers = [serving.http.get(f"/c/{token}/{kind}") for token in tokens]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert len({tuple(answer.headers.items()) for answer in answers}) == 1
    assert darkest(picture(serving.http.get(f"/c/{tokens[0]}/cart.png"))) < 60


def test_what_is_not_ours_is_answered_as_any_path_that_leads_nowhere(serving: Serving) -> None:
    """Forged, cut off, sealed for something else, or by a stranger: one answer, and no hint which."""
    ours = cart_token("keeper")
    forged = [
        ours[:-1] + ("A" if ours[-1] != "A" else "B"),
        ours[:64],
        leaving_token("keeper"),
        cart_token("keeper", seals=Seals(["a stranger's secret, 0123456789"])),
        "x",
        "%00",
        "A" * 9000,
    ]
    nowhere = serving.http.get("/no/such/path")
    assert nowhere.status_code == 404
    for token in forged:
        for kind in ("cart.png", "cart.json", "cart.html", "price.png", "countdown.png"):
            answer = serving.http.get(f"/c/{token}/{kind}")
            assert (answer.status_code, answer.content) == (404, nowhere.content), (token, kind)
            assert dict(answer.headers) == dict(nowhere.headers)


def test_a_link_of_the_secret_before_still_works(serving: Serving) -> None:
    """While both are given."""
    put(serving.redis_url, "rotated", [line("shoes")])
    token = cart_token("rotated", seals=Seals([OLD_SECRET]))
    assert serving.http.get(f"/c/{token}/cart.json").json()["state"] == "open"


def test_a_price_is_of_now(serving: Serving) -> None:
    """The email's until the catalogue says something else, then that, then that there are none left."""
    url, seen = f"/c/{price_token('kettle', 30.0)}/price.png", []
    for told in ({}, {"price": 25, "currency": "EUR"}, {"price": 35}, {"stock": 0}):
        if told:
            sell(serving.redis_url, "kettle", **told)
        seen.append(serving.http.get(url))
    assert len({answer.content for answer in seen}) == 4
    assert [is_coloured(answer) for answer in seen] == [False, True, False, False]
    assert picture(seen[0]).size == (480, 64)
    old = serving.http.get(f"/c/{price_token('kettle', 30.0, expires=1)}/price.png")
    assert darkest(picture(old)) < 160, "it says to look in the shop"
    assert old.content not in {answer.content for answer in seen}


def test_a_countdown_goes_on(serving: Serving) -> None:
    """What it says is checked below; here that it is a picture, and another once it is over."""
    now = int(time.time())
    running, over = (
        serving.http.get(f"/c/{SEALS.seal(Purpose.COUNTDOWN, Link(until=until))}/countdown.png")
        for until in (now + 100_000, now - 1)
    )
    assert picture(running).width == WIDTH
    assert running.content != over.content


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (2 * DAY + 3 * HOUR + MINUTE, "2 days 3 hours left"),
        (DAY, "1 day left"),
        (DAY - 1, "23 hours 59 minutes left"),
        (HOUR + MINUTE, "1 hour 1 minute left"),
        (5 * MINUTE + 59 * SECOND, "5 minutes left"),
        (MINUTE - 1, "Less than a minute left"),
        (0, "This has ended"),
        (-DAY, "This has ended"),
    ],
)
def test_a_countdown_never_says_more_than_there_is(rest: int, said: str) -> None:
    """Rounded down, two units."""
    until = 1_800_000_000
    assert left(Link(until=until), until * SECOND - rest) == said


def test_no_answer_is_kept_by_a_proxy_as_if_it_were_true_later(serving: Serving) -> None:
    """Gmail's keeps what does not forbid it for a day or more; pages are nobody's to keep."""
    put(serving.redis_url, "cached", [line("shoes")])
    for kind in ("cart.png", "cart.json"):
        held = serving.http.get(f"/c/{cart_token('cached')}/{kind}").headers["cache-control"]
        assert {"no-cache", "max-age=0", "must-revalidate"} <= set(held.split(", "))
    assert serving.http.get(f"/c/{cart_token('cached')}/cart.html").headers["cache-control"] == "no-store"


def test_no_answer_says_whose_it_is(serving: Serving) -> None:
    """Not the address, the body, a header or the log, decoded or not; nor is anything set or sent elsewhere."""
    user = "user-4711-of-the-leak-test"
    put(serving.redis_url, user, [line("shoes")], traits=json.dumps({"email": EMAIL, "name": "Ann Leaky"}))
    cart, leaving = cart_token(user), leaving_token(user)
    asked = [("GET", f"/c/{cart}/cart.{kind}") for kind in ("png", "json", "html")]
    asked += [("HEAD", f"/c/{cart}/cart.png"), ("POST", f"/c/{cart}/cart.png"), ("GET", f"/c/{cart}x/cart.json")]
    asked += [("GET", f"/u/{leaving}"), ("POST", f"/u/{leaving}"), ("GET", f"/u/{leaving}x"), ("GET", "/readyz")]
    secrets = [user, "4711", EMAIL, "ann.of-the-tests", "Leaky", TRIGGER_ID]
    for method, path in asked:
        answer = serving.http.request(method, path)
        said = answer.content + str(answer.headers).encode() + path.encode()
        said += b"".join(
            base64.urlsafe_b64decode(part) for part in re.findall(r"[\w-]{64,}", path) if len(part) % 4 == 0
        )
        for secret in secrets:
            assert secret.encode() not in said, (method, path, secret)
        assert "set-cookie" not in answer.headers
        assert (
            answer.status_code in {404, 405} or path == "/readyz" or answer.headers["referrer-policy"] == "no-referrer"
        )
    log = serving.log()
    for secret in [*secrets, cart, leaving]:
        assert secret not in log


def test_a_profile_that_makes_no_sense_breaks_no_email(serving: Serving) -> None:
    """Whatever else wrote into this Redis."""
    for number, cart in enumerate(("{", "[1]", '[{"product_id":null}]', '[{"product_id":"x","price":"dear"}]')):
        put(serving.redis_url, f"odd-{number}", [], cart=cart)
        assert darkest(picture(serving.http.get(f"/c/{cart_token(f'odd-{number}')}/cart.png"))) < 60
    with redis.Redis.from_url(serving.redis_url) as client:
        client.set(profile_key("default", "odd-type"), "no hash")
    assert darkest(picture(serving.http.get(f"/c/{cart_token('odd-type')}/cart.png"))) < 60


def test_a_page_shows_names_as_text(serving: Serving) -> None:
    """A product's name is what anybody with a write key says it is."""
    put(
        serving.redis_url,
        "xss",
        [line("x", name="<script>alert(1)</script>", variant='"><b>', url="https://w.example/?a=1&b=<")],
    )
    answer = serving.http.get(f"/c/{cart_token('xss')}/cart.html")
    assert "<script" not in answer.text
    assert '"><b>' not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Wick &amp; Co" in answer.text


def test_redis_that_goes_away_breaks_no_email_and_comes_back(tmp_path: Path) -> None:
    """A picture that is always true instead of an error, which proxies keep for weeks; JSON says 503."""
    port = redis_server.free_port()
    with redis_server.running(tmp_path / "redis", port) as url:
        serving = Serving(url, tmp_path)
        put(url, "patient", [line("shoes")])
        path = f"/c/{cart_token('patient')}"
        shown = serving.http.get(f"{path}/cart.png").content
        nothing = serving.http.get(f"/c/{cart_token('nobody')}/cart.png").content
    try:
        for _ in range(2):
            assert serving.http.get(f"{path}/cart.png").content == nothing
        picture(serving.http.get(f"/c/{price_token('shoes', 5.0)}/price.png"))
        told = serving.http.get(f"{path}/cart.json")
        assert (told.status_code, told.headers["retry-after"]) == (503, "2")
        assert serving.http.get("/readyz").status_code == 503
        assert serving.http.get("/healthz").status_code == 200
        with redis_server.running(tmp_path / "redis", port):
            assert serving.http.get(f"{path}/cart.png").content == shown
    finally:
        assert serving.stop() == 0, serving.log()
    assert serving.log().count("cannot be read") == 1, "said once, not for every email"


def drawn(item: Item, locale: str = "en_US") -> Any:
    """Draw a cart of one line."""
    return Pictures(TYPEFACE, locale).cart(Shown(State.OPEN, (item,), None, "EUR"))


ITEM = Item("Shoes", "", 1.0, 50.0, None, "EUR", "", "", is_sold_out=False)


@pytest.mark.parametrize(
    "name",
    [
        "x" * 5000,
        "Ångström " * 100,
        "שלום עולם",
        "حذاء",
        "日本の靴",
        "👟" * 50,
        "",
        "\u202e\x00\x1b[31m",
        "e\u0301" * 300,
        "\ud800",
    ],
)
def test_any_name_can_be_drawn_and_none_makes_the_picture_larger(name: str) -> None:
    """Cut where it is too long, left out where there is no letter for it; the height is the same."""
    assert picture(
        httpx.Response(200, content=drawn(ITEM._replace(name=name)), headers={"content-type": "image/png"})
    ).size == (
        WIDTH,
        (52 + 60) * 2,
    )


def test_what_the_typeface_has_no_letter_for_is_left_out() -> None:
    """Boxes say nothing. A name of which nothing is left is an item; a text that turns the rest around does not."""
    assert TYPEFACE.drawable("日本 Running\u202e shoe\x07  X1") == "Running shoe X1"
    assert drawn(ITEM._replace(name="日本の靴")) == drawn(ITEM._replace(name="Item"))


def test_money_is_written_as_the_locale_does() -> None:
    """And without a currency as a number."""
    assert money(1234.5, "EUR", "de_DE").replace("\xa0", " ") == "1.234,50 €"
    assert money(1234.5, "JPY", "en-US") == "¥1,234"
    assert money(1234.5, "", "en_US") == "1,234.50"
    assert drawn(ITEM) != drawn(ITEM, "de_DE")


def test_more_lines_than_fit_are_counted() -> None:
    """Ten, and how many more there are."""
    pictures = Pictures(TYPEFACE, "en_US")
    ten, many = (pictures.cart(Shown(State.OPEN, (ITEM,) * count)) for count in (10, 50))
    assert ten != many
    response = httpx.Response(200, content=many, headers={"content-type": "image/png"})
    assert picture(response).height == (52 + 10 * 60 + 56) * 2


def test_what_is_drawn_once_is_kept_within_bounds() -> None:
    """A million carts of a hundred thousand products go through here."""
    pictures = Pictures(TYPEFACE, "en_US", most_bytes=40_000)
    first = pictures.cart(Shown(State.OPEN, (ITEM,)))
    drawn_then = pictures.drawn
    assert pictures.cart(Shown(State.OPEN, (ITEM,))) == first
    assert pictures.drawn == drawn_then
    for number in range(40):
        pictures.cart(Shown(State.OPEN, (ITEM._replace(name=f"Shoe {number}"),)))
    assert pictures.kept_bytes <= 40_000
    assert pictures.cart(Shown(State.OPEN, (ITEM,))) == first


def test_a_missing_or_short_secret_is_said_in_a_line() -> None:
    """With what to do, and without the secret."""
    for given in (
        Settings(),
        Settings(content_secret=SecretStr(" , ")),
        Settings(content_secret=SecretStr("tiny-one")),
    ):
        with pytest.raises(ValueError, match=r"^WAXMARK_CONTENT_SECRET: .*openssl rand") as refused:
            seals_of(given)
        assert "tiny" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("shop_url", "w.example", "--shop-url"),
        ("currency", "euro", "--currency"),
        ("locale", "xx_nowhere", "--locale"),
        ("font", Path("README.md"), "README.md"),
    ],
)
def test_an_option_that_is_wrong_is_said_before_anything_is_served(
    option: str, value: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a line."""
    monkeypatch.setenv("WAXMARK_CONTENT_SECRET", OLD_SECRET)
    with pytest.raises(ValueError, match=said):
        content(**{option: value})


def test_the_command_has_help_with_an_example() -> None:
    """Nobody should have to read the code."""
    done = subprocess.run(
        [sys.executable, "-c", START, "content", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert "Example" in done.stdout
    assert "WAXMARK_CONTENT_SECRET" in done.stdout
