"""What may be set about a provider: what is refused before anything is sent, and what is made of the rest."""

import asyncio
import hashlib
import hmac
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter, ValidationError

from connectors.delivery_file import load
from connectors.delivery_model import Shop
from connectors.esp.opening import mailbox, opened, vendor
from connectors.esp.options import Provider, SmtpOptions
from connectors.esp.smtp import Security
from state.letters import Answer, Email, Letter, Verdict
from tests.delivery.lettering import NOON, trigger
from tests.esp.http_server import VendorServer, serving
from tests.esp.mail_server import MailServer
from tests.esp.mail_server import serving as serving_mail
from tests.esp.test_smtp import KEYS

SHOP = Shop.model_validate({"from": "The Shop <hello@shop.example>", "reply_to": "help@shop.example"})
LETTER = Letter(trigger("ann"), "ann@example.com", {}, Email("Your cart", "<p>Shoes</p>", "Shoes"))
KEY = {"api_key": "k-1"}
SOUND: dict[str, dict[str, Any]] = {
    "smtp": {"host": "mail.example"},
    "webhook": {"url": "https://esp.example/send"},
    "sendgrid": KEY,
    "braze": {**KEY, "url": "https://rest.iad-01.braze.com"},
    "customerio": {**KEY, "site_id": "site"},
    "klaviyo": KEY,
    "resend": KEY,
    "sparkpost": KEY,
}
_provider: TypeAdapter[Provider] = TypeAdapter(Provider)


def read(kind: str, **settings: Any) -> Provider:
    """Read a provider's settings as a delivery file gives them."""
    return _provider.validate_python({"type": kind, **SOUND[kind], **settings})


def refused(kind: str, **settings: Any) -> str:
    """Say why settings are refused."""
    with pytest.raises(ValidationError) as failure:
        read(kind, **settings)
    (error,) = failure.value.errors()
    return f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}"


@pytest.mark.parametrize("kind", SOUND)
def test_little_needs_to_be_set(kind: str) -> None:
    """A key, or an address; and the keys' window is never outlived by the attempts."""
    options = read(kind)
    assert (options.rate, options.concurrency, options.timeout, options.give_up_after) == (50.0, 16, 30.0, 14_400.0)
    assert options.remembers == 0 or options.give_up_after < options.remembers


@pytest.mark.parametrize("kind", SOUND)
def test_what_is_said_of_keys_is_what_the_provider_does(kind: str) -> None:
    """The horizon is checked against the same figure as the dispatcher asks again by."""

    async def run() -> None:
        for settings in ({}, {"transactional": True}) if kind == "braze" else ({},):
            options = read(kind, **settings)
            async with aiohttp.ClientSession() as session:
                provider = opened(options, SHOP, session, lambda: NOON)
                assert provider.remembers == options.remembers
                await provider.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("resend", {"give_up_after": "1d"}),
        ("sparkpost", {"give_up_after": 82_800}),
        ("braze", {"transactional": True, "give_up_after": "2d"}),
        ("customerio", {"give_up_after": "24h"}),
        ("klaviyo", {"give_up_after": "24h"}),
        ("webhook", {"key_header": "X-Id", "knows_keys_for": "1h"}),
    ],
)
def test_nothing_is_tried_for_longer_than_its_key_is_known(kind: str, settings: dict[str, Any]) -> None:
    """A lost answer could not be asked about any more, and a second email would go out."""
    assert "give_up_after" in refused(kind, **settings)


def test_without_keys_there_is_no_such_end() -> None:
    """What is tried again then was surely not accepted."""
    assert read("braze", give_up_after="3d").give_up_after == 3 * 86_400
    assert read("smtp", give_up_after=0.5).give_up_after == 0.5


@pytest.mark.parametrize(
    ("kind", "settings", "field"),
    [
        ("smtp", {"rate": 0}, "rate"),
        ("smtp", {"rate": "fast"}, "rate"),
        ("smtp", {"concurrency": 0}, "concurrency"),
        ("smtp", {"concurrency": 1.5}, "concurrency"),
        ("smtp", {"timeout": "soon"}, "timeout"),
        ("smtp", {"timeout": 0}, "timeout"),
        ("smtp", {"timeout": float("nan")}, "timeout"),
        ("smtp", {"burst": 0}, "burst"),
        ("smtp", {"host": "mail example"}, "host"),
        ("smtp", {"port": 70_000}, "port"),
        ("smtp", {"security": "ssl"}, "security"),
        ("smtp", {"username": "shop"}, "username and password"),
        ("smtp", {"username": "shop", "password": "x", "security": "none"}, "in the clear"),
        ("smtp", {"bounces_to": "nobody"}, "bounces_to"),
        ("smtp", {"tls": True}, "tls"),
        ("smtp", {"dkim": {"domain": "shop.example", "selector": "s1", "private_key": "odd"}}, "PEM"),
        ("smtp", {"dkim": {"domain": "shop.example", "private_key": "x"}}, "selector"),
        ("sendgrid", {"api_key": ""}, "api_key"),
        ("sendgrid", {"api_key": "k\r\nX-Other: 1"}, "api_key"),
        ("sendgrid", {"url": "ftp://api.example"}, "url"),
        ("sendgrid", {"url": "api.example"}, "url"),
        ("klaviyo", {"revision": "latest"}, "revision"),
        ("klaviyo", {"identify_by": "phone"}, "identify_by"),
        ("webhook", {"url": "esp.example/send"}, "url"),
        ("webhook", {"url": "https://{{ to }}/send"}, "url"),
        ("webhook", {"url": "https://esp.{% echo to %}/send"}, "url"),
        ("webhook", {"url": "{{ profile.traits.url }}"}, "url"),
        ("webhook", {"url": "https://esp.example/{{ to"}, "url"),
        ("webhook", {"body": "{% for x in items %}"}, "body"),
        ("webhook", {"body": "{{ to | nothing }}"}, "body"),
        ("webhook", {"body": "{% cycle to, 'b' %}"}, "body"),
        ("webhook", {"body": "{% capture x %}{{ to }}{% endcapture %}"}, "body"),
        ("webhook", {"body": "{% include 'secrets' %}"}, "body"),
        ("webhook", {"headers": {"X-A": "a\nX-B: b"}}, "headers"),
        ("webhook", {"headers": {"X A": "a"}}, "headers"),
        ("webhook", {"headers": {"Content-Length": "5"}}, "headers"),
        ("webhook", {"headers": {"authorization": "a"}, "token": "t"}, "token"),
        ("webhook", {"method": "GET"}, "method"),
        ("webhook", {"method": "PUT"}, "method PUT"),
        ("webhook", {"knows_keys_for": "1d", "body": "{}"}, "key_header"),
    ],
)
def test_a_slip_is_found_before_anything_is_sent(kind: str, settings: dict[str, Any], field: str) -> None:
    """Not by the first customers."""
    assert field in refused(kind, **settings)


@pytest.mark.parametrize("kind", ["smtp", "sendgrid", "customerio", "webhook"])
def test_a_secret_is_never_shown(kind: str) -> None:
    """Settings are logged, and stand in errors."""
    secrets: dict[str, dict[str, Any]] = {
        "smtp": {
            "username": "shop",
            "password": "hush-1",
            "dkim": {"domain": "shop.example", "selector": "s1", "private_key": KEYS["rsa"][0]},
        },
        "sendgrid": {"api_key": "hush-1"},
        "customerio": {"api_key": "hush-1"},
        "webhook": {"token": "hush-1", "secret": "hush-1"},
    }
    shown = repr(read(kind, **secrets[kind]))
    assert "hush-1" not in shown
    assert "PRIVATE KEY" not in shown


def test_a_mailbox_is_the_shops_unless_it_is_said_otherwise() -> None:
    """Ports follow from the security; bounces come back to the shop."""
    options = read("smtp")
    assert isinstance(options, SmtpOptions)
    where = mailbox(options, SHOP)
    assert (where.port, where.sender, where.domain, where.security) == (
        587,
        "hello@shop.example",
        "shop.example",
        Security.STARTTLS,
    )
    assert (where.from_, where.reply_to) == ("The Shop <hello@shop.example>", "help@shop.example")
    other = read("smtp", security="tls", bounces_to="b@mx.shop.example", message_id_domain="mx.shop.example")
    assert isinstance(other, SmtpOptions)
    where = mailbox(other, SHOP)
    assert (where.port, where.sender, where.domain) == (465, "b@mx.shop.example", "mx.shop.example")


def test_a_key_in_one_line_signs() -> None:
    """Environments hold line breaks badly; a backslash and an n stand for them."""
    dkim = {"domain": "shop.example", "selector": "s1", "private_key": KEYS["ed25519"][0].replace("\n", "\\n")}
    options = read("smtp", dkim=dkim)
    assert isinstance(options, SmtpOptions)
    assert options.dkim is not None
    signed = options.dkim.signer().signed(b"From: a@shop.example\r\n\r\nhello\r\n", 1)
    assert signed.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")


def test_mail_servers_are_not_spoken_to_over_http() -> None:
    """And the one who tries is told."""
    with pytest.raises(TypeError, match="SMTP"):
        vendor(read("smtp"), SHOP, lambda: NOON)


def test_a_letter_goes_out_by_mail_and_by_http_as_the_file_says() -> None:
    """From settings to servers that are real."""
    mail, http = MailServer(), VendorServer()

    async def run(port: int) -> list[Answer]:
        async with serving(http) as session:
            providers = [
                opened(options, SHOP, session, lambda: NOON)
                for options in (
                    read("smtp", host="127.0.0.1", port=port, security="none"),
                    read("webhook", url=f"{http.url}/send"),
                    read("sendgrid", url=f"{http.url}/"),
                )
            ]
            answers = [await provider.send(LETTER) for provider in providers]
            for provider in providers:
                await provider.close()
            return answers

    with serving_mail(mail) as port:
        answers = asyncio.run(run(port))
    assert [answer.verdict for answer in answers] == [Verdict.ACCEPTED] * 3
    (message,) = mail.messages()
    assert (message["From"], message["Reply-To"]) == ("The Shop <hello@shop.example>", "help@shop.example")
    assert [call.path for call in http.calls] == ["/send", "/v3/mail/send"]


DOCUMENT = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()


def example(language: str) -> str:
    """Take the document's example in a language."""
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found
    return found[1]


def test_the_documents_example_is_a_delivery_file(tmp_path: Path) -> None:
    """With one provider of each kind: whoever copies a part of it has something that works."""
    text = example("yaml")
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x")
    environment["DKIM_KEY"] = KEYS["rsa"][0].replace("\n", "\\n")
    file = tmp_path / "delivery.yaml"
    file.write_text(f"shop: {{from: hello@shop.example}}\ndefault: mail\n{text}")
    assert {options.type for options in load(file, environment).providers.values()} == set(SOUND)


def test_the_documents_receiver_knows_our_calls() -> None:
    """And nobody else's: another secret, another body, an hour late."""
    names: dict[str, Any] = {"hmac": hmac, "hashlib": hashlib}
    exec(example("python"), names)  # noqa: S102 - the document's own example
    request = vendor(read("webhook", secret="s3cret"), SHOP, lambda: NOON).request(LETTER)  # noqa: S106
    header, now = request.headers["Waxmark-Signature"], NOON / 1_000_000
    is_waxmark = names["is_waxmark"]
    assert is_waxmark(header, request.body, b"s3cret", now)
    assert not is_waxmark(header, request.body, b"other", now)
    assert not is_waxmark(header, request.body + b" ", b"s3cret", now)
    assert not is_waxmark(header, request.body, b"s3cret", now + 3600)
