"""Intake: messages in, acknowledged records in the log; what is refused is named, what is good is kept."""

from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, NamedTuple, Protocol

from api.answers import Refused, bad_request, too_large, unavailable
from api.messages import Admitted, Envelope, admit
from connectors.appending import Appender, Unavailable
from connectors.recorder import Metrics
from state.events import Reason, Rejected

MAX_NAMED: Final = 100
"""How many refused messages of one request are named; the rest are counted."""


class Addresses(Protocol):
    """Which users told which email address."""

    async def note(self, told: Sequence[tuple[str, str, str]]) -> None:
        """Remember (tenant, address, user id)."""


class Taken(NamedTuple):
    """What became of messages: how many the log has, and those refused, by their place among them."""

    accepted: int
    refused: list[tuple[int, Rejected]]


class Intake:
    """Takes messages from any door: SDKs, pixels, webhooks.

    Args:
        log: where they go.
        addresses: hears of every address that is told, so that profiles are found by it.
        new_id: names messages whose sender did not.
        metrics: hears what was taken and refused.
    """

    def __init__(self, log: Appender, addresses: Addresses, new_id: Callable[[], str], metrics: Metrics) -> None:
        self._log, self._addresses, self._new_id, self._metrics = log, addresses, new_id, metrics

    async def take(self, messages: Sequence[bytes], envelope: Envelope) -> Taken:
        """Append what is good, and return once the log has it.

        Raises Refused (503) where the log is away or full; any part may be in the log then.
        """
        admitted: list[Admitted] = []
        refused: list[tuple[int, Rejected]] = []
        for index, message in enumerate(messages):
            found = admit(message, envelope, self._new_id)
            if isinstance(found, Rejected):
                refused.append((index, found))
            else:
                admitted.append(found)
        began = perf_counter()
        if admitted:
            await self._append(admitted, envelope.tenant)
        if self._metrics.enabled:
            reasons = Counter(why.reason for _, why in refused)
            self._metrics.collected(len(admitted), reasons, perf_counter() - began)
        return Taken(len(admitted), refused)

    async def _append(self, admitted: list[Admitted], tenant: str) -> None:
        told = [(tenant, address, each.event.user_id) for each in admitted if (address := _address(each))]
        try:
            if told:
                await self._addresses.note(told)
            await self._log.append([each.entry for each in admitted])
        except Unavailable as away:
            raise unavailable(str(away), away.retry_after) from away


def named(taken: Taken, *, single: bool) -> Refused:
    """Name each message that was refused: 400, or 413 for a single one that is too large."""
    first, why = taken.refused[0]
    errors = [
        {"index": index, "code": each.reason.value, "message": each.detail} for index, each in taken.refused[:MAX_NAMED]
    ]
    if single and why.reason is Reason.TOO_LARGE:
        return too_large(why.detail)
    if single:
        return bad_request(why.detail, errors=errors, accepted=0)
    count = f"{len(taken.refused)} of {len(taken.refused) + taken.accepted} messages refused"
    return bad_request(f"{count}; batch[{first}]: {why.detail}", errors=errors, accepted=taken.accepted)


def _address(admitted: Admitted) -> str:
    event = admitted.event
    if event.type != "identify" or not event.user_id or b"@" not in bytes(event.raw):
        return ""
    traits = event.mapping()
    address = "" if isinstance(traits, Rejected) else traits.get("email")
    return address if isinstance(address, str) else ""
