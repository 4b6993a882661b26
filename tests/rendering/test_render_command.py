"""`waxmark render`: a look before anybody gets it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from cli.render import BROWSERS, browser, render
from connectors.redis_profiles import profile_key
from rendering.template_folder import BUILT_IN
from tests.rendering.samples import product, trigger


@pytest.fixture
def _chromium() -> None:
    try:
        browser()
    except ValueError as none:
        if os.environ.get("CI") == "true":
            pytest.fail(str(none))
        pytest.skip(str(none))


def test_without_a_user_somebody_is_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A template can be looked at before there is a shop."""
    for template in sorted(file.stem for file in BUILT_IN.glob("*.mjml")):
        render(template, out=tmp_path / "x.html")
        said = capsys.readouterr().out
        assert said.startswith("Subject: ")
        assert "Unsubscribe: https://mail.example/unsubscribe" in said
        assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")


def test_a_user_is_read_from_redis_with_the_cart_of_now(
    client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As whoever composes an email reads it."""
    monkeypatch.setenv("WAXMARK_REDIS", redis_url)
    fields = {"traits": '{"firstName":"Zoë"}', "email": "z@example.com", "cart": json.dumps([product(3)])}
    client.hset(profile_key("default", "zoe"), mapping=fields)
    render("cart-abandonment", user="zoe")
    said = capsys.readouterr().out
    assert "Subject: Oak Bowl: still in your cart" in said
    assert "Still thinking it over, Zoë?" in said
    with pytest.raises(ValueError, match=r"no profile of nobody \(tenant default\)"):
        render("cart-abandonment", user="nobody")
    client.hset(profile_key("default", "zoe"), "cart", "[]")
    with pytest.raises(
        ValueError, match="cart-abandonment: items is required and missing: this email would not be sent"
    ):
        render("cart-abandonment", user="zoe")


def test_a_trigger_is_taken_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of `waxmark triggers`."""
    file = tmp_path / "trigger.json"
    file.write_bytes(msgspec.json.encode(trigger(product(1, name="Red Hat"))))
    render("cart-abandonment", trigger=file)
    assert "Subject: Red Hat: still in your cart" in capsys.readouterr().out
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"trigger\.json: no trigger: Object missing required field"):
        render("cart-abandonment", trigger=file)


@pytest.mark.usefixtures("_chromium")
@pytest.mark.parametrize("width", [375, 640])
def test_a_picture_is_as_wide_as_asked_and_as_high_as_the_email(tmp_path: Path, width: int) -> None:
    """A window of Chromium is never as narrow as a phone; the picture is."""
    render("welcome", png=tmp_path / "x.png", width=width)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width == width
        assert 400 < picture.height < 1_000
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 20) or []) > 20


def test_without_a_browser_it_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else is done."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=f"--png needs Chromium, and none is installed .{BROWSERS[0]}") as said:
        render("welcome", out=tmp_path / "x.html", png=tmp_path / "x.png")
    assert "\n" not in str(said.value)
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"template": "no-such"}, r"templates/no-such\.mjml: No such file or directory"),
        ({"template": "../README"}, "is no name of a template"),
        ({"template": "welcome", "width": 10}, "--width: 10 is not within 240 and 2000"),
        ({"template": "welcome", "templates": Path("docs")}, r"docs/shop\.yaml: No such file"),
    ],
)
def test_what_goes_wrong_is_a_line(arguments: dict[str, Any], said: str) -> None:
    """A ValueError, as the command line prints them."""
    with pytest.raises(ValueError, match=said) as error:
        render(**arguments)
    assert "\n" not in str(error.value)


def test_it_renders_without_the_engine_and_the_models() -> None:
    """A preview should not wait for what it does not need."""
    code = "import sys, cli.render; print(sorted({'river', 'confluent_kafka', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
