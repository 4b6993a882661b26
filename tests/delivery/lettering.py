"""A vocabulary for tests of delivery: triggers, profiles, and a provider whose answers a test chooses."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from operators.last_look import look
from state.clock import HOUR, MINUTE, to_iso
from state.letters import Answer, Letter, Verdict
from state.outputs import CausePlace, Recheck, Trigger, derived_id

NOON = 1_767_268_800_000_000
"""2026-01-01T12:00:00Z."""

ACCEPTED = Answer(Verdict.ACCEPTED, provider_id="p-1")
BUSY = Answer(Verdict.RETRY, "busy")
LOST = Answer(Verdict.AMBIGUOUS, "the answer was lost")


def trigger(name: str, *, at: int = NOON, send_in: int = 0, expires_in: int = HOUR, **changes: Any) -> Trigger:
    """Decide a trigger about one user and one campaign."""
    sound: dict[str, Any] = {
        "trigger_id": derived_id(at, name),
        "kind": "send",
        "tenant": "default",
        "campaign_id": "cart_abandonment",
        "campaign_version": "1",
        "template_id": "cart-abandonment",
        "user_id": name,
        "email": f"{name}@example.com",
        "occurred_at": to_iso(at - 10 * MINUTE),
        "decided_at": to_iso(at),
        "send_at": to_iso(at + send_in),
        "expires_at": to_iso(at + expires_in),
        "subject": "cart-1",
        "payload": {"items": [{"product_id": "p", "name": "Shoes", "price": 50.0, "quantity": 1}], "item_count": 1},
        "recheck": Recheck(orders=0, cart=True),
        "cause": [CausePlace(0, "1-0", f"m-{name}")],
    }
    return Trigger(**(sound | changes))


def cancel(sent: Trigger) -> Trigger:
    """Take a trigger back."""
    return msgspec.structs.replace(
        sent, trigger_id=derived_id(NOON, "cancel", sent.trigger_id), kind="cancel", supersedes=sent.trigger_id
    )


def written(each: Trigger) -> bytes:
    """Write a trigger as the topic has it."""
    return msgspec.json.encode(each)


class Provider:
    """A provider that answers as a test chose for the person, and then accepts; it counts what it accepted by key."""

    def __init__(self, *, remembers: float = 0.0, renders: bool = True) -> None:
        self.remembers, self.renders = remembers, renders
        self.answers: dict[str, deque[Answer]] = defaultdict(deque)
        self.called: list[str] = []
        self.accepted: Counter[str] = Counter()
        self.pause: Callable[[], Any] | None = None

    def answering(self, user_id: str, *answers: Answer) -> None:
        """Answer a person's next calls."""
        self.answers[user_id].extend(answers)

    async def send(self, letter: Letter) -> Answer:
        """Answer a call."""
        user_id = letter.trigger.user_id
        self.called.append(user_id)
        if self.pause is not None:
            await self.pause()
        answer = self.answers[user_id].popleft() if self.answers[user_id] else ACCEPTED
        if answer.verdict in {Verdict.ACCEPTED, Verdict.AMBIGUOUS}:
            id_ = letter.trigger.trigger_id
            if self.remembers and self.accepted[id_]:
                return Answer(Verdict.DUPLICATE)
            self.accepted[id_] += 1
        return answer

    async def close(self) -> None:
        """Let go of nothing."""


class OpenDesk:
    """A desk that knows everybody as the test says; nobody is unknown but whom the test took away."""

    def __init__(self) -> None:
        self.profiles: dict[str, dict[str, str] | None] = {}
        self.lock = asyncio.Event()

    async def letter(self, trigger: Trigger, *, with_email: bool) -> Letter | None:
        """Make a letter after a last look."""
        assert with_email in {True, False}
        profile = self.profiles.get(trigger.user_id, {"cart_id": "other"})
        if profile is None:
            return None
        fresh = look(trigger, profile, {})
        return Letter(fresh.trigger, fresh.to, {})
