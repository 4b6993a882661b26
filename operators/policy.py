"""Policy: what becomes of a wait that fell due: a trigger, or a decision not to send and its reason."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from operators.carts import Item, contents
from operators.churn import Churned
from operators.waits import MAX_ITEMS, Ended, Late, Ripe, last_sent, remember
from state.campaigns import Items
from state.clock import to_iso
from state.commerce import Product
from state.outputs import MAX_TRIGGER_BYTES, CausePlace, Decision, Emission, NotSent, Recheck, Trigger, derived_id
from state.people import Sent, User, Wait

_ABOUT: Final = Product.__struct_fields__
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_encode_plain: Final = msgspec.json.Encoder().encode  # holds no mapping whose order could vary


def decide(user: User, ripe: Ripe, now: int, partition: int, churned: Churned | None = None) -> Emission | Ended:
    """Decide on a wait that is due: consent first, then re-entry, then whether there is anything to show."""
    wait, campaign = ripe.wait, ripe.campaign
    refusal = user.consent.refusal
    if refusal:
        return Ended(wait, NotSent(refusal))
    earlier = last_sent(user, campaign.id, wait.subject)
    if earlier is not None and not earlier.cancelled and now < earlier.decided_at + campaign.reentry:
        return Ended(wait, NotSent.REENTRY, earlier.trigger_id)
    items = contents(user.carts.open.get(wait.subject)) if campaign.items is Items.CART else wait.items
    if campaign.items is Items.CART and not items:
        return Ended(wait, NotSent.EMPTY_CART)
    trigger_id = derived_id(now, user.tenant, campaign.id, user.user_id, wait.subject, wait.cause.message_id)
    expires_at = now + campaign.expires_after
    sent = Sent(campaign.id, wait.subject, trigger_id, wait.opened_at, wait.last_at, now, expires_at)
    remember(user, sent)
    trigger = Trigger(
        trigger_id=trigger_id,
        kind="send",
        tenant=user.tenant,
        campaign_id=campaign.id,
        campaign_version=ripe.version,
        template_id=campaign.template_id,
        user_id=user.user_id,
        email=user.contact.email or None,
        occurred_at=to_iso(wait.opened_at),
        decided_at=to_iso(now),
        send_at=to_iso(now),
        expires_at=to_iso(expires_at),
        subject=wait.subject,
        payload=_payload(items, wait.properties),
        attributes=user.contact.traits,
        consent={"email": "not refused"},
        recheck=Recheck(
            orders=user.engagement.orders if ripe.ends_with_an_order else None, cart=campaign.items is Items.CART
        ),
        model={"name": churned.model, "version": churned.version, "score": churned.score} if churned else None,
        cause=[_place(wait, partition)],
    )
    return _emission(trigger_id, _fitting(trigger), campaign.id, "send", now, wait)


def not_sent(user: User, ended: Ended, now: int, partition: int) -> Emission:
    """Write down an email that is not sent."""
    wait = ended.wait
    decision = Decision(
        decision_id=derived_id(
            now, "not sent", user.tenant, wait.campaign_id, user.user_id, wait.subject, wait.cause.message_id
        ),
        tenant=user.tenant,
        campaign_id=wait.campaign_id,
        user_id=user.user_id,
        subject=wait.subject,
        reason=ended.reason,
        detail=ended.detail,
        opened_at=to_iso(wait.opened_at),
        decided_at=to_iso(now),
        cause=[_place(wait, partition)],
    )
    return _emission(decision.decision_id, _encode_plain(decision), wait.campaign_id, str(ended.reason), now, wait)


def take_back(user: User, late: Late, now: int, place: CausePlace, template_id: str) -> Emission:
    """Cancel a trigger that went out: the event that would have prevented it arrived late."""
    sent = late.sent
    trigger = Trigger(
        trigger_id=derived_id(now, "cancel", sent.trigger_id),
        kind="cancel",
        supersedes=sent.trigger_id,
        tenant=user.tenant,
        campaign_id=sent.campaign_id,
        campaign_version="",
        template_id=template_id,
        user_id=user.user_id,
        email=user.contact.email or None,
        occurred_at=to_iso(sent.opened_at),
        decided_at=to_iso(now),
        send_at=to_iso(now),
        expires_at=to_iso(sent.expires_at),
        subject=sent.subject,
        payload={"cancelled_by": late.detail},
        cause=[place],
    )
    return Emission(trigger.trigger_id, _encode(trigger), sent.campaign_id, "cancel", now, now, None)


def _emission(id_: str, value: bytes, campaign_id: str, label: str, now: int, wait: Wait) -> Emission:
    return Emission(id_, value, campaign_id, label, now, wait.cause.log_time, wait.cause.traceparent)


def _place(wait: Wait, partition: int) -> CausePlace:
    return CausePlace(partition, wait.cause.position, wait.cause.message_id)


def _payload(items: Sequence[Item | Product], properties: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if properties:
        payload["properties"] = properties
    if items:
        total = sum([(item.price or 0.0) * (item.quantity or 1.0) for item in items])
        shown = [item if isinstance(item, Item) else _told(item) for item in items[:MAX_ITEMS]]
        payload |= {"items": shown, "item_count": len(items), "total": round(total, 2)}
    return payload


def _told(product: Product) -> dict[str, Any]:
    return {name: value for name in _ABOUT if (value := getattr(product, name)) is not None}


def _fitting(trigger: Trigger) -> bytes:
    """Encode a trigger in at most MAX_TRIGGER_BYTES: items go first, then properties, then attributes."""
    value = _encode(trigger)
    payload, attributes = dict(trigger.payload), trigger.attributes
    while len(value) > MAX_TRIGGER_BYTES:
        if payload.get("items"):
            payload["items"] = payload["items"][:-1]
        elif "properties" in payload:
            del payload["properties"]
        else:
            attributes = {}
        value = _encode(msgspec.structs.replace(trigger, payload=payload, attributes=attributes))
    return value
