"""Waits: campaigns that an event opens, others put off or cancel, and that fall due in log time."""

from typing import Any, Final

import msgspec

from operators.rules import Rules, Step, Steps, holds, mapping_of, subject_of
from state.campaigns import Campaign
from state.clock import DAY, NEVER
from state.commerce import Product
from state.events import Event
from state.outputs import NotSent
from state.people import Cause, Sent, User, Wait, Waits, storable
from state.records import Record

MAX_OPEN: Final = 16
MAX_SENT: Final = 32
MAX_ITEMS: Final = 20
LATE_WINDOW: Final = 7 * DAY
"""How long a cancelling event is remembered, so that an opening that happened before it but arrives later opens nothing."""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A wait that ended without a trigger."""

    wait: Wait
    reason: NotSent
    detail: str = ""


class Late(msgspec.Struct, frozen=True, gc=False):
    """A trigger that would not have gone out, had the cancelling event arrived in order."""

    sent: Sent
    detail: str


class Ripe(msgspec.Struct, frozen=True, gc=False):
    """A wait that fell due."""

    wait: Wait
    campaign: Campaign
    version: str
    ends_with_an_order: bool


class WaitMachine:
    """All campaigns of one tenant over one user's open waits.

    The due time counts from the append time of the last opening or resetting event: what arrives in one burst after an outage
    is read whole before anything falls due. Which event cancels what is decided in event time. `soonest` is how long after an
    event any other machine can first be due.
    """

    def __init__(self, campaigns: list[Campaign], soonest: int = NEVER) -> None:
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self._ripening = {c.id: (c, c.version, c.ends_with_an_order) for c in campaigns}
        self.steps_for = Rules(campaigns, soonest).of

    def on_event(self, user: User, event: Event, record: Record, steps: Steps) -> list[Ended | Late]:
        """Cancel, then put off or open waits, by what `steps_for` said of the event."""
        outcome: list[Ended | Late] = []
        now, time, waits = record.log_time, event.time, user.waits
        for step in steps.cancels:
            if step.cancels is True or holds(step.cancels, event):
                _cancel(waits, step, event, now, outcome)
        for step in steps.moves:
            campaign_id, subject = step.campaign_id, "" if step.subject is None else subject_of(step, event)
            for wait in waits.open:
                if wait.campaign_id == campaign_id and wait.subject == subject:
                    if step.resets is True or holds(step.resets, event):
                        due = now + step.wait
                        if due > wait.due:
                            wait.due = due
                        if time >= wait.last_at:
                            wait.last_at = time
                            if step.shows_event:
                                _show(wait, step.campaign, event)
                    break
            else:
                _open(waits, step, subject, event, record, outcome)
        return outcome

    def on_time(self, user: User, now: int) -> list[Ripe | Ended]:
        """Take out the waits that are due, oldest first."""
        opened = user.waits.open
        ripe = [wait for wait in opened if wait.due <= now]
        if not ripe:
            return []
        if len(ripe) > 1:
            ripe.sort(key=lambda w: (w.due, w.campaign_id, w.subject))
        user.waits.open = [wait for wait in opened if wait.due > now]
        return [
            Ripe(wait, *self._ripening[wait.campaign_id])
            if wait.campaign_id in self._ripening
            else Ended(wait, NotSent.WITHDRAWN)
            for wait in ripe
        ]

    def due(self, user: User) -> int | None:
        """Say when the next wait falls due."""
        opened = user.waits.open
        return min([wait.due for wait in opened]) if opened else None


def last_sent(user: User, campaign_id: str, subject: str) -> Sent | None:
    """Find what was sent last of a campaign about a subject, as far as it is remembered."""
    for sent in user.waits.sent:
        if sent.subject == subject and sent.campaign_id == campaign_id:
            return sent
    return None


def remember(user: User, sent: Sent) -> None:
    """Keep what was sent, newest for each campaign and subject; the oldest of too many is forgotten."""
    waits = user.waits
    campaign_id, subject = sent.campaign_id, sent.subject
    waits.sent = [s for s in waits.sent if s.subject != subject or s.campaign_id != campaign_id]
    waits.sent.append(sent)
    if len(waits.sent) > MAX_SENT:
        waits.sent.remove(next((s for s in waits.sent if s.subject), waits.sent[0]))


def _cancel(waits: Waits, step: Step, event: Event, now: int, outcome: list[Ended | Late]) -> None:
    campaign_id, time = step.campaign_id, event.time
    subject = subject_of(step, event) if step.campaign.cancel_by_subject else None
    mark = campaign_id if subject is None else f"{campaign_id}/{subject}"
    if len(waits.cancelled_at) > MAX_OPEN:
        waits.cancelled_at = {m: at for m, at in waits.cancelled_at.items() if at > now - LATE_WINDOW}
    if time > waits.cancelled_at.get(mark, 0):
        waits.cancelled_at[mark] = time
    for wait in tuple(waits.open):
        if wait.campaign_id == campaign_id and wait.last_at <= time and (subject is None or subject == wait.subject):
            waits.open.remove(wait)
            outcome.append(Ended(wait, NotSent.CANCELLED, event.name))
    for index, sent in enumerate(waits.sent):
        if sent.campaign_id != campaign_id or sent.cancelled or not sent.last_at <= time < sent.decided_at:
            continue
        if subject is None or subject == sent.subject:
            waits.sent[index] = msgspec.structs.replace(sent, cancelled=True)
            outcome.append(Late(sent, event.name))


def _show(wait: Wait, campaign: Campaign, event: Event) -> None:
    items = _items(event)
    if items:
        wait.items, wait.properties = items, _properties(campaign, event)


def _open(waits: Waits, step: Step, subject: str, event: Event, record: Record, outcome: list[Ended | Late]) -> None:
    if step.opens is not True and not holds(step.opens, event):
        return
    campaign, campaign_id, time, now = step.campaign, step.campaign_id, event.time, record.log_time
    mark = f"{campaign_id}/{subject}" if campaign.cancel_by_subject else campaign_id
    if time <= waits.cancelled_at.get(mark, -1):
        return
    cause = Cause(record.position, now, event.message_id, record.traceparent)
    items = _items(event) if step.shows_event else []
    properties = _properties(campaign, event)
    waits.open.append(Wait(campaign_id, subject, time, time, now + step.wait, cause, properties, items))
    if len(waits.open) > MAX_OPEN:
        oldest = min(waits.open, key=lambda w: (w.last_at, w.campaign_id, w.subject))
        waits.open.remove(oldest)
        outcome.append(Ended(oldest, NotSent.CROWDED_OUT))


def _items(event: Event) -> list[Product]:
    fields = event.fields
    if fields.products:
        return fields.products[:MAX_ITEMS]
    return [fields] if fields.product_id or fields.key else []


def _properties(campaign: Campaign, event: Event) -> dict[str, Any]:
    if not campaign.properties:
        return {}
    mapping = mapping_of(event)
    return {name: mapping[name] for name in campaign.properties if name in mapping and storable(mapping[name])}
