"""Rules: which campaigns an event concerns, worked out once for each event name when campaigns come into force."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from state.campaigns import ANY, Campaign, Filter, Items, Selector
from state.clock import NEVER
from state.commerce import KNOWN, Kind, Properties
from state.events import Event, Rejected

Condition = bool | tuple[tuple[Filter, ...], ...]
"""Never, always, or when all filters of one of the alternatives hold."""

_MESSAGE_TYPES: Final = frozenset({"identify", "page", "screen", "group", "alias"})
_FIELDS: Final = frozenset(Properties.__struct_fields__)


class Step(msgspec.Struct, frozen=True):
    """What one campaign makes of one kind of event. `subject` is None where a person has one wait only."""

    campaign: Campaign
    campaign_id: str
    wait: int
    subject: str | None
    shows_event: bool
    """The email shows the products of the event."""
    cancels: Condition
    resets: Condition
    opens: Condition


class Steps(msgspec.Struct, frozen=True):
    """What all campaigns make of one kind of event: first those that it may cancel, then those it may put off or open."""

    cancels: tuple[Step, ...]
    moves: tuple[Step, ...]
    reads_properties: bool
    """Some campaign looks into the properties of such an event, so that they must be decodable."""
    soonest: int
    """How long after such an event something that it caused can first fall due."""


class Rules:
    """The campaigns of one tenant, by event. `soonest` is how long after any event another machine can first be due."""

    def __init__(self, campaigns: list[Campaign], soonest: int) -> None:
        selected = {selector.event for c in campaigns for selector in (*c.opened_by, *c.reset_by, *c.cancelled_by)}
        names = {known.name for known in KNOWN.values()} | selected - {ANY}
        self._messages = {name: _steps(campaigns, name, soonest) for name in _MESSAGE_TYPES}
        self._tracks = {name: _steps(campaigns, name, soonest) for name in names - _MESSAGE_TYPES}
        self._any = _steps(campaigns, ANY, soonest)

    def of(self, event: Event) -> Steps:
        """Say what the campaigns make of an event. One that no campaign and no vocabulary names is something a person did."""
        named = self._tracks if event.type == "track" else self._messages
        return named.get(event.name, self._any)


def holds(condition: Condition, event: Event) -> bool:
    """Tell whether an event meets a condition."""
    if isinstance(condition, bool):
        return condition
    mapping = mapping_of(event)
    return any(all(one.holds(mapping) for one in alternative) for alternative in condition)


def mapping_of(event: Event) -> dict[str, Any]:
    """Decode an event's properties; undecodable ones are empty here, and rejected before where a campaign reads them."""
    mapping = event.mapping()
    return {} if isinstance(mapping, Rejected) else mapping


def subject_of(step: Step, event: Event) -> str:
    """Name what the wait is about: the value of a property, or nothing for the person as such."""
    if step.subject is None:
        return ""
    value = getattr(event.fields, step.subject) if step.subject in _FIELDS else None
    if value is None:
        value = mapping_of(event).get(step.subject)
    return str(value) if isinstance(value, str | int) else ""


def _steps(campaigns: list[Campaign], name: str, soonest: int) -> Steps:
    known = KNOWN.get(name)
    names = {name, ANY} if known is None or known.kind <= Kind.ORDER else {name}
    steps = [
        Step(
            campaign,
            campaign.id,
            campaign.wait,
            None if campaign.subject == "user" else campaign.subject,
            campaign.items is Items.EVENT,
            _condition(campaign.cancelled_by, names),
            _condition(campaign.reset_by, names),
            _condition(campaign.opened_by, names),
        )
        for campaign in campaigns
    ]
    cancels = tuple(step for step in steps if step.cancels)
    moves = tuple(step for step in steps if step.resets or step.opens)
    reads = any(_reads(step) for step in (*cancels, *moves))
    return Steps(cancels, moves, reads, min(soonest, *(step.wait for step in moves), NEVER))


def _condition(selectors: Iterable[Selector], names: set[str]) -> Condition:
    alternatives = tuple(selector.where for selector in selectors if selector.event in names)
    return True if () in alternatives else alternatives or False


def _reads(step: Step) -> bool:
    filtered = any(not isinstance(condition, bool) for condition in (step.cancels, step.resets, step.opens))
    return filtered or bool(step.campaign.properties) or (step.subject is not None and step.subject not in _FIELDS)
