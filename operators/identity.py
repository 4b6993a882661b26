"""Identity: what a visitor did waits until the log says who they are; people meet only through the log."""

from typing import Final

import msgspec

from state.clock import DAY
from state.events import Event
from state.outputs import Feedback
from state.people import User, Visitor, Waiting, visitor_key
from state.records import Record
from state.shard import Shard
from state.wire import Delete, Forward, Forwarded, Link

MAX_WAITING: Final = 50
MAX_WAITING_BYTES: Final = 64 * 1024
WAITING_AGE: Final = 7 * DAY
MAX_VISITORS: Final = 8


def visitor(shard: Shard, tenant: str, anonymous_id: str, now: int, retention: int) -> Visitor:
    """Find a visitor, or make them known, and note that they were here."""
    key = visitor_key(tenant, anonymous_id)
    found = shard.find(key)
    if not isinstance(found, Visitor):
        found = Visitor(tenant, anonymous_id, now)
        shard.add(key, found, now + retention)
    found.touched = now
    return found


def links_of(user: User, event: Event, via: str = "") -> list[Feedback]:
    """Link what an event of a user ties to them: the device's anonymous id, or the previous id of an alias.

    An event forwarded from a visitor (`via`) links that one not again: somebody else may be on the device by now.

    A device is linked when it is first seen with the user, and at every identify, since another user may have been on it
    in between.
    """
    links = []
    visitor = event.anonymous_id
    if visitor and visitor not in {via, user.user_id} and (event.type == "identify" or visitor not in user.visitors):
        if visitor in user.visitors:
            user.visitors.remove(visitor)
        user.visitors.append(visitor)
        del user.visitors[:-MAX_VISITORS]
        links.append(_link(user, visitor))
    if event.previous_id and event.previous_id != user.user_id:
        links.append(_link(user, event.previous_id))
    return links


def partings(user: User) -> list[Feedback]:
    """Let the devices of a user who is to be forgotten know."""
    gone = user.user_id
    return [Feedback(v, Delete(tenant=user.tenant, user_id=gone, anonymous_id=v)) for v in user.visitors]


def on_visit(visitor: Visitor, record: Record, value: bytes) -> list[Feedback]:
    """Take in a visitor's message: forward it to the user they are known to be, or let it wait for a name."""
    entry = Waiting(record.log_time, value)
    if visitor.user_id:
        return [_forward(visitor, [entry])]
    waiting = [w for w in visitor.waiting if w.log_time > record.log_time - WAITING_AGE]
    waiting.append(entry)
    size = sum(len(w.message) for w in waiting)
    while len(waiting) > MAX_WAITING or size > MAX_WAITING_BYTES:
        size -= len(waiting.pop(0).message)
    visitor.waiting = waiting
    return []


def on_link(visitor: Visitor, link: Link, now: int) -> list[Feedback]:
    """Learn who a visitor is, and forward what waited. A later link goes to whoever is on the device now."""
    visitor.user_id = link.user_id
    waiting = [w for w in visitor.waiting if w.log_time > now - WAITING_AGE]
    visitor.waiting = []
    return [_forward(visitor, waiting)] if waiting else []


def _link(user: User, visitor: str) -> Feedback:
    return Feedback(visitor, Link(tenant=user.tenant, anonymous_id=visitor, user_id=user.user_id))


def _forward(visitor: Visitor, waiting: list[Waiting]) -> Feedback:
    events = [Forwarded(w.log_time, msgspec.Raw(w.message)) for w in waiting]
    forward = Forward(
        tenant=visitor.tenant,
        anonymous_id=visitor.anonymous_id,
        user_id=visitor.user_id,
        hops=1,
        events=events,
    )
    return Feedback(visitor.user_id, forward)
