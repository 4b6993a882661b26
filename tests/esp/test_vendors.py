"""Each provider: its calls against what its vendor publishes, and its answers against a server that behaves as it does."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from pydantic import TypeAdapter

from connectors.delivery_model import Shop
from connectors.esp.http import Heard, HttpEsp, Request, Vendor
from connectors.esp.opening import vendor
from connectors.esp.options import Provider
from rendering.template_data import template_data
from state.clock import SECOND
from state.letters import Answer, Email, Letter, Unfit, Verdict
from tests.delivery.lettering import NOON, trigger
from tests.esp.http_server import Call, Reply, VendorServer, serving

SHOP = Shop.model_validate({"from": "The Shop <hello@shop.example>", "reply_to": "help@shop.example"})
EMAIL = Email("Your cart, Ann", "<p>Shoes & more</p>", "Shoes & more")
UNSUBSCRIBE = "https://content.shop.example/u/token"
PROFILE = {
    "email": "ann@example.com",
    "traits": {"name": 'Ann "the" O\'Hara', "plan": "gold"},
    "consent": {"email": True},
}
IDS = {"api_key": "k-1", "url": "https://api.vendor.example"}
_provider: TypeAdapter[Provider] = TypeAdapter(Provider)


def letter(name: str = "ann", *, email: Email | None = EMAIL, to: str = "ann@example.com", **changes: Any) -> Letter:
    """Make a letter as the desk does."""
    about = trigger(name, **changes)
    shop = {"name": "The Shop", "currency": "EUR"}
    data = template_data(about, PROFILE, {}, shop, {"unsubscribe": UNSUBSCRIBE, "cart_image": "https://c.example/i/1"})
    return Letter(about, to, data, email, UNSUBSCRIBE)


def of(kind: str, **settings: Any) -> Vendor:
    """Make a provider from what a delivery file says."""
    sound: dict[str, Any] = {} if kind == "webhook" else dict(IDS)
    if kind == "customerio":
        sound["site_id"] = "site"
    return vendor(_provider.validate_python({"type": kind, **sound, **settings}), SHOP, lambda: NOON)


def body_of(request: Request) -> Any:
    """Read what is sent."""
    return json.loads(request.body)


def checked(name: str, request: Request) -> Any:
    """Check what is sent against what the vendor publishes."""
    schema = json.loads((Path(__file__).parent / "vendors" / f"{name}.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    body = body_of(request)
    validator.validate(body)
    return body


def judged(provider: Vendor, status: int, body: Any = None, **headers: str) -> Answer:
    """Let a provider read an answer."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return provider.judge(Heard(status, told, b"" if body is None else msgspec.json.encode(body)))


# ---- What is sent


def test_sendgrid_is_sent_what_it_publishes() -> None:
    """With the id that comes back in its events: it is how an ambiguous case is looked into."""
    request = of("sendgrid").request(letter())
    body = checked("sendgrid_mail_send", request)
    assert (request.method, request.url) == ("POST", "https://api.vendor.example/v3/mail/send")
    assert request.headers["Authorization"] == "Bearer k-1"
    (person,) = body["personalizations"]
    assert person["to"] == [{"email": "ann@example.com"}]
    assert person["custom_args"]["trigger_id"] == trigger("ann").trigger_id
    assert body["from"] == {"email": "hello@shop.example", "name": "The Shop"}
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert body["headers"] == {
        "List-Unsubscribe": f"<{UNSUBSCRIBE}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_sendgrid_renders_its_own_templates_where_it_is_asked_to() -> None:
    """The template's name in campaigns.yaml may stay what it is."""
    provider = of("sendgrid", renders=True, templates={"cart-abandonment": "d-123"})
    body = checked("sendgrid_mail_send", provider.request(letter(email=None)))
    assert provider.renders
    assert body["template_id"] == "d-123"
    assert body["personalizations"][0]["dynamic_template_data"]["items"][0]["name"] == "Shoes"


def test_braze_is_sent_what_it_publishes_for_api_triggered_campaigns() -> None:
    """With the address inside: set by a call of its own it would race with the send."""
    provider = of("braze", templates={"cart-abandonment": "c-uuid"})
    request = provider.request(letter())
    body = checked("braze_trigger_send", request)
    assert request.url == "https://api.vendor.example/campaigns/trigger/send"
    (person,) = body["recipients"]
    assert body["campaign_id"] == "c-uuid"
    assert (person["external_user_id"], person["attributes"]) == ("ann", {"email": "ann@example.com"})
    assert person["trigger_properties"]["total"] == 50.0
    assert provider.remembers == 0
    (nameless,) = checked("braze_trigger_send", provider.request(letter(to="")))["recipients"]
    assert nameless["send_to_existing_only"] is True


def test_braze_is_sent_what_it_publishes_for_transactional_campaigns() -> None:
    """With the trigger's id as the key, and less trust in it than the 24 hours that are promised."""
    provider = of("braze", transactional=True)
    request = provider.request(letter(template_id="a/b c"))
    body = checked("braze_transactional_send", request)
    assert request.url == "https://api.vendor.example/transactional/v1/campaigns/a%2Fb%20c/send"
    assert body["external_send_id"] == trigger("ann").trigger_id
    assert 12 * 3600 < provider.remembers < 24 * 3600


def test_customerio_is_sent_what_it_publishes() -> None:
    """An event with a ULID; an id with a slash stays one part of the path."""
    request = of("customerio").request(letter("a/../b?c"))
    body = checked("customerio_track_event", request)
    assert request.url == "https://api.vendor.example/api/v1/customers/a%2F..%2Fb%3Fc/events"
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"site:k-1").decode()
    assert (body["name"], body["id"]) == ("cart-abandonment", trigger("a/../b?c").trigger_id)
    by_address = of("customerio", identify_by="email").request(letter())
    assert "/customers/ann%40example.com/events" in by_address.url


def test_klaviyo_is_sent_what_it_publishes() -> None:
    """One event by the single call, with its value in money."""
    request = of("klaviyo", templates={"cart-abandonment": "Left a cart"}).request(letter())
    body = checked("klaviyo_create_event", request)
    assert request.url == "https://api.vendor.example/api/events"
    assert request.headers["Authorization"] == "Klaviyo-API-Key k-1"
    assert request.headers["revision"] == "2026-07-15"
    event = body["data"]["attributes"]
    assert event["unique_id"] == trigger("ann").trigger_id
    assert event["metric"]["data"]["attributes"]["name"] == "Left a cart"
    assert event["profile"]["data"]["attributes"] == {"email": "ann@example.com"}
    assert (event["value"], event["value_currency"]) == (50.0, "EUR")
    by_id = body_of(of("klaviyo", identify_by="id").request(letter(to="")))
    assert by_id["data"]["attributes"]["profile"]["data"]["attributes"] == {"external_id": "ann"}


@pytest.mark.parametrize(("written", "sent"), [("EUR", "EUR"), ("eur", "EUR"), ("€", None), (None, None)])
def test_klaviyo_is_told_no_currency_that_is_none(written: str | None, sent: str | None) -> None:
    """A website writes "€" or "eur" into its events; Klaviyo would refuse the whole event for it."""
    odd = letter()
    odd.data["currency"] = written
    event = checked("klaviyo_create_event", of("klaviyo").request(odd))["data"]["attributes"]
    assert (event["value"], event.get("value_currency")) == (50.0, sent)


def test_resend_is_sent_what_it_publishes() -> None:
    """With the trigger's id as the key."""
    request = of("resend").request(letter())
    body = checked("resend_send_email", request)
    assert request.url == "https://api.vendor.example/emails"
    assert request.headers["Idempotency-Key"] == trigger("ann").trigger_id
    assert (body["from"], body["to"]) == ("The Shop <hello@shop.example>", ["ann@example.com"])
    assert body["reply_to"] == "help@shop.example"
    assert body["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_sparkpost_is_sent_what_it_publishes() -> None:
    """And its own template language finds nothing to do: "{{" in a product's name would make a hole."""
    request = of("sparkpost").request(letter(email=Email("{{ Shoes }} wait", "<p>{{ Shoes }}</p>", "{{ Shoes }}")))
    body = checked("sparkpost_transmission", request)
    assert request.url == "https://api.vendor.example/api/v1/transmissions"
    assert (request.headers["Authorization"], request.headers["Idempotency-Key"]) == ("k-1", trigger("ann").trigger_id)
    assert body["options"] == {"perform_substitutions": False}
    assert "{{" not in body["content"]["subject"]
    assert body["content"]["html"] == "<p>{{ Shoes }}</p>"


@pytest.mark.parametrize("kind", ["braze", "customerio", "klaviyo"])
def test_a_provider_that_renders_is_not_told_more_than_its_email_shows(kind: str) -> None:
    """Traits and consents stay with us."""
    told = of(kind).request(letter()).body.decode()
    assert '"items"' in told
    assert "cart_image" in told
    for kept in ("gold", "consent", "traits"):
        assert kept not in told


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("sendgrid", {"email": None}),
        ("sendgrid", {"to": ""}),
        ("resend", {"email": None}),
        ("resend", {"to": ""}),
        ("sparkpost", {"email": None}),
        ("sparkpost", {"to": ""}),
        ("klaviyo", {"to": ""}),
    ],
)
def test_a_letter_that_a_provider_cannot_take_is_not_sent(kind: str, changes: dict[str, Any]) -> None:
    """Without an address, or without the email where the provider makes none."""
    with pytest.raises(Unfit):
        of(kind).request(letter(**changes))


@pytest.mark.parametrize("kind", ["sendgrid", "braze", "customerio", "klaviyo", "resend", "sparkpost"])
def test_a_call_is_the_same_when_it_is_made_again(kind: str) -> None:
    """Where a key stands for a call, another body under it is refused; and nothing that was given is changed."""
    given = letter()
    before = msgspec.json.encode([given.data, given.trigger])
    assert of(kind).request(given) == of(kind).request(given)
    assert msgspec.json.encode([given.data, given.trigger]) == before


# ---- What is heard


@pytest.mark.parametrize(
    ("kind", "settings", "status", "body", "expected"),
    [
        ("resend", {}, 200, {"id": "re-1"}, Answer(Verdict.ACCEPTED, "200", "re-1")),
        (
            "resend", {}, 409, {"name": "invalid_idempotent_request"},
            Answer(Verdict.DUPLICATE, "409 invalid_idempotent_request"),
        ),
        (
            "resend", {}, 409, {"name": "concurrent_idempotent_requests"},
            Answer(Verdict.AMBIGUOUS, "409 concurrent_idempotent_requests"),
        ),
        ("resend", {}, 409, {"name": "something else"}, Answer(Verdict.REJECTED, "409 something else")),
        (
            "resend", {}, 422, {"name": "invalid_parameter", "message": "bad `to`"},
            Answer(Verdict.REJECTED, "422 invalid_parameter bad `to`"),
        ),
        ("resend", {}, 429, {"name": "daily_quota_exceeded"}, Answer(Verdict.RETRY, "429 daily_quota_exceeded")),
        (
            "sparkpost", {}, 200, {"results": {"id": "11", "total_accepted_recipients": 1}},
            Answer(Verdict.ACCEPTED, "200", "11"),
        ),
        (
            "sparkpost", {}, 200, {"results": {"id": "11", "total_accepted_recipients": 0}},
            Answer(Verdict.REJECTED, "200 no recipient was accepted"),
        ),
        ("sparkpost", {}, 409, {"errors": [{"message": "x", "code": "1600"}]}, Answer(Verdict.DUPLICATE, "409 1600")),
        ("sparkpost", {}, 409, {"errors": [{"message": "x", "code": 1601}]}, Answer(Verdict.AMBIGUOUS, "409 1601")),
        ("sparkpost", {}, 420, {"errors": []}, Answer(Verdict.RETRY, "420 sending limit", retry_after=60.0)),
        (
            "sparkpost", {}, 422, {"errors": [{"message": "required field", "description": "content", "code": "1400"}]},
            Answer(Verdict.REJECTED, "422 required field content"),
        ),
        ("braze", {}, 201, {"dispatch_id": "d", "message": "success"}, Answer(Verdict.ACCEPTED, "201", "d")),
        (
            "braze", {}, 201,
            {"message": "success", "errors": [{"type": "unknown user", "input_array": "recipients", "index": 0}]},
            Answer(Verdict.REJECTED, "201 unknown user"),
        ),
        (
            "braze", {}, 201,
            {"dispatch_id": "d", "message": "success", "errors": [{"type": "odd", "input_array": "attributes"}]},
            Answer(Verdict.ACCEPTED, "201", "d"),
        ),
        (
            "braze", {}, 400, {"message": "The campaign is paused. Resume it."},
            Answer(Verdict.REJECTED, "400 The campaign is paused. Resume it."),
        ),
        (
            "braze", {"transactional": True}, 400,
            {"message": "The external reference has been queued.  Please retry to obtain send_id."},
            Answer(Verdict.DUPLICATE, "400 The external reference has been queued. Please retry to obtain send_id."),
        ),
        ("customerio", {}, 200, {}, Answer(Verdict.ACCEPTED, "200")),
        ("customerio", {}, 400, {"meta": {"errors": ["bad id", "bad name"]}}, Answer(Verdict.REJECTED, "400 bad id; bad name")),
        ("customerio", {}, 400, {"meta": {"error": "malformed"}}, Answer(Verdict.REJECTED, "400 malformed")),
        ("klaviyo", {}, 202, None, Answer(Verdict.ACCEPTED, "202")),
        (
            "klaviyo", {}, 400, {"errors": [{"code": "invalid", "title": "Invalid input.", "detail": "no email"}]},
            Answer(Verdict.REJECTED, "400 invalid: no email"),
        ),
        ("sendgrid", {}, 202, None, Answer(Verdict.ACCEPTED, "202", "m-1")),
        (
            "sendgrid", {}, 400, {"errors": [{"field": "from", "message": "is not verified"}, {"message": "odd"}]},
            Answer(Verdict.REJECTED, "400 from is not verified; odd"),
        ),
    ],
)  # fmt: skip
def test_what_a_vendor_documents_is_understood(
    kind: str, settings: dict[str, Any], status: int, body: Any, expected: Answer
) -> None:
    """The id it gives, its words for an error, and how it says that it knew the key."""
    headers = {"x_message_id": "m-1"} if kind == "sendgrid" else {}
    assert judged(of(kind, **settings), status, body, **headers) == expected


@pytest.mark.parametrize("kind", ["sendgrid", "braze", "customerio", "klaviyo", "resend", "sparkpost"])
@pytest.mark.parametrize(
    "body", [[], "text", 5, {"errors": "odd"}, {"errors": [5]}, {"results": 5, "meta": 5, "message": []}]
)
def test_an_answer_of_any_shape_is_read_by_its_status(kind: str, body: Any) -> None:
    """A proxy in between, or a new version: no shape of an answer may break a connector."""
    assert judged(of(kind), 202, body).verdict is Verdict.ACCEPTED
    assert judged(of(kind), 400, body).verdict is Verdict.REJECTED
    assert judged(of(kind), 503, body).verdict is Verdict.RETRY


# ---- Over the wire, asked again after an answer was lost


def _by_header(call: Call) -> str:
    return call.headers["idempotency-key"]


def _by(*path: str) -> Callable[[Call], str]:
    def key_of(call: Call) -> str:
        found = json.loads(call.body)
        for name in path:
            found = found[name]
        return str(found)

    return key_of


def _resend(call: Call) -> Reply:
    return Reply(200, {"id": call.headers["idempotency-key"].lower()})


def _sparkpost(again: bool) -> Callable[[Call], Reply]:
    headers = {"X-Idempotent-Replayed": "true"} if again else {}
    return lambda _: Reply(200, {"results": {"id": "11", "total_accepted_recipients": 1}}, headers)


def _sent() -> Callable[[Call], Reply]:
    return lambda _: Reply(201, {"dispatch_id": "d", "status": "sent", "metadata": {}})


def _queued(_: Call) -> Reply:
    return Reply(400, {"message": "The external reference has been queued.  Please retry to obtain send_id."})


AS_THEY_BEHAVE: list[tuple[str, dict[str, Any], Callable[[], VendorServer], Verdict]] = [
    ("resend", {}, lambda: VendorServer(_by_header, _resend), Verdict.ACCEPTED),
    (
        "sparkpost",
        {},
        lambda: VendorServer(_by_header, _sparkpost(again=False), _sparkpost(again=True)),
        Verdict.DUPLICATE,
    ),
    (
        "braze",
        {"transactional": True},
        lambda: VendorServer(_by("external_send_id"), _sent(), _queued),
        Verdict.DUPLICATE,
    ),
    ("customerio", {}, lambda: VendorServer(_by("id"), lambda _: Reply(200, {})), Verdict.ACCEPTED),
    ("klaviyo", {}, lambda: VendorServer(_by("data", "attributes", "unique_id")), Verdict.ACCEPTED),
    (
        "webhook",
        {"key_header": "Idempotency-Key", "knows_keys_for": 86_400},
        lambda: VendorServer(_by_header),
        Verdict.ACCEPTED,
    ),
]


@pytest.mark.parametrize(
    ("kind", "settings", "make", "again"), AS_THEY_BEHAVE, ids=[case[0] for case in AS_THEY_BEHAVE]
)
def test_asking_again_where_a_key_is_known_sends_no_second_email(
    kind: str, settings: dict[str, Any], make: Callable[[], VendorServer], again: Verdict
) -> None:
    """The connection breaks after the vendor accepted; the dispatcher asks again, and once more."""

    async def run() -> list[Answer]:
        server = make()
        server.replies.append(Reply(hangs_up=True))
        async with serving(server) as session:
            provider = HttpEsp(of(kind, url=server.url, **settings), session, 5.0, lambda: NOON)
            assert provider.remembers > 0
            answers = [await provider.send(letter()) for _ in range(3)]
        assert (len(server.calls), len(server.accepted)) == (3, 1)
        return answers

    assert [answer.verdict for answer in asyncio.run(run())] == [Verdict.AMBIGUOUS, again, again]


# ---- The webhook


def hook(**settings: Any) -> Vendor:
    """Make a webhook."""
    return of("webhook", **({"url": "https://esp.example/send"} | settings))


def test_a_webhook_without_a_body_is_told_everything() -> None:
    """A receiver that one writes oneself needs no template."""
    body = body_of(hook().request(letter()))
    assert (body["to"], body["trigger"]["trigger_id"]) == ("ann@example.com", trigger("ann").trigger_id)
    assert body["email"] == EMAIL._asdict()
    assert body["items"][0]["name"] == "Shoes"


def test_what_a_template_prints_stays_where_it_stands() -> None:
    """Quotes cannot end a JSON text, a slash cannot change the path, a line break makes no header."""
    provider = hook(
        url="https://esp.example/users/{{ trigger.user_id }}?t={{ trigger.subject }}",
        headers={"X-Name": "{{ profile.traits.name }}"},
        body=(
            '{"name": "{{ profile.traits.name }}", "same": {{ profile.traits.name | json }}, "items": {{ items }},'
            ' "paid": {{ total }}, "html": {{ email.html | json }},'
            ' "names": [{% for item in items %}"{{ item.name }}"{% unless forloop.last %},{% endunless %}{% endfor %}]}'
        ),
    )
    odd = letter("../admin?x=1#", subject="a&b=c é")
    odd.data["profile"]["traits"]["name"] = 'Ann", "admin": "yes\r\nX-Admin: 1'
    request = provider.request(odd)
    assert request.url == "https://esp.example/users/..%2Fadmin%3Fx%3D1%23?t=a%26b%3Dc%20%C3%A9"
    assert request.headers["X-Name"] == 'Ann", "admin": "yes X-Admin: 1'
    body = body_of(request)
    assert body["name"] == body["same"] == 'Ann", "admin": "yes\r\nX-Admin: 1'
    assert (body["paid"], body["names"], body["html"]) == (50.0, ["Shoes"], EMAIL.html)
    assert body["items"][0]["quantity"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"body": '{"plan": "{{ profile.traits.shoe_size }}"}'},
        {"body": '{"size": {{ profile.traits.name }}}'},
        {"body": '{"to": "{{ to }}"'},
        {"headers": {"X-Plan": "{{ nothing.at.all }}"}},
        {"url": "https://esp.example/{{ nothing }}"},
        {"body": '{"view": "{{ unsubscribe_url }}"}'},
        {"body": '{"twice": {{ total_of_nothing | times: 2 }}}'},
        {"body": '{"some": {{ (1..3) }}}'},
        {"body": '{"size": {{ to | slice: to | json }}}'},
    ],
)
def test_a_webhook_sends_no_hole_and_no_broken_json(settings: dict[str, Any]) -> None:
    """As with emails: rather nothing than "Hello ,"."""
    with pytest.raises(Unfit):
        hook(**settings).request(letter()._replace(unsubscribe_url=None))


def test_a_refused_call_names_the_template_and_not_the_person() -> None:
    """The refusal is written down; Liquid's own words for a path that is missing hold the id that led to it."""
    with pytest.raises(Unfit) as refusal:
        hook(body='{"best": {{ shop[trigger.user_id] }}}').request(letter("ann-4711"))
    assert "shop[trigger.user_id]" in str(refusal.value)
    assert "4711" not in str(refusal.value)


@pytest.mark.parametrize("printed", ["{% echo x %}", "{% liquid echo x %}", "{% assign y = x %}{{ y }}"])
def test_every_way_of_printing_escapes(printed: str) -> None:
    """Liquid prints by tags too; one that slipped through would let a name end a JSON text."""
    odd = letter()
    odd.data["x"] = 'a/b", "admin": "\r\nX-Admin: 1'
    request = hook(
        url=f"https://esp.example/{printed}/send", headers={"X-A": printed}, body=f'{{"x": "{printed}"}}'
    ).request(odd)
    assert request.url == "https://esp.example/a%2Fb%22%2C%20%22admin%22%3A%20%22%0D%0AX-Admin%3A%201/send"
    assert request.headers["X-A"] == 'a/b", "admin": " X-Admin: 1'
    assert body_of(request) == {"x": odd.data["x"]}


def test_a_template_says_what_stands_for_what_is_missing() -> None:
    """As in emails: `default`, `if`, and nil where the receiver takes a null."""
    body = (
        '{"has": {% if email %}true{% else %}false{% endif %}, "size": "{{ properties.shoe | default: \'any\' }}",'
        ' "total": {{ properties.nothing | default: nil | json }}, "price": "{{ total | money: \'EUR\' }}"}'
    )
    provider = hook(renders=True, body=body)
    assert provider.renders
    told = body_of(provider.request(letter(email=None)))
    assert told == {"has": False, "size": "any", "total": None, "price": "€50.00"}


def test_a_receiver_knows_whose_call_it_is_and_when_it_was_made() -> None:
    """It computes the same signature over the time and the bytes that came."""
    request = hook(secret="s3cret", token="t-1", key_header="Idempotency-Key").request(letter())  # noqa: S106
    told = dict(part.split("=", 1) for part in request.headers["Waxmark-Signature"].split(","))
    assert int(told["t"]) == NOON // SECOND
    expected = hmac.new(b"s3cret", told["t"].encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert told["v1"] == expected
    assert request.headers["Authorization"] == "Bearer t-1"
    assert request.headers["Idempotency-Key"] == trigger("ann").trigger_id


def test_a_receiver_may_say_that_it_knew_the_id() -> None:
    """By a status of its choice."""
    provider = hook(duplicate_status=409, key_header="X-Id", knows_keys_for="1d")
    assert judged(provider, 409).verdict is Verdict.DUPLICATE
    assert judged(hook(), 409).verdict is Verdict.REJECTED
    assert judged(provider, 200, {"id": 17}) == Answer(Verdict.ACCEPTED, "200", "17")
