"""The fold: a shard as a pure function of its partition's log, `(state, records) -> (state, outputs)`.

Per record: decode and validate, identity, dedup, machines, policy. Time comes from the log alone: before a record is taken
in, everything that was due before its append time happens, at the time at which it was due.
"""

import base64
from typing import Final

import msgspec

from operators import identity, policy, profile
from operators.carts import CartMachine
from operators.contact import ContactMachine
from operators.dedup import is_repeat
from operators.engagement import EngagementMachine
from operators.machine import Machine
from operators.sessions import SessionMachine
from operators.waits import Ended, Late, Ripe, WaitMachine
from state import campaigns, wire
from state.clock import DAY, MINUTE
from state.commerce import Kind
from state.events import Event, Reason, Rejected, decode
from state.outputs import CausePlace, DeadLetter, Emission, Feedback, ProfileUpdate
from state.people import Person, User, Visitor, user_key, visitor_key
from state.records import Batch, Record
from state.shard import Shard

_NO_CAMPAIGNS: Final = WaitMachine([])
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Limits(msgspec.Struct, frozen=True):
    """What the fold is told once, at the entry point. Durations are microseconds."""

    session_gap: int = 30 * MINUTE
    user_retention: int = 400 * DAY
    visitor_retention: int = 30 * DAY


class Outputs(msgspec.Struct):
    """What one batch led to, and counts for telemetry. Profiles hold each touched user once."""

    partition: int
    profiles: list[ProfileUpdate] = []
    triggers: list[Emission] = []
    decisions: list[Emission] = []
    dead_letters: list[DeadLetter] = []
    feedback: list[Feedback] = []
    records: int = 0
    types: dict[str, int] = {}
    repeats: int = 0
    late: int = 0


class Fold:
    """Folds one partition's log into its shard."""

    def __init__(self, shard: Shard, limits: Limits) -> None:
        self.shard = shard
        self._limits = limits
        self._timed: tuple[Machine, ...] = (SessionMachine(limits.session_gap), CartMachine())
        self._machines: tuple[Machine, ...] = (*self._timed, EngagementMachine(), ContactMachine())
        self._concerned = {kind: [m for m in self._machines if m.concerns(kind)] for kind in Kind}
        self._waits = {tenant: WaitMachine(campaigns.decode(body)) for tenant, (_, body) in shard.campaigns.items()}
        self._touched: dict[str, int] = {}
        self._out = Outputs(shard.partition)

    def apply(self, batch: Batch) -> Outputs:
        """Take in a batch. How a log is split into batches changes nothing but how often a profile is written."""
        self.shard.partition = batch.partition
        out = self._out = Outputs(batch.partition, records=len(batch.records))
        for record in batch.records:
            now = max(record.log_time, self.shard.log_time)
            self._advance(now)
            self.shard.log_time = now
            self._take(record if record.log_time == now else record._replace(log_time=now))
        self._advance(batch.read_to)
        as_of = max(self.shard.log_time, batch.read_to)
        for key, log_time in self._touched.items():
            user = self.shard.find(key)
            if isinstance(user, User):
                out.profiles.append(profile.compose(user, as_of, log_time))
        self._touched.clear()
        return out

    def _take(self, record: Record) -> None:
        seen = decode(record.value, record.log_time)
        match seen:
            case Rejected():
                self._reject(record, seen)
            case Event():
                self._count(seen.type)
                self._event(seen, record, record.value)
            case wire.Forward():
                self._count("forward")
                self._forward(seen, record)
            case wire.Link():
                self._count("link")
                visitor = self._visitor(seen.tenant, seen.anonymous_id, record.log_time)
                self._out.feedback += identity.on_link(visitor, seen, record.log_time)
            case wire.CampaignsInForce():
                self._count("campaigns")
                self._in_force(seen, record)
            case wire.Model():
                self._count("model")
                self.shard.models[seen.name] = seen
            case wire.Delete():
                self._count("delete")
                self._delete(seen.tenant, seen.user_id, record.log_time)

    def _count(self, type_: str) -> None:
        self._out.types[type_] = self._out.types.get(type_, 0) + 1

    def _event(self, event: Event, record: Record, value: bytes) -> None:
        if event.user_id:
            self._user_event(event.user_id, event, record)
        else:
            visitor = self._visitor(event.tenant, event.anonymous_id, record.log_time)
            self._out.feedback += identity.on_visit(visitor, record, value)

    def _user_event(self, user_id: str, event: Event, record: Record) -> None:
        waits = self._waits.get(event.tenant, _NO_CAMPAIGNS)
        if event.type == "identify" or waits.reads_properties(event):
            mapping = event.mapping()
            if isinstance(mapping, Rejected):
                self._reject(record, mapping)
                return
        now = record.log_time
        key = user_key(event.tenant, user_id)
        user = self.shard.find(key)
        if not isinstance(user, User):
            user = User(event.tenant, user_id, now)
            self.shard.add(key, user, now + self._limits.user_retention)
        user.touched = now
        if is_repeat(user.seen, event.message_id, now):
            self._out.repeats += 1
            return
        self._out.feedback += identity.links_of(user, event)
        if now - event.time > self._limits.session_gap:
            self._out.late += 1
        had_cart = bool(user.carts.open)
        for machine in self._concerned[event.kind]:
            machine.on_event(user, event, record)
        for outcome in waits.on_event(user, event, record):
            if isinstance(outcome, Ended):
                self._out.decisions.append(policy.not_sent(user, outcome, now, self.shard.partition))
            else:
                self._take_back(
                    user, outcome, waits, CausePlace(self.shard.partition, record.position, event.message_id)
                )
        self.shard.carts_open += bool(user.carts.open) - had_cart
        self._touched[key] = now
        self.shard.wake(key, self._due(user, waits))

    def _take_back(self, user: User, late: Late, waits: WaitMachine, place: CausePlace) -> None:
        campaign = waits.campaigns[late.sent.campaign_id]
        self._out.triggers.append(policy.take_back(user, late, self.shard.log_time, place, campaign.template_id))

    def _due(self, user: User, waits: WaitMachine) -> int | None:
        earliest = waits.due(user)
        for machine in self._timed:
            due = machine.due(user)
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    def _advance(self, horizon: int) -> None:
        """Let happen what was due before `horizon`, each thing at its own time."""
        for now, key in self.shard.due_before(horizon):
            if key is None:
                for aged in self.shard.keys_of_the_day():
                    self._retire(aged, now)
                continue
            user = self.shard.find(key)
            if isinstance(user, User):
                self._on_time(key, user, now)

    def _on_time(self, key: str, user: User, now: int) -> None:
        waits = self._waits.get(user.tenant, _NO_CAMPAIGNS)
        had_cart = bool(user.carts.open)
        for ended in waits.on_time(user, now):
            if isinstance(ended, Ripe):
                emission = policy.decide(user, ended, now, self.shard.partition)
            else:
                emission = policy.not_sent(user, ended, now, self.shard.partition)
            (self._out.triggers if emission.label == "send" else self._out.decisions).append(emission)
        for machine in self._timed:
            machine.on_time(user, now)
        self.shard.carts_open += bool(user.carts.open) - had_cart
        self._touched[key] = now
        self.shard.wake(key, self._due(user, waits))

    def _retire(self, key: str, now: int) -> None:
        person = self.shard.find(key)
        if person is None:
            return
        keep_until = person.touched + self._retention(person)
        if keep_until >= now or self.shard.is_due(key):
            self.shard.look_again(key, max(keep_until, now))
        elif isinstance(person, User):
            self._delete(person.tenant, person.user_id, now)
        else:
            self.shard.forget(key)

    def _retention(self, person: Person) -> int:
        return self._limits.user_retention if isinstance(person, User) else self._limits.visitor_retention

    def _delete(self, tenant: str, user_id: str, now: int) -> None:
        key = user_key(tenant, user_id)
        user = self.shard.find(key)
        if isinstance(user, User):
            self.shard.carts_open -= bool(user.carts.open)
        self.shard.forget(key)
        self._touched.pop(key, None)
        self._out.profiles.append(ProfileUpdate(tenant, user_id, None, now))

    def _visitor(self, tenant: str, anonymous_id: str, now: int) -> Visitor:
        key = visitor_key(tenant, anonymous_id)
        visitor = self.shard.find(key)
        if not isinstance(visitor, Visitor):
            visitor = Visitor(tenant, anonymous_id, now)
            self.shard.add(key, visitor, now + self._limits.visitor_retention)
        visitor.touched = now
        return visitor

    def _forward(self, forward: wire.Forward, record: Record) -> None:
        for forwarded in forward.events:
            event = decode(bytes(forwarded.message), forwarded.log_time)
            if isinstance(event, Event):
                self._user_event(forward.user_id, event, record)
            else:
                self._reject(record, event if isinstance(event, Rejected) else _nested())

    def _in_force(self, seen: wire.CampaignsInForce, record: Record) -> None:
        known = self.shard.campaigns.get(seen.tenant)
        if known is not None and known[0] == seen.digest:
            return
        body = bytes(seen.campaigns)
        try:
            waits = WaitMachine(campaigns.decode(body))
        except msgspec.DecodeError as error:
            self._reject(record, Rejected(_nested().reason, f"campaigns: {error}"))
            return
        self.shard.campaigns[seen.tenant] = (seen.digest, body)
        self._waits[seen.tenant] = waits

    def _reject(self, record: Record, why: Rejected) -> None:
        text, coded = None, None
        try:
            text = record.value.decode()
        except UnicodeDecodeError:
            coded = base64.b64encode(record.value).decode()
        partition = self.shard.partition
        letter = DeadLetter(
            id=f"{partition}:{record.position}",
            reason=why.reason.value,
            detail=why.detail,
            partition=partition,
            position=record.position,
            log_time=record.log_time,
            value=text,
            base64=coded,
        )
        self._out.dead_letters.append(letter)


def _nested() -> Rejected:
    return Rejected(Reason.INVALID, "a forward carries messages, not control records")
