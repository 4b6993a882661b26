"""Waits: campaigns that an event opens, others put off or cancel, and that fall due in log time."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from state.campaigns import ANY, Campaign, Items, Selector
from state.clock import DAY
from state.commerce import Product
from state.events import Event, Rejected
from state.outputs import NotSent
from state.people import Cause, Sent, User, Wait
from state.records import Record

MAX_OPEN: Final = 16
MAX_SENT: Final = 32
MAX_ITEMS: Final = 20
LATE_WINDOW: Final = 7 * DAY
"""How long a cancelling event is remembered, so that an opening that happened before it but arrives later opens nothing."""

MESSAGE_TYPES: Final = frozenset({"identify", "page", "screen", "group", "alias"})


class Ended(NamedTuple):
    """A wait that ended without a trigger."""

    wait: Wait
    reason: NotSent
    detail: str = ""


class Late(NamedTuple):
    """A trigger that would not have gone out, had the cancelling event arrived in order."""

    sent: Sent
    detail: str


class Ripe(NamedTuple):
    """A wait that fell due."""

    wait: Wait
    campaign: Campaign
    version: str


class _Rule(NamedTuple):
    campaign: Campaign
    selector: Selector


_NO_RULES: Final[list[_Rule]] = []


class WaitMachine:
    """All campaigns of one tenant over one user's open waits.

    The due time counts from the append time of the last opening or resetting event: what arrives in one burst after an outage
    is read whole before anything falls due. Which event cancels what is decided in event time.
    """

    def __init__(self, campaigns: list[Campaign]) -> None:
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self._versions = {campaign.id: campaign.version for campaign in campaigns}
        self._opens, self._resets, self._cancels = (
            _index(campaigns, role) for role in ("opened_by", "reset_by", "cancelled_by")
        )
        reading = [c for c in campaigns if c.properties or not hasattr(Product, c.subject)]
        self._needs_mapping = {
            _name(selector.event)
            for campaign in campaigns
            for selector in (*campaign.opened_by, *campaign.reset_by, *campaign.cancelled_by)
            if selector.where or campaign in reading
        }

    def reads_properties(self, event: Event) -> bool:
        """Tell whether some campaign looks into the properties of such an event, so that they must be decodable."""
        return _key(event) in self._needs_mapping

    def on_event(self, user: User, event: Event, record: Record) -> list[Ended | Late]:
        """Cancel, put off and open waits."""
        key, activity = _key(event), event.kind.is_activity
        outcome: list[Ended | Late] = []
        for campaign in _matching(self._cancels, key, activity, event):
            outcome += _cancel(user, campaign, event, record.log_time)
        for campaign in _matching(self._resets, key, activity, event):
            _reset(user, campaign, event, record)
        for campaign in _matching(self._opens, key, activity, event):
            outcome += _open(user, campaign, event, record)
        return outcome

    def on_time(self, user: User, now: int) -> list[Ripe | Ended]:
        """Take out the waits that are due, oldest first."""
        ripe = sorted((w for w in user.waits.open if w.due <= now), key=lambda w: (w.due, w.campaign_id, w.subject))
        if not ripe:
            return []
        user.waits.open = [wait for wait in user.waits.open if wait.due > now]
        return [
            Ripe(wait, self.campaigns[wait.campaign_id], self._versions[wait.campaign_id])
            if wait.campaign_id in self.campaigns
            else Ended(wait, NotSent.WITHDRAWN)
            for wait in ripe
        ]

    def due(self, user: User) -> int | None:
        """Say when the next wait falls due."""
        return min((wait.due for wait in user.waits.open), default=None)


def remember(user: User, sent: Sent) -> None:
    """Keep what was sent, newest for each campaign and subject; the oldest of too many is forgotten."""
    waits = user.waits
    waits.sent = [s for s in waits.sent if (s.campaign_id, s.subject) != (sent.campaign_id, sent.subject)]
    waits.sent.append(sent)
    if len(waits.sent) > MAX_SENT:
        waits.sent.remove(next((s for s in waits.sent if s.subject), waits.sent[0]))


def _index(campaigns: list[Campaign], role: str) -> dict[str, list[_Rule]]:
    index: dict[str, list[_Rule]] = defaultdict(list)
    for campaign in campaigns:
        for selector in getattr(campaign, role):
            index[_name(selector.event)].append(_Rule(campaign, selector))
    return dict(index)


def _name(selected: str) -> str:
    return f"@{selected}" if selected in MESSAGE_TYPES else selected


def _key(event: Event) -> str:
    return event.name if event.type == "track" else f"@{event.type}"


def _matching(index: dict[str, list[_Rule]], key: str, activity: bool, event: Event) -> Iterator[Campaign]:
    rules = index.get(key, _NO_RULES)
    if activity and ANY in index:
        rules = rules + index[ANY]
    mapping: dict[str, Any] | None = None
    for rule in rules:
        if rule.selector.where:
            if mapping is None:
                mapping = _mapping(event)
            if not all(condition.holds(mapping) for condition in rule.selector.where):
                continue
        yield rule.campaign


def _mapping(event: Event) -> dict[str, Any]:
    mapping = event.mapping()
    return {} if isinstance(mapping, Rejected) else mapping


def _subject(campaign: Campaign, event: Event) -> str:
    if campaign.subject == "user":
        return ""
    value = getattr(event.fields, campaign.subject, None)
    if value is None:
        value = _mapping(event).get(campaign.subject)
    return str(value) if isinstance(value, str | int) else ""


def _cancel(user: User, campaign: Campaign, event: Event, now: int) -> Iterator[Ended | Late]:
    waits, time = user.waits, event.time
    subject = _subject(campaign, event) if campaign.cancel_by_subject else None
    mark = campaign.id if subject is None else f"{campaign.id}/{subject}"
    if len(waits.cancelled_at) > MAX_OPEN:
        waits.cancelled_at = {m: at for m, at in waits.cancelled_at.items() if at > now - LATE_WINDOW}
    waits.cancelled_at[mark] = max(time, waits.cancelled_at.get(mark, 0))
    for wait in list(waits.open):
        if wait.campaign_id == campaign.id and subject in {None, wait.subject} and wait.last_at <= time:
            waits.open.remove(wait)
            yield Ended(wait, NotSent.CANCELLED, event.name)
    for index, sent in enumerate(waits.sent):
        concerned = sent.campaign_id == campaign.id and subject in {None, sent.subject} and not sent.cancelled
        if concerned and sent.last_at <= time < sent.decided_at:
            waits.sent[index] = msgspec.structs.replace(sent, cancelled=True)
            yield Late(sent, event.name)


def _find(user: User, campaign: Campaign, subject: str) -> Wait | None:
    for wait in user.waits.open:
        if wait.subject == subject and wait.campaign_id == campaign.id:
            return wait
    return None


def _reset(user: User, campaign: Campaign, event: Event, record: Record) -> None:
    wait = _find(user, campaign, _subject(campaign, event))
    if wait is None:
        return
    wait.due = max(wait.due, record.log_time + campaign.wait)
    if event.time >= wait.last_at:
        wait.last_at = event.time
        items = _items(campaign, event)
        if items:
            wait.items, wait.properties = items, _properties(campaign, event)


def _open(user: User, campaign: Campaign, event: Event, record: Record) -> Iterator[Ended]:
    subject, waits = _subject(campaign, event), user.waits
    mark = f"{campaign.id}/{subject}" if campaign.cancel_by_subject else campaign.id
    if event.time <= waits.cancelled_at.get(mark, -1) or _find(user, campaign, subject) is not None:
        return
    cause = Cause(record.position, record.log_time, event.message_id, record.traceparent)
    due = record.log_time + campaign.wait
    items, properties = _items(campaign, event), _properties(campaign, event)
    waits.open.append(Wait(campaign.id, subject, event.time, event.time, due, cause, properties, items))
    if len(waits.open) > MAX_OPEN:
        oldest = min(waits.open, key=lambda w: (w.last_at, w.campaign_id, w.subject))
        waits.open.remove(oldest)
        yield Ended(oldest, NotSent.CROWDED_OUT)


def _items(campaign: Campaign, event: Event) -> list[dict[str, Any]]:
    if campaign.items is not Items.EVENT:
        return []
    products: list[Product] = list(event.fields.products) or ([event.fields] if event.fields.key else [])
    names = Product.__struct_fields__
    return [
        {name: value for name in names if (value := getattr(product, name)) is not None}
        for product in products[:MAX_ITEMS]
    ]


def _properties(campaign: Campaign, event: Event) -> dict[str, Any]:
    if not campaign.properties:
        return {}
    mapping = _mapping(event)
    return {name: mapping[name] for name in campaign.properties if name in mapping}
