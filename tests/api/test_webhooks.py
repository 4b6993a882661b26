"""Webhooks: who may call, what becomes of what they say, and whose it is."""

import base64
import hmac
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from api.keys import KeysError, load
from api.webhooks.mapping import load as load_mapping
from operators.fold import Fold, Limits
from state.clock import SECOND
from state.commerce import Kind
from state.events import Event, decode, parse_time
from state.records import Batch, Record
from state.shard import Shard
from state.wire import encoder
from tests.api.collecting import SENDGRID, Collector


def body(content: Any) -> bytes:
    """Write a body."""
    return json.dumps(content).encode()


def shopify(collector: Collector, topic: str, content: Any, id_: str, by: str = "shopify-secret") -> httpx.Response:
    """Call as Shopify does."""
    data = body(content)
    signature = base64.b64encode(hmac.new(by.encode(), data, sha256).digest()).decode()
    headers = {"x-shopify-topic": topic, "x-shopify-webhook-id": id_, "x-shopify-hmac-sha256": signature}
    return collector.http.post(
        "/v1/webhooks/shopify", content=data, headers=headers | {"content-type": "application/json"}
    )


def stripe(collector: Collector, content: Any, at: float, by: str = "whsec-of-stripe", old: str = "") -> httpx.Response:
    """Call as Stripe does; `old` adds a signature by a secret that is being rolled over."""
    data = body(content)
    signed = [hmac.new(each.encode(), f"{at:.0f}.".encode() + data, sha256).hexdigest() for each in (old, by) if each]
    header = ",".join([f"t={at:.0f}", *(f"v1={each}" for each in signed), "v0=none"])
    return collector.http.post("/v1/webhooks/stripe", content=data, headers={"stripe-signature": header})


def sendgrid(collector: Collector, content: Any, at: str = "1600112502") -> httpx.Response:
    """Call as SendGrid does."""
    data = body(content)
    signature = base64.b64encode(SENDGRID.sign(at.encode() + data, ec.ECDSA(SHA256()))).decode()
    headers = {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": at,
        "content-type": "application/json",
    }
    return collector.http.post("/v1/webhooks/sendgrid", content=data, headers=headers)


def events(records: list[dict[str, Any]]) -> list[Event]:
    """Decode records as the fold does; all of them are events."""
    decoded = [decode(body(each), parse_time(each["receivedAt"]) + SECOND) for each in records]
    assert [each for each in decoded if not isinstance(each, Event)] == []
    return [each for each in decoded if isinstance(each, Event)]


ORDER = {
    "id": 820982911946154500,
    "created_at": "2026-01-02T12:00:00+01:00",
    "updated_at": "2026-01-02T12:00:05+01:00",
    "checkout_token": "token-1",
    "currency": "EUR",
    "email": "ann@example.com",
    "total_price": "403.00",
    "discount_codes": [{"code": "SPRING", "amount": "5.00"}],
    "customer": {"id": 115310627314723950, "email": "ann@example.com"},
    "line_items": [
        {
            "product_id": 788032119674292900,
            "sku": "B-1",
            "title": "Shoes",
            "variant_title": None,
            "price": "199.00",
            "quantity": 2,
        },
        {"product_id": None, "sku": "GIFT", "title": "Wrapping", "price": "5.00", "quantity": 1},
    ],
}
CUSTOMER = "115310627314723950"


def test_a_shopify_order_is_an_order(collector: Collector) -> None:
    """With its products and amounts as numbers, its own time, and the checkout that it came from."""
    answer = shopify(collector, "orders/create", ORDER, "order-hook-1")
    assert answer.json() == {"success": True, "accepted": 2, "refused": 0, "unknown_people": 0}
    order, alias = events(collector.of(CUSTOMER))
    assert (order.name, order.kind, order.anonymous_id) == ("Order Completed", Kind.ORDER, "shopify-checkout-token-1")
    assert (order.fields.order_id, order.fields.amount, order.fields.coupon) == (ORDER["id"], 403.0, "SPRING")
    assert [(p.key, p.price, p.quantity) for p in order.fields.products] == [
        ("788032119674292900", 199.0, 2.0),
        ("GIFT", 5.0, 1.0),
    ]
    assert order.time == parse_time("2026-01-02T11:00:00Z")
    assert alias.previous_id == f"shopify-order-{ORDER['id']}"
    assert (order.message_id, alias.message_id) == ("shopify-order-hook-1", "shopify-order-hook-1-1")


def test_a_shopify_webhook_that_comes_again_counts_once(collector: Collector) -> None:
    """Its id is the message's id, and the fold takes an id once; Shopify tries again for four hours."""
    order = ORDER | {"customer": {"id": 4}, "id": 44}
    for _ in range(3):
        assert shopify(collector, "orders/create", order, "order-hook-4").status_code == 200
    profile = folded(collector.of("4"))["4"]
    assert (profile["orders"], profile["revenue"]) == (1, 403.0)


def folded(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fold records of one partition, with what is fed back; give the last profiles."""
    fold = Fold(Shard(0), Limits())
    queue = [(body(each), parse_time(each["receivedAt"])) for each in records]
    profiles: dict[str, dict[str, Any]] = {}
    for number, (value, now) in enumerate(queue):
        out = fold.apply(Batch(0, [Record(f"{now}-{number}", now, value)], 0))
        queue += [(encoded(each.record), now) for each in out.feedback]
        for update in out.profiles:
            profiles.setdefault(update.user_id, {}).update(update.fields or {})
        profiles.setdefault("forwards", {}).update({each.key: each.record for each in out.feedback})
    return profiles


def encoded(record: Any) -> bytes:
    """Write a record as the feedback sink does."""
    return encoder.encode(record)


def test_a_refund_and_a_checkout_without_a_customer_find_their_person(collector: Collector) -> None:
    """Shopify's refund names only its order, an early checkout nobody: both are visitors until the order says who it was.

    Told through the log, as everything about who is who.
    """
    checkout = {"token": "token-5", "updated_at": "2026-01-02T10:00:00Z", "total_price": "9.00", "line_items": []}
    assert shopify(collector, "checkouts/create", checkout, "hook-5a").json()["accepted"] == 1
    order = ORDER | {"id": 55, "customer": {"id": 5}, "checkout_token": "token-5"}
    assert shopify(collector, "orders/create", order, "hook-5b").json()["accepted"] == 2
    refund = {
        "id": 1,
        "order_id": 55,
        "created_at": "2026-01-03T10:00:00Z",
        "transactions": [{"amount": "100.50"}, {"amount": "2.00"}],
        "refund_line_items": [{"quantity": 1, "line_item": {"product_id": 7, "sku": "S", "title": "Shoes"}}],
    }
    assert shopify(collector, "refunds/create", refund, "hook-5c").json()["accepted"] == 1
    people = {"shopify-checkout-token-5", "shopify-order-55", "5"}
    mine = [r for r in collector.records() if {r.get("userId"), r.get("anonymousId")} & people]
    (refunded,) = [each for each in events(mine) if each.kind is Kind.REFUND]
    assert (refunded.fields.order_id, refunded.fields.amount) == (55, 102.5)
    told = folded(mine)
    assert told["5"]["events"] == 3, "checkout, order and alias; a refund is not something that the customer does"
    assert b"Order Refunded" in encoded(told["forwards"]["5"]), "the refund was forwarded to customer 5"


def test_other_topics_of_shopify(collector: Collector) -> None:
    """Customers are identified; consent comes from its own topic alone; a topic that nobody mapped is passed over."""
    person = {"id": 6, "email": "six@example.com", "first_name": "Six", "updated_at": "2026-01-02T10:00:00Z"}
    shopify(collector, "customers/update", person | {"email_marketing_consent": {"state": "subscribed"}}, "6a")
    consent = {"customer_id": 6, "email_address": "six@example.com"}
    told = {"state": "unsubscribed", "consent_updated_at": "2026-01-03T10:00:00Z"}
    shopify(collector, "customers_email_marketing_consent/update", consent | {"email_marketing_consent": told}, "6b")
    shopify(
        collector, "orders/cancelled", ORDER | {"customer": {"id": 6}, "cancelled_at": "2026-01-04T00:00:00Z"}, "6c"
    )
    shopify(collector, "orders/updated", ORDER | {"customer": {"id": 6}}, "6d")
    assert shopify(collector, "themes/publish", {"id": 1}, "6e").json()["accepted"] == 0
    found = events(collector.of("6"))
    assert [each.name for each in found] == ["identify", "Unsubscribed", "Order Cancelled", "Order Updated"]
    traits = found[0].mapping()
    assert traits == {"email": "six@example.com", "first_name": "Six"}


def test_only_shopify_may_call_as_shopify(collector: Collector) -> None:
    """A wrong secret, no signature, or one byte changed: 401, and nothing is in the log."""
    assert (
        shopify(collector, "orders/create", ORDER | {"customer": {"id": 9}}, "forged", "wrong-secret").status_code
        == 401
    )
    assert collector.http.post("/v1/webhooks/shopify", content=body(ORDER)).status_code == 401
    assert collector.of("9") == []
    assert collector.http.post("/v1/webhooks/nobody", content=b"{}").status_code == 404


def test_stripe_events_by_their_ids_amounts_and_people(collector: Collector) -> None:
    """Cents become euros, yen stay yen; who it is comes from the shop's own id where there is one."""
    now = time.time()
    session = {
        "id": "cs_1",
        "client_reference_id": "stripe-ann",
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "amount_total": 4990,
        "currency": "eur",
        "customer_details": {"email": "ann@example.com"},
        "metadata": {},
    }
    completed = {"id": "evt_1", "type": "checkout.session.completed", "created": int(now), "data": {"object": session}}
    assert stripe(collector, completed, now).json()["accepted"] == 1
    charge = {"id": "ch_1", "customer": "cus_1", "payment_intent": "pi_1", "amount_refunded": 500, "currency": "jpy"}
    charge["metadata"] = {"user_id": "stripe-ann"}
    refunded = {"id": "evt_2", "type": "charge.refunded", "created": int(now), "data": {"object": charge}}
    assert stripe(collector, refunded, now, old="an-older-secret").json()["accepted"] == 1
    order, refund = events(collector.of("stripe-ann"))
    assert (order.name, order.message_id, order.fields.amount) == ("Order Completed", "stripe-evt_1", 49.9)
    assert (refund.name, refund.fields.order_id, refund.fields.amount) == (
        "Order Refunded",
        order.fields.order_id,
        500.0,
    )
    assert order.time == int(now) * SECOND
    assert stripe(collector, {"id": "evt_3", "type": "payout.paid", "created": 1}, now).json()["accepted"] == 0


def test_an_old_or_forged_call_of_stripe_is_refused(collector: Collector) -> None:
    """300 seconds of tolerance, either way: a recorded call cannot be played again tomorrow."""
    event = {"id": "evt_9", "type": "x", "created": 1}
    assert stripe(collector, event, time.time() - 290).status_code == 200
    assert stripe(collector, event, time.time() - 310).status_code == 401
    assert stripe(collector, event, time.time() + 310).status_code == 401
    assert stripe(collector, event, time.time(), "wrong-secret").status_code == 401
    for header in ("", "t=", "t=x,v1=y", "t=9999999999999999999999,v1=", f"t={time.time():.0f}", "é"):
        headers = {b"stripe-signature": header.encode()}
        answer = collector.http.post("/v1/webhooks/stripe", content=body(event), headers=headers)
        assert answer.status_code == 401


def test_sendgrids_published_example_is_believed(collector: Collector) -> None:
    """The signature, key and bytes of the example in SendGrid's own libraries; one byte less, and it is not."""
    data = (
        b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
        b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
        b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
        b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
    )
    signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
    headers = {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": "1600112502",
    }
    answer = collector.http.post("/v1/webhooks/published", content=data, headers=headers)
    assert answer.json() == {"success": True, "accepted": 0, "refused": 0, "unknown_people": 1}
    assert collector.http.post("/v1/webhooks/published", content=data[:-1], headers=headers).status_code == 401
    later = headers | {"x-twilio-email-event-webhook-timestamp": "1600112503"}
    assert collector.http.post("/v1/webhooks/published", content=data, headers=later).status_code == 401
    for wrong in ("", "x", "AAAA", "MEU="):
        broken = headers | {"x-twilio-email-event-webhook-signature": wrong}
        assert collector.http.post("/v1/webhooks/published", content=data, headers=broken).status_code == 401


SENDGRID_SAYS = {
    "delivered": (Kind.EMAIL_SENT, "Email Delivered"),
    "open": (Kind.EMAIL_OPEN, "Email Opened"),
    "click": (Kind.EMAIL_CLICK, "Email Link Clicked"),
    "bounce": (Kind.BOUNCE, "Email Bounced"),
    "spamreport": (Kind.COMPLAINT, "Email Marked as Spam"),
    "unsubscribe": (Kind.UNSUBSCRIBE, "Unsubscribed"),
    "group_unsubscribe": (Kind.UNSUBSCRIBE, "Unsubscribed"),
    "dropped": (Kind.OTHER, "Email Dropped"),
}


def test_feedback_of_sendgrid_is_what_the_fold_understands(collector: Collector) -> None:
    """Many in one call; a block is no bounce; what is deferred or processed says nothing of the person."""
    items = [
        {
            "event": event,
            "user_id": "sg-ann",
            "email": "sg@example.com",
            "sg_event_id": f"sg-{event}",
            "timestamp": 1767225600,
        }
        for event in (*SENDGRID_SAYS, "deferred", "processed")
    ]
    items.append(items[3] | {"type": "blocked", "sg_event_id": "sg-blocked"})
    assert sendgrid(collector, items).json()["accepted"] == len(SENDGRID_SAYS) + 1
    found = events(collector.of("sg-ann"))
    assert [(each.kind, each.name) for each in found[:-1]] == list(SENDGRID_SAYS.values())
    assert (found[-1].kind, found[-1].name) == (Kind.OTHER, "Email Blocked")
    assert {each.time for each in found} == {1767225600 * SECOND}


def test_feedback_that_names_an_address_alone_reaches_everyone_whose_it_is(collector: Collector) -> None:
    """A couple shares a mailbox: when it complains, both are not written to again. However the address is written."""
    for user, address in (("pair-ann", "Pair@Example.com"), ("pair-ben", "pair@example.com ")):
        assert collector.post("/v1/identify", {"userId": user, "traits": {"email": address}}).status_code == 200
    item = {"event": "spamreport", "email": "pair@example.COM", "sg_event_id": "pair-1", "timestamp": 1767225600}
    assert sendgrid(collector, [item]).json()["accepted"] == 2
    for user in ("pair-ann", "pair-ben"):
        assert [each.kind for each in events(collector.of(user))][1:] == [Kind.COMPLAINT]
    nobody = item | {"email": "nobody@example.com"}
    assert sendgrid(collector, [nobody]).json() == {"success": True, "accepted": 0, "refused": 0, "unknown_people": 1}


def test_a_crms_own_webhook_is_mapped_by_a_file(collector: Collector) -> None:
    """No code: a list within the body, a number as id, a time in milliseconds, a condition on a text."""
    content = {
        "changes": [
            {"change_id": 1, "kind": "contact", "contact": {"number": 7001, "mail": "c@example.com", "tier": "gold"}},
            {
                "change_id": 2,
                "kind": "note",
                "contact": {"number": 7001},
                "text": "call back",
                "changed_ms": 1767225600500,
            },
            {"change_id": 3, "kind": "note", "contact": {"number": 7001}, "text": "nothing"},
            {"change_id": 4, "kind": "note", "contact": {}, "text": "call whom?"},
            {"change_id": 5, "kind": "note", "contact": {"number": 7001}, "text": "call", "changed_ms": 5},
        ]
    }
    data = body(content)
    headers = {"x-crm-signature": "sha256=" + hmac.new(b"crm-secret", data, sha256).hexdigest()}
    answer = collector.http.post("/v1/webhooks/crm", content=data, headers=headers)
    assert answer.json() == {"success": True, "accepted": 2, "refused": 1, "unknown_people": 1}
    contact, note = events(collector.of("7001"))
    assert contact.mapping() == {"email": "c@example.com", "tier": "gold"}
    assert (note.name, note.time) == ("Called", 1767225600500 * 1000)
    assert collector.http.post("/v1/webhooks/crm", content=data + b" ", headers=headers).status_code == 401


def test_another_esps_feedback_is_mapped_by_a_file(collector: Collector) -> None:
    """All six kinds, with a token instead of a signature."""
    collector.post("/v1/identify", {"userId": "esp-ann", "traits": {"email": "esp@example.com"}})
    headers = {"authorization": "Bearer esp-secret"}
    for what in ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed"):
        content = {"uuid": f"esp-{what}", "recipient": "esp@example.com", "what": what, "at": "2026-01-02T03:04:05Z"}
        assert collector.http.post("/v1/webhooks/esp", content=body(content), headers=headers).json()["accepted"] == 1
    kinds = [each.kind for each in events(collector.of("esp-ann"))][1:]
    wanted = [Kind.EMAIL_SENT, Kind.EMAIL_OPEN, Kind.EMAIL_CLICK, Kind.BOUNCE, Kind.COMPLAINT, Kind.UNSUBSCRIBE]
    assert kinds == wanted
    wrong = {"authorization": "Bearer esp-secreT"}
    assert collector.http.post("/v1/webhooks/esp", content=b"{}", headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: body.id", "messages"),
        ("id: 'body.['\nmessages: []", "id: Value error, not JMESPath"),
        ("id: body.id\nmessages: [{when: body.x, typ: track}]", "messages.0.typ"),
        ("id: body.id\nmessages: [{when: body.x, type: delete}]", "messages.0.type"),
        ("id: [", ":1"),
        ("", "the file"),
    ],
)
def test_a_mapping_that_cannot_work_is_said_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    """At the start, not at the first call."""
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(KeysError, match=r"broken\.yaml") as error:
        load_mapping("broken.yaml", tmp_path)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources: [{name: a, write_key: secret-one}, {name: b, write_key: secret-one}]", "given twice"),
        ("sources: [{name: a, write_key: secret-one}]\nreaders: [{name: b, read_key: secret-one}]", "given twice"),
        ("sources: [{name: a, write_key: short}]", "sources.0.write_key"),
        ("sources: [{name: a, write_key: secret-one, tenant: 'A b'}]", "sources.0.tenant"),
        ("sources: [{name: a, write_key: '${NOT_THERE}'}]", "NOT_THERE"),
        ("webhooks: [{name: a, scheme: hmac, secret: secret-one}]", "mapping file"),
        ("sources: {", "not YAML"),
        ("source: []", "source"),
    ],
)
def test_keys_that_cannot_work_are_said_by_their_place_and_never_quoted(tmp_path: Path, text: str, said: str) -> None:
    """What stands on a screen is soon in a ticket."""
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(KeysError, match=r"keys\.yaml") as error:
        load(path, {})
    assert said in str(error.value)
    assert "secret-one" not in str(error.value)
    assert "short" not in str(error.value).replace("String should", "").replace("too short", "")


def test_nothing_that_was_sent_is_in_the_collectors_log_lines(collector: Collector) -> None:
    """No key, no id, no address, no path with an id in it."""
    for secret in ("write-key", "read-key", "shopify-secret", "@example", "sg-ann", "7001", CUSTOMER, "/v1/"):
        assert secret not in collector.log()
