"""The delivery file: what a shop may write, what it is told when it is wrong, and that no secret is ever shown."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.campaign_file import load as load_campaigns
from connectors.delivery_file import CampaignFileError, json_schema, load
from connectors.delivery_model import Delivery, kinds
from connectors.esp.options import SmtpOptions
from rendering.template_folder import shop_of, template_folder

ROOT: Final = Path(__file__).parents[2]
SHORTEST: Final = """\
shop:
  from: hello@shop.example
providers:
  mail:
    type: smtp
    host: mail.example
default: mail
"""
SECRETS: Final = {"MAIL_PASSWORD": "correct horse battery staple"}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a delivery file into the working directory, where it is called by its bare name."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        path = Path("delivery.yaml")
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return to_file


@pytest.fixture
def mail(write: Write) -> Callable[..., Delivery]:
    """Load the shortest file with further lines in its one provider."""

    def with_lines(lines: str, environment: Mapping[str, str] = SECRETS) -> Delivery:
        more = "".join(f"    {line}\n" for line in dedent(lines).strip().splitlines())
        return load(write(SHORTEST.replace("default:", f"{more}default:")), environment)

    return with_lines


def refused(load_it: Callable[[], object]) -> list[str]:
    """Load what must be refused, and give the lines of the refusal."""
    with pytest.raises(CampaignFileError) as refusal:
        load_it()
    return str(refusal.value).splitlines()


def test_the_shipped_file_needs_no_secret_and_sends_to_this_machine() -> None:
    """A first start must not need an account, and must not write to people either."""
    shipped = load(ROOT / "delivery.yaml", {})
    provider = shipped.providers[shipped.default]
    assert isinstance(provider, SmtpOptions)
    assert provider.host == "127.0.0.1"
    assert shipped.content is None


def test_the_shipped_file_is_still_one_with_its_examples_in_force(write: Write) -> None:
    """What is commented out is what people put in force first."""
    text = (ROOT / "delivery.yaml").read_text()
    head, body = text.split("\nshop:\n", 1)
    assert head.startswith("# yaml-language-server: $schema=schemas/delivery.schema.json\n")
    in_force = re.sub(r"^(\s*)# (\s*[a-z_]+:( \S+)?)$", r"\1\2", "shop:\n" + body, flags=re.MULTILINE)
    assert in_force.count("#") < body.count("#")
    variables = re.findall(r"\$\{(\w+)}", in_force)
    environment = {name: "https://shop.example" if "URL" in name else "a-secret-of-ours" for name in variables}
    loaded = load(write(in_force), environment)
    assert loaded.content is not None
    assert loaded.campaigns
    assert loaded.strangers(campaign.id for campaign in load_campaigns(ROOT / "campaigns.yaml")) == []
    assert loaded.shop.texts == {"cart_url": "https://shop.example/basket"}


def test_the_shortest_file_sends_every_campaign_to_its_one_provider(write: Write) -> None:
    """Where nothing is said there is the default."""
    delivery = load(write(SHORTEST), {})
    assert delivery.provider_for("cart_abandonment") == "mail"
    assert (delivery.shop.from_, delivery.shop.reply_to) == ("hello@shop.example", None)
    assert delivery.content is None


def test_a_campaign_may_go_to_a_provider_of_its_own(write: Write) -> None:
    """And the others stay where they are; a campaign that there is not is found out."""
    text = SHORTEST + "campaigns:\n  win_back: second\n  winback: second\n"
    text = text.replace("default: mail", "  second:\n    type: smtp\n    host: other.example\ndefault: mail")
    delivery = load(write(text), {})
    assert [delivery.provider_for(each) for each in ("cart_abandonment", "win_back")] == ["mail", "second"]
    assert delivery.strangers(["cart_abandonment", "win_back"]) == ["winback"]


def test_the_shops_texts_go_over_those_of_the_templates(write: Write) -> None:
    """Previews read shop.yaml alone; a deployment says what is different there, and repeats nothing."""
    shop = shop_of(template_folder(ROOT / "templates"))
    assert load(write(SHORTEST), {}).shop.over(shop) == shop
    own = (
        "  name: Lark\n  url: ${SITE}\n  texts:\n    promise_1: Returns within ${DAYS} days\n    cart_url: ${SITE}/c\n"
    )
    text = SHORTEST.replace("providers:", f"{own}providers:", 1)
    site = "https://lark.example"
    merged = load(write(text), {"SITE": site, "DAYS": "60"}).shop.over(shop)
    assert merged == {
        **shop,
        "name": "Lark",
        "url": site,
        "cart_url": f"{site}/c",
        "promise_1": "Returns within 60 days",
    }


def test_a_secret_comes_from_the_environment(mail: Callable[..., Delivery]) -> None:
    """And is not shown where the settings are."""
    delivery = mail("username: shop\npassword: ${MAIL_PASSWORD}")
    provider = delivery.providers["mail"]
    assert isinstance(provider, SmtpOptions)
    assert provider.password is not None
    assert provider.password.get_secret_value() == SECRETS["MAIL_PASSWORD"]
    assert SECRETS["MAIL_PASSWORD"] not in repr(delivery)


def test_a_secret_that_is_written_out_is_refused_and_not_repeated(mail: Callable[..., Delivery]) -> None:
    """Files are copied, mailed and committed; so are messages."""
    lines = refused(lambda: mail("username: shop\npassword: hunter2hunter2"))
    assert lines == [
        "delivery.yaml:8: providers.mail.password: is a secret; write ${NAME} here and set the variable of that name"
    ]


@pytest.mark.parametrize("written", ["12345678", "[a, b]", "{a: b}", "'$${NAME}'", "true"])
def test_no_other_form_of_a_literal_secret_gets_through(mail: Callable[..., Delivery], written: str) -> None:
    """A number is a password too, and an escaped variable is none."""
    lines = refused(lambda: mail(f"username: shop\npassword: {written}"))
    assert lines
    for line in lines:
        assert line.startswith("delivery.yaml:8: providers.mail.password")
        assert "12345678" not in line


def test_a_secret_deep_within_is_one_too(mail: Callable[..., Delivery]) -> None:
    """The key that signs emails."""
    key = (
        "dkim:\n  domain: shop.example\n  selector: s1\n  private_key: |\n    -----BEGIN PRIVATE KEY-----\n    MC4CAQ\n"
    )
    [line] = refused(lambda: mail(key))
    assert line.startswith("delivery.yaml:10: providers.mail.dkim.private_key: is a secret; write ${NAME}")
    assert "MC4CAQ" not in line


@pytest.mark.parametrize(("environment", "state"), [({}, "is not set"), ({"MAIL_PASSWORD": ""}, "is empty")])
def test_a_variable_that_is_not_there_is_one_line(
    mail: Callable[..., Delivery], environment: dict[str, str], state: str
) -> None:
    """An empty secret, as a mount that failed leaves it, would be found out by refusals, one for each email."""
    lines = refused(lambda: mail("username: shop\npassword: ${MAIL_PASSWORD}", environment))
    assert lines == [f"delivery.yaml:8: providers.mail.password: the environment's MAIL_PASSWORD {state}"]


def test_what_is_in_a_variable_is_never_shown_when_it_is_wrong(write: Write) -> None:
    """It may be a secret that was put under a wrong name."""
    text = SHORTEST.replace("hello@shop.example", "${SENDER}").replace(
        "host: mail.example", "host: a\n    port: ${PORT}"
    )
    lines = refused(lambda: load(write(text), {"SENDER": "s3cr3t one", "PORT": "s3cr3t two"}))
    assert len(lines) == 2
    assert all("s3cr3t" not in line for line in lines)
    assert lines[0].startswith('delivery.yaml:2: shop.from: "${SENDER}" is not an address')


def test_two_dollars_are_one_and_no_variable(write: Write) -> None:
    """A price has a dollar, and a name may have braces."""
    text = SHORTEST.replace("providers:", "  name: $$ $5 $${NAME} $\n  url: https://shop.example/$1\nproviders:", 1)
    shop = load(write(text), {}).shop
    assert (shop.name, shop.url) == ("$$ $5 ${NAME} $", "https://shop.example/$1")


@pytest.mark.parametrize("written", ["${", "${}", "${A B}", "${A-B}", "a ${A"])
def test_half_a_variable_is_a_slip(write: Write, written: str) -> None:
    """Sent as it stands, people would read it."""
    text = SHORTEST.replace("providers:", f'  name: "{written}"\nproviders:', 1)
    [line] = refused(lambda: load(write(text), {"A": "x", "B": "y"}))
    assert line.startswith("delivery.yaml:3: shop.name: has ${ without a variable's name and } after it")


def test_a_variable_brings_text_and_no_yaml(write: Write) -> None:
    """What a variable holds cannot add fields, variables or lines."""
    text = SHORTEST.replace("providers:", "  name: ${NAME}\nproviders:", 1)
    held = "x, reply_to: ${OTHER} # {a: b}"
    assert load(write(text), {"NAME": held, "OTHER": "y"}).shop.name == held
    [line] = refused(lambda: load(write(text), {"NAME": "Lark\nBcc: everybody@example.com"}))
    assert line.startswith('delivery.yaml:3: shop.name: "${NAME}" is more than one line')


def test_everything_that_is_wrong_is_said_at_once_with_its_line(write: Write) -> None:
    """One start, one list."""
    text = """\
        shop:
          form: hello@shop.example
          url: shop.example
        content:
          url: http://mail.shop.example
        provider: {}
        providers:
          Mail:
            type: smtp
            host: mail.example
          second:
            type: sntp
          third:
            host: mail.example
          fourth:
            type: smtp
            hots: mail.example
            port: 99999
            dkim: {domain: a.example, selektor: s1, private_key: '${KEY}'}
          fifth: smtp
        default: secnd
        campaigns:
          win_back: sixth
          Cart: second
    """
    lines = refused(lambda: load(write(text), {}))
    starts = [
        "1: shop.from: missing",
        '2: shop.form: unknown field; did you mean "from"?',
        '3: shop.url: "shop.example" is not a web address (write https://shop.example)',
        '5: content.url: "http://mail.shop.example" is not https;',
        '6: provider: unknown field; did you mean "providers"?',
        "8: providers.Mail: not a name",
        '12: providers.second.type: "sntp" is no type of provider; did you mean "smtp"?',
        "13: providers.third: has no type (write ",
        "19: providers.fourth.dkim.private_key: the environment's KEY is not set",
        "20: providers.fifth: is not a set of fields",
        '21: default: "secnd" is no provider of this file; did you mean "second"?',
        '23: campaigns.win_back: "sixth" is no provider of this file; ',
        "24: campaigns.Cart: not a campaign's id",
    ]
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"delivery.yaml:{start}"), line


def test_fields_within_fields_are_checked_too(mail: Callable[..., Delivery]) -> None:
    """By their own names, with what stands there."""
    lines = refused(
        lambda: mail(
            "hots: x\nport: 99999\nrate: many\ndkim: {domain: a.example, selektor: s1, private_key: '${MAIL_PASSWORD}'}"
        )
    )
    assert [line.partition(" providers")[0] for line in lines] == [
        "delivery.yaml:7:",
        "delivery.yaml:8:",
        "delivery.yaml:9:",
        "delivery.yaml:10:",
        "delivery.yaml:10:",
    ]
    said = "\n".join(lines)
    assert 'hots: unknown field; did you mean "host"?' in said
    assert "port: 99999 " in said
    assert 'rate: "many" is not a number' in said
    assert 'dkim.selektor: unknown field; did you mean "selector"?' in said
    assert "dkim.selector: missing" in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1: shop: missing; the file is empty"),
        ("[a]", "1: the file is not a set of fields"),
        ("shop: {from: a@b.example}\nproviders: {}\ndefault: x\n", "2: providers: no provider below it"),
        (SHORTEST + "default: mail\n", "8: default: written twice (first on line 7)"),
        (SHORTEST.replace("default: mail", "default: [mail]"), "7: default: a list is not the name of a provider"),
        (SHORTEST + "campaigns: mail\n", '8: campaigns: "mail" is not a set of fields'),
        (SHORTEST + "campaigns:\n  cart: [mail]\n", "9: campaigns.cart: a list is not text"),
        (SHORTEST + "content: https://mail.example\n", '8: content: "https://mail.example" is not a set of fields'),
        (SHORTEST.replace("  mail:", "  mail: &a\n    more: *a"), "4: providers.mail: contains itself"),
        (SHORTEST + "x: ${\n", "8: x: unknown field"),
        (SHORTEST.replace("from: hello@shop.example", "from: *x"), "not YAML"),
    ],
)
def test_whatever_is_in_the_file_the_answer_is_a_line(write: Write, text: str, line: str) -> None:
    """Never a traceback."""
    path = write(text)
    lines = refused(lambda: load(path, {}))
    assert any(line in each for each in lines), lines


def test_a_file_that_contains_itself_is_said_to(write: Write) -> None:
    """YAML can."""
    lines = refused(lambda: load(write(SHORTEST.replace("shop:\n", "shop: &a\n  texts: *a\n")), {}))
    assert lines == ["delivery.yaml:1: shop: contains itself"]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """With the system's own word for it."""
    assert refused(lambda: load(tmp_path / "gone.yaml", {})) == [f"{tmp_path}/gone.yaml: No such file or directory"]


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("hello@shop.example", True),
        ("Linden & Lark <hello@shop.example>", True),
        ('"Lark, Linden" <hello@shop.example>', True),
        ("Müller <hello@shop.example>", True),
        ("hello", False),
        ("hello@", False),
        ("a@b.example, c@d.example", False),
        ("<script>@b.example", False),
        ("Lark <hello@shop.example> x", False),
        ("<hello@shop.example>", False),
        ("Lark hello@shop.example", False),
    ],
)
def test_emails_come_from_one_address(write: Write, address: str, fine: bool) -> None:
    """Two of them, or none, is something that mail servers answer in many ways."""
    path = write(SHORTEST.replace("hello@shop.example", json.dumps(address)))
    if fine:
        assert load(path, {}).shop.from_ == address
    else:
        [line] = refused(lambda: load(path, {}))
        assert line.startswith("delivery.yaml:2: shop.from: ")


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("https://mail.shop.example/", "https://mail.shop.example"),
        ("https://shop.example/mail/", "https://shop.example/mail"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://localhost:8081/", "http://localhost:8081"),
        ("http://mail.shop.example", None),
        ("https://mail.shop.example/?x=1", None),
        ("https://", None),
        ("https://mail.example:port", None),
        ("https://a b.example", None),
        ("ftp://mail.example", None),
    ],
)
def test_content_is_seen_over_https_and_from_this_machine(write: Write, address: str, read: str | None) -> None:
    """Mail programs unsubscribe with one click over https alone (RFC 8058)."""
    path = write(f"{SHORTEST}content:\n  url: {json.dumps(address)}\n")
    if read is None:
        [line] = refused(lambda: load(path, {}))
        assert line.startswith("delivery.yaml:9: content.url: ")
    else:
        content = load(path, {}).content
        assert content is not None
        assert content.url == read


def test_what_does_not_go_together_is_said_as_it_is(mail: Callable[..., Delivery]) -> None:
    """Such a sentence begins with no field, for it is about several."""
    [line] = refused(lambda: mail("security: none\nusername: shop\npassword: ${MAIL_PASSWORD}"))
    assert line == "delivery.yaml:4: providers.mail: security none would send the password in the clear"
    [line] = refused(lambda: mail("username: shop\npassword: ${MAIL_PASSWORD}", {"MAIL_PASSWORD": "two\nlines"}))
    assert line.startswith("delivery.yaml:8: providers.mail.password: what stands here is more than one line")


def test_every_type_of_provider_can_be_named_and_none_takes_an_unknown_field(write: Write) -> None:
    """A slip in an optional field would be passed over, and its default be in force."""
    assert "smtp" in kinds()
    for kind, model in kinds().items():
        text = SHORTEST.replace("type: smtp\n    host: mail.example", f"type: {kind}\n    no_such_field: 1")
        lines = refused(lambda text=text: load(write(text), {}))  # type: ignore[misc]
        assert any(line.startswith("delivery.yaml:6: providers.mail.no_such_field: unknown field") for line in lines)
        required = {about.alias or name for name, about in model.model_fields.items() if about.is_required()} - {"type"}
        missing = {line.rpartition("mail.")[2].partition(":")[0] for line in lines if line.endswith(": missing")}
        assert missing == required


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_that_stands_for_a_secret_is_in_a_message(text: str) -> None:
    """Whatever somebody pastes there."""
    secret = f"s3cr3t{text}"
    document = {
        "shop": {"from": "a@b.example"},
        "providers": {"mail": {"type": "smtp", "host": "h", "username": "u", "password": secret}},
        "default": "mail",
    }
    with TemporaryDirectory() as folder:
        path = Path(folder, "delivery.yaml")
        path.write_text(json.dumps(document))
        lines = refused(lambda: load(path, {}))
    assert all("s3cr3t" not in line for line in lines)


def test_the_schema_in_the_repository_is_that_of_the_code() -> None:
    """Editors complete and check by it. `python -m connectors.delivery_file > schemas/delivery.schema.json` writes it anew."""
    written = (ROOT / "schemas" / "delivery.schema.json").read_text(encoding="utf-8")
    assert written == json.dumps(json_schema(), indent=2) + "\n"


def test_the_schema_takes_the_shipped_file_and_no_secret_written_out() -> None:
    """An editor marks it while it is typed."""
    checked = jsonschema.Draft202012Validator(json_schema())
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "delivery.yaml").read_text())
    checked.validate(shipped)
    mail = {"type": "smtp", "host": "mail.example", "username": "u", "password": "${MAIL_PASSWORD}"}
    checked.validate({**shipped, "providers": {"mail": mail}})
    for wrong in ({**mail, "password": "hunter2hunter2"}, {**mail, "hots": "x"}, {**mail, "type": "sntp"}):
        assert not checked.is_valid({**shipped, "providers": {"mail": wrong}})
