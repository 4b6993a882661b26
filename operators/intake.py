"""What delivery makes of an entry of the triggers topic: an open case, or outcomes at once."""

from typing import Final

import msgspec

from operators.docket import Case, Docket, Stage
from state.clock import from_iso
from state.deliveries import Outcome, Status
from state.outputs import Trigger

decode: Final = msgspec.json.Decoder(Trigger).decode


def take_in(
    docket: Docket, value: bytes, after: str, log_time: int, partition: int, now: int
) -> tuple[Case | None, list[Outcome]]:
    """Open a case for a trigger; end what it takes back, or what cannot be read.

    A trigger that has its outcome already brings nothing, nor does a `cancel` for a call that is under way: it has its outcome
    when the call returns. Outcomes that are returned count once they are durable and the docket was told.
    """
    try:
        trigger = decode(value)
        from_iso(trigger.decided_at)
        if trigger.kind == "send":
            return docket.add(trigger, value, after, log_time), []
    except (ValueError, RecursionError) as error:
        id_, said = f"{partition}:{after}", str(error).replace("`", "")
        return None, [Outcome(id_, now, Status.REJECTED, said)] if docket.owe(id_, after) else []
    return None, _taken_back(docket, trigger, now) if docket.owe(trigger.trigger_id, after) else []


def _taken_back(docket: Docket, cancel: Trigger, now: int) -> list[Outcome]:
    case = docket.find(cancel.supersedes or "")
    if case is not None and case.stage is Stage.UNDER_WAY and not case.cancelled_by:
        case.cancelled_by = cancel.trigger_id
        return []
    if case is None or case.stage is Stage.ENDED or case.cancelled_by:
        return [outcome_of_cancel(cancel, now, stopped=False)]
    case.stage = Stage.ENDED  # nobody may begin a call while the outcome is being written
    reason = f"taken back: {cancel.trigger_id}"
    return [
        outcome(decode(case.value), case, Status.CANCELLED, reason, now),
        outcome_of_cancel(cancel, now, stopped=True),
    ]


def outcome(trigger: Trigger, case: Case, status: Status, reason: str, now: int, provider_id: str = "") -> Outcome:
    """Write down how a trigger ended."""
    return Outcome(
        trigger.trigger_id,
        now,
        status,
        reason,
        tenant=trigger.tenant,
        campaign_id=trigger.campaign_id,
        user_id=trigger.user_id,
        provider=case.provider,
        provider_id=provider_id,
        attempts=case.attempts,
        decided_at=trigger.decided_at,
        trigger=msgspec.Raw(case.value) if status is Status.REJECTED else None,
    )


def outcome_of_cancel(cancel: Trigger, now: int, *, stopped: bool) -> Outcome:
    """Write down how a `cancel` itself ended: accepted where it stopped the email, rejected where it came too late."""
    status, reason = (Status.ACCEPTED, "stopped") if stopped else (Status.REJECTED, "too late: it has ended")
    return Outcome(
        cancel.trigger_id,
        now,
        status,
        reason,
        tenant=cancel.tenant,
        campaign_id=cancel.campaign_id,
        user_id=cancel.user_id,
        decided_at=cancel.decided_at,
        kind="cancel",
    )
