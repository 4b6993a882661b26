"""A vocabulary for tests: who did what, when."""

from typing import Any

import msgspec

from operators.fold import Fold, Limits
from state.campaigns import Campaign, Items, Selector, encode
from state.clock import DAY, HOUR, MINUTE, SECOND, to_iso
from state.outputs import Outputs
from state.records import Batch, Record
from state.shard import Shard
from state.wire import CampaignsInForce, encoder

START = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, when every story begins."""


def at(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
    """Say a time since the story began."""
    return START + int(days * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND)


def sent(type_: str, when: int, *, user: str | None = "ann", visitor: str | None = None, **rest: Any) -> bytes:
    """Write a Segment message that happened at `when`."""
    message_id = rest.pop("message_id", f"{type_}-{when}-{user}-{visitor}-{rest.get('event', '')}")
    message = {"type": type_, "messageId": message_id, "timestamp": _iso(when), **rest}
    if user is not None:
        message["userId"] = user
    if visitor is not None:
        message["anonymousId"] = visitor
    return msgspec.json.encode(message)


def tracked(event: str, when: int, *, user: str | None = "ann", visitor: str | None = None, **properties: Any) -> bytes:
    """Write a track event."""
    return sent("track", when, user=user, visitor=visitor, event=event, properties=properties)


def added_to_cart(when: int, product: str = "shoes", *, cart_id: str = "cart-1", **rest: Any) -> bytes:
    """Put a product into a cart."""
    return tracked(
        "Product Added", when, product_id=product, name=product, price=50, quantity=1, cart_id=cart_id, **rest
    )


def ordered(when: int, order_id: str = "order-1", **rest: Any) -> bytes:
    """Buy."""
    return tracked("Order Completed", when, order_id=order_id, total=50, **rest)


def _iso(when: int) -> str:
    return to_iso(when)


CART = Campaign(
    id="cart",
    template_id="cart",
    opened_by=(Selector("Product Added"),),
    reset_by=(Selector("Product Added"), Selector("Product Removed")),
    cancelled_by=(Selector("Order Completed"),),
    wait=HOUR,
    subject="cart_id",
    items=Items.CART,
    expires_after=DAY,
    reentry=7 * DAY,
)


def in_force(*campaigns: Campaign) -> bytes:
    """Write a record that puts campaigns in force."""
    digest, body = encode(list(campaigns))
    return encoder.encode(CampaignsInForce(digest=digest, campaigns=msgspec.Raw(body)))


class Story:
    """A log of one partition, appended to as time goes on, and the shard that folds it."""

    def __init__(self, *campaigns: Campaign, limits: Limits | None = None) -> None:
        self.fold = Fold(Shard(0), limits or Limits())
        self.records: list[Record] = []
        self.outputs: list[Outputs] = []
        self.append(in_force(*(campaigns or (CART,))), START)

    def append(self, value: bytes, when: int) -> Outputs:
        """Append a record at a time, and fold it."""
        record = Record(f"{when // 1000}-{len(self.records)}", when, value)
        self.records.append(record)
        return self._apply(Batch(0, [record], 0))

    def read_to(self, when: int) -> Outputs:
        """Learn that the log is complete up to a time."""
        return self._apply(Batch(0, [], when))

    def feed_back(self) -> None:
        """Append the links and forwards of the last step, as if all were in this partition."""
        for _, record in self.outputs[-1].feedback:
            self.append(encoder.encode(record), self.records[-1].log_time)

    def triggers(self, kind: str = "send") -> list[dict[str, Any]]:
        """List the triggers so far."""
        found = [msgspec.json.decode(e.value) for out in self.outputs for e in out.triggers]
        return [trigger for trigger in found if trigger["kind"] == kind]

    def reasons(self) -> list[str]:
        """List the reasons of what was not sent."""
        return [emission.label for out in self.outputs for emission in out.decisions]

    def _apply(self, batch: Batch) -> Outputs:
        out = self.fold.apply(batch)
        self.outputs.append(out)
        return out
