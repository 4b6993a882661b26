"""The fold: a shard as a pure function of its partition's log, `(state, records) -> (state, outputs)`.

Per record: decode and validate, identity, dedup, machines, policy. Time comes from the log alone: before a record is taken
in, everything that was due before its append time happens, at the time at which it was due.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from operators import identity, policy, profile
from operators.carts import CartMachine
from operators.churn import Churned, ChurnMachine, crossing
from operators.contact import ContactMachine
from operators.dead_letters import letter
from operators.dedup import is_repeat
from operators.engagement import EngagementMachine
from operators.forgetting import retired
from operators.machine import Machine
from operators.sessions import SessionMachine
from operators.waits import Ended, Late, Ripe, WaitMachine
from state import campaigns, wire
from state.churn import Example
from state.clock import DAY, HOUR, MINUTE, to_iso
from state.commerce import Kind
from state.events import Event, Reason, Rejected, decode, decoded
from state.outputs import CausePlace, Outputs, ProfileUpdate
from state.people import User, Visitor, user_key, visitor_key
from state.records import Batch, Record
from state.shard import Shard

WHOLE_AFTER: Final = HOUR
"""Who was away longer than this gets a whole profile, so that a store which lost it is mended; others get what changed."""


class Limits(msgspec.Struct, frozen=True):
    """What the fold is told once, at the entry point. Durations are microseconds."""

    session_gap: int = 30 * MINUTE
    user_retention: int = 400 * DAY
    visitor_retention: int = 30 * DAY


ChurnOver = Callable[[dict[str, wire.Model]], ChurnMachine]
"""Builds the churn machine over a shard's models."""


class Fold:
    """Folds one partition's log into its shard.

    Without `churn_over` nobody is scored and no example is taken.
    """

    def __init__(self, shard: Shard, limits: Limits, churn_over: ChurnOver | None = None) -> None:
        self.shard = shard
        self._limits, self._session_gap = limits, limits.session_gap
        shard.fill_calendar(limits.user_retention, limits.visitor_retention)
        self._churn = None if churn_over is None else churn_over(shard.models)
        self._carts = CartMachine()
        self._timed: tuple[Machine, ...] = (SessionMachine(limits.session_gap), self._carts)
        churn = () if self._churn is None else (self._churn,)
        self._dues = tuple(machine.due for machine in (*self._timed, *churn))
        self._soonest = min(machine.soonest for machine in (*self._timed, *churn))
        machines = (*self._timed, EngagementMachine(), ContactMachine(), *churn)
        take_ins = [(m, self._in_carts if m is self._carts else m.on_event) for m in machines]
        self._by_kind = tuple(
            (tuple(take_in for m, take_in in take_ins if m.concerns(kind)), profile.CHANGED_BY[kind]) for kind in Kind
        )
        self._waits = {
            tenant: WaitMachine(campaigns.decode(body), self._soonest) for tenant, (_, body) in shard.campaigns.items()
        }
        self._no_campaigns = WaitMachine([], self._soonest)
        self._touched: dict[str, int] = {}
        self._ended: list[tuple[User, Ended, int]] = []
        self._types: list[str] = []
        self._out = Outputs(shard.partition)

    def apply(self, batch: Batch) -> Outputs:
        """Take in a batch. How a log is split into batches changes nothing but how often a profile is written."""
        shard = self.shard
        shard.partition = batch.partition
        user_event, note_type = self._user_event, self._types.append
        out = self._out = Outputs(batch.partition, records=len(batch.records))
        for record, seen in decoded(batch.records):
            now = record.log_time
            if now < shard.log_time:
                now = shard.log_time
                record = msgspec.structs.replace(record, log_time=now)  # noqa: PLW2901 - append times only grow
            if shard.idle_until < now:
                self._advance(now)
            shard.log_time = now
            if type(seen) is Event and (user_id := seen.user_id):
                note_type(seen.type)
                user_event(user_id, seen, record)
            else:
                self._take(record, seen)
        self._advance(batch.read_to)
        out.decisions = [policy.not_sent(user, ended, now, batch.partition) for user, ended, now in self._ended]
        self._ended.clear()
        out.types = Counter(self._types)
        self._types.clear()
        as_of = max(shard.log_time, batch.read_to)
        as_of_text = to_iso(as_of)
        for key, parts in self._touched.items():
            user = shard.find(key)
            if isinstance(user, User):
                caused_at = as_of if parts & profile.BY_TIME else user.touched
                out.profiles.append(profile.compose(user, parts, as_of_text, caused_at, self._scored(user, as_of)))
        self._touched.clear()
        return out

    def _take(self, record: Record, seen: Event | wire.Control | Rejected) -> None:
        match seen:
            case Event():
                self._types.append(seen.type)
                visitor = self._visitor(seen.tenant, seen.anonymous_id, record.log_time)
                self._out.feedback += identity.on_visit(visitor, record, record.value)
            case Rejected():
                self._reject(record, seen)
            case wire.Forward():
                self._types.append("forward")
                self._forward(seen, record)
            case wire.Link():
                self._types.append("link")
                visitor = self._visitor(seen.tenant, seen.anonymous_id, record.log_time)
                self._out.feedback += identity.on_link(visitor, seen, record.log_time)
            case wire.CampaignsInForce():
                self._types.append("campaigns")
                self._in_force(seen, record)
            case wire.Model():
                self._types.append("model")
                if self._churn is not None and not self._churn.install(seen):
                    self._reject(record, Rejected(Reason.INVALID, "a model that cannot score: the last one stays"))
            case wire.Delete():
                self._types.append("delete")
                self._erase(seen, record)

    def _user_event(self, user_id: str, event: Event, record: Record, via: str = "") -> None:
        now, out, shard = record.log_time, self._out, self.shard
        waits = self._waits.get(event.tenant) or self._no_campaigns
        steps = waits.steps_for(event)
        if (steps.reads_properties or event.type == "identify") and isinstance(mapping := event.mapping(), Rejected):
            self._reject(record, mapping)
            return
        key = user_key(event.tenant, user_id)
        user = shard.live.get(key)
        if type(user) is not User:
            user = self._user(key, event.tenant, user_id, now)
        if is_repeat(user, event.message_id, now):
            out.repeats += 1
            user.touched = now
            return
        take_ins, changed = self._by_kind[event.kind]
        time, touched = event.time, self._touched
        if now - user.touched > WHOLE_AFTER or time < user.engagement.first_at:
            changed = profile.WHOLE
        touched[key] = touched.get(key, 0) | changed
        if now - time > self._session_gap:
            out.late += 1
        if event.anonymous_id or event.previous_id:
            out.feedback += identity.links_of(user, event, via)
        for take_in in take_ins:
            take_in(user, event, record)
        for outcome in waits.on_event(user, event, record, steps):
            self._note(user, outcome, waits, record.position, event.message_id)
        due = shard.wakes.get(key)
        if due is None or due > now + steps.soonest:
            shard.wake(key, self._due(user, waits))
        user.touched = now

    def _user(self, key: str, tenant: str, user_id: str, now: int) -> User:
        user = self.shard.find(key)
        if not isinstance(user, User):
            user = User(tenant, user_id, 0)
            self.shard.add(key, user, now + self._limits.user_retention)
        return user

    def _in_carts(self, user: User, event: Event, record: Record) -> None:
        before = len(user.carts.open)
        self._carts.on_event(user, event, record)
        self.shard.carts_open += len(user.carts.open) - before

    def _note(self, user: User, outcome: Ended | Late, waits: WaitMachine, position: str, message_id: str = "") -> None:
        now, partition = self.shard.log_time, self.shard.partition
        if isinstance(outcome, Ended):
            self._ended.append((user, outcome, now))
        else:
            place, campaign = CausePlace(partition, position, message_id), waits.campaigns[outcome.sent.campaign_id]
            self._out.triggers.append(policy.take_back(user, outcome, now, place, campaign.template_id))

    def _scored(self, user: User, now: int) -> Churned | None:
        return None if self._churn is None else self._churn.scored(user, now)

    def _due(self, user: User, waits: WaitMachine) -> int | None:
        soonest = waits.due(user)
        for due in self._dues:
            at = due(user)
            soonest = at if soonest is None or (at is not None and at < soonest) else soonest
        return soonest

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
        waits = self._waits.get(user.tenant, self._no_campaigns)
        for said in self._churn.on_time(user, now) if self._churn else ():
            if isinstance(said, Example):
                self._out.examples.append(said)
            else:
                event = crossing(user, said, now)
                waits.on_event(user, event, Record("", now, b""), waits.steps_for(event))
        for what in waits.on_time(user, now):
            if isinstance(what, Ripe):
                decided = policy.decide(user, what, now, self.shard.partition, self._scored(user, now))
            else:
                decided = what
            if isinstance(decided, Ended):
                self._ended.append((user, decided, now))
            else:
                self._out.triggers.append(decided)
                self._touched[key] = profile.WHOLE | profile.BY_TIME  # whoever composes the email looks it up now
        carts_before = len(user.carts.open)
        for machine in self._timed:
            machine.on_time(user, now)
        if len(user.carts.open) != carts_before:
            self.shard.carts_open += len(user.carts.open) - carts_before
            self._touched[key] = profile.WHOLE | profile.BY_TIME
        self.shard.wake(key, self._due(user, waits))

    def _retire(self, key: str, now: int) -> None:
        gone = retired(self.shard, key, now, self._limits.user_retention, self._limits.visitor_retention)
        if isinstance(gone, User):
            self._take_profile(key, gone.tenant, gone.user_id, now)

    def _take_profile(self, key: str, tenant: str, user_id: str, now: int) -> None:
        self._touched.pop(key, None)
        self._out.profiles.append(ProfileUpdate(tenant, user_id, None, now))

    def _erase(self, asked: wire.Delete, record: Record) -> None:
        """Forget a user: what was decided and may not be delivered yet is taken back, and their devices are told.

        A device is forgotten if it is still theirs.
        """
        now, shard = record.log_time, self.shard
        if asked.anonymous_id is not None:
            key = visitor_key(asked.tenant, asked.anonymous_id)
            visitor = shard.find(key)
            if isinstance(visitor, Visitor) and visitor.user_id == asked.user_id:
                shard.erase(key)
            return
        key = user_key(asked.tenant, asked.user_id)
        user = shard.find(key)
        if isinstance(user, User):
            self._out.feedback += identity.partings(user)
            user.contact.email = ""
            waits = self._waits.get(asked.tenant, self._no_campaigns)
            for sent in user.waits.sent:
                if not sent.cancelled and sent.expires_at > now and sent.campaign_id in waits.campaigns:
                    self._note(user, Late(sent, "deletion"), waits, record.position)
            shard.carts_open -= len(user.carts.open)
        self._take_profile(key, asked.tenant, asked.user_id, now)
        shard.erase(key)

    def _visitor(self, tenant: str, anonymous_id: str, now: int) -> Visitor:
        return identity.visitor(self.shard, tenant, anonymous_id, now, self._limits.visitor_retention)

    def _forward(self, forward: wire.Forward, record: Record) -> None:
        for forwarded in forward.events:
            event = decode(bytes(forwarded.message), forwarded.log_time)
            if isinstance(event, Event):
                self._user_event(forward.user_id, event, record, forward.anonymous_id)
            else:
                nested = Rejected(Reason.INVALID, "a forward carries messages, not control records")
                self._reject(record, event if isinstance(event, Rejected) else nested)

    def _in_force(self, seen: wire.CampaignsInForce, record: Record) -> None:
        known = self.shard.campaigns.get(seen.tenant)
        if known is not None and known[0] == seen.digest:
            return
        body = bytes(seen.campaigns)
        try:
            waits = WaitMachine(campaigns.decode(body), self._soonest)
        except msgspec.DecodeError as error:
            self._reject(record, Rejected(Reason.INVALID, f"campaigns: {error}"))
            return
        self.shard.campaigns[seen.tenant] = (seen.digest, body)
        self._waits[seen.tenant] = waits

    def _reject(self, record: Record, why: Rejected) -> None:
        self._out.dead_letters.append(letter(record, why, self.shard.partition))
