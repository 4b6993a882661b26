"""Delivery over real Redis: one outcome for each trigger, whatever the providers and the processes do."""

import asyncio
import time
from typing import Any

import pytest

from connectors.esp.lane import Pace
from connectors.redis_streams import connect, stream
from connectors.topics import TRIGGERS, Fenced
from state.clock import HOUR, SECOND
from state.deliveries import Attempt, Status
from state.letters import Answer, Verdict
from state.outputs import Trigger
from tests.delivery.delivering import Process, answered, decided, delivered, outcomes, statuses, told, within
from tests.delivery.lettering import ACCEPTED, BUSY, LOST, OpenDesk, Provider, cancel, trigger


def now() -> int:
    """Read the clock."""
    return time.time_ns() // 1000


def fresh(name: str, **changes: Any) -> Trigger:
    """Decide a trigger just now."""
    return trigger(name, at=now(), **changes)


def test_every_trigger_is_accepted_once_and_written_down(redis_url: str) -> None:
    """The common case, and what its record says."""
    decided(redis_url, *(fresh(f"user-{n}") for n in range(50)))
    provider = Provider()
    delivered(Process(redis_url, {"mail": provider}), redis_url, 50)
    assert set(provider.accepted.values()) == {1}
    one = outcomes(redis_url)["user-7"]
    assert (one.status, one.provider, one.provider_id, one.attempts) == (Status.ACCEPTED, "mail", "p-1", 1)
    assert (one.campaign_id, one.tenant, one.trigger) == ("cart_abandonment", "default", None)


def test_a_restart_sends_nothing_again_and_goes_on_with_what_is_open(redis_url: str) -> None:
    """One trigger waits for tomorrow, so everything after it is read again; its outcomes are known."""
    decided(redis_url, fresh("later", send_in=HOUR), *(fresh(f"user-{n}") for n in range(20)))
    provider = Provider()
    delivered(Process(redis_url, {"mail": provider}), redis_url, 20)
    decided(redis_url, fresh("new"))
    delivered(Process(redis_url, {"mail": provider}, name="run-2"), redis_url, 21)
    assert set(provider.accepted.values()) == {1}
    assert "later" not in outcomes(redis_url)


def test_whoever_bought_between_trigger_and_delivery_gets_nothing_and_the_reason_is_recorded(redis_url: str) -> None:
    """The trigger was right when it was decided."""
    desk = OpenDesk()
    desk.profiles["ann"] = {"orders": "1"}
    desk.profiles["ben"] = {"consent": "unsubscribed"}
    decided(redis_url, fresh("ann"), fresh("ben"))
    provider = Provider()
    delivered(Process(redis_url, {"mail": provider}, desk), redis_url, 2)
    assert not provider.called
    found = outcomes(redis_url)
    assert (found["ann"].status, found["ann"].reason) == (Status.CANCELLED, "ordered since")
    assert (found["ben"].status, found["ben"].reason) == (Status.CANCELLED, "unsubscribed")


def test_a_profile_that_is_written_a_moment_later_is_waited_for_and_one_that_is_gone_is_not(redis_url: str) -> None:
    """Profiles and triggers go different ways; a person who was forgotten has none for ever."""
    desk = OpenDesk()
    desk.profiles |= {"ann": None, "gone": None}
    decided(redis_url, fresh("ann"), trigger("gone", at=now() - 60 * SECOND))
    process = Process(redis_url, {"mail": Provider()}, desk)

    async def work() -> None:
        process.start()
        await process.until(lambda: statuses(redis_url) == {"gone": Status.CANCELLED})
        desk.profiles["ann"] = {}
        await process.until(lambda: statuses(redis_url).get("ann") is Status.ACCEPTED)
        await process.end()

    within(work)


def test_a_busy_provider_is_asked_again_and_a_refusal_is_final(redis_url: str) -> None:
    """503 twice, then 250; and somebody whose mailbox does not exist."""
    provider = Provider()
    provider.answering("ann", BUSY, BUSY)
    provider.answering("ben", Answer(Verdict.REJECTED, "550 no such mailbox"))
    decided(redis_url, fresh("ann"), fresh("ben"))
    delivered(Process(redis_url, {"mail": provider}), redis_url, 2)
    found = outcomes(redis_url)
    assert (found["ann"].status, found["ann"].attempts) == (Status.ACCEPTED, 3)
    assert (found["ben"].status, found["ben"].reason) == (Status.REJECTED, "550 no such mailbox")
    assert found["ben"].trigger["user_id"] == "ben"


def test_who_is_never_ready_is_given_up_or_expires(redis_url: str) -> None:
    """An email about yesterday's cart helps nobody."""
    provider = Provider()
    provider.answering("ann", *[BUSY] * 20)
    decided(redis_url, fresh("ann", expires_in=2 * SECOND))
    delivered(Process(redis_url, {"mail": provider}), redis_url, 1)
    assert statuses(redis_url) == {"ann": Status.EXPIRED}
    provider.answering("ben", *[BUSY] * 20)
    decided(redis_url, fresh("ben"))
    delivered(Process(redis_url, {"mail": provider}, name="run-2", pace=Pace(1000, 1000, 4, 1.0)), redis_url, 2)
    ben = outcomes(redis_url)["ben"]
    assert (ben.status, ben.reason.split(":")[0]) == (Status.REJECTED, f"given up after {ben.attempts} attempts")


def test_a_lost_answer_is_ambiguous_without_a_key_and_a_duplicate_with_one(redis_url: str) -> None:
    """Nobody can know whether the first was sent. It is counted, and not sent again."""
    plain, keyed = Provider(), Provider(remembers=3600)
    plain.answering("ann", LOST)
    keyed.answering("ben", LOST)
    decided(redis_url, fresh("ann"), fresh("ben", campaign_id="keyed"))
    process = Process(redis_url, {"mail": plain, "keyed": keyed}, lane_of=lambda c: "keyed" if c == "keyed" else "mail")
    delivered(process, redis_url, 2)
    assert statuses(redis_url) == {"ann": Status.AMBIGUOUS, "ben": Status.DUPLICATE}
    assert set(plain.accepted.values()) == set(keyed.accepted.values()) == {1}


def test_a_dead_provider_holds_up_its_own_campaigns_alone(redis_url: str) -> None:
    """The oldest complaint about self-hosted senders: one destination that hangs, and all mail stops."""
    dead, alive = Provider(), Provider()

    async def hang() -> None:
        await asyncio.sleep(3600)

    dead.pause = hang
    decided(redis_url, *(fresh(f"dead-{n}", campaign_id="dead") for n in range(30)))
    decided(redis_url, *(fresh(f"user-{n}") for n in range(30)))
    process = Process(redis_url, {"mail": alive, "dead": dead}, lane_of=lambda c: "dead" if c == "dead" else "mail")

    async def work() -> None:
        process.start()
        await process.until(lambda: len(outcomes(redis_url)) == 30)
        await process.die()

    within(work)
    assert len(dead.called) == 4
    assert set(statuses(redis_url)) == {f"user-{n}" for n in range(30)}


def test_a_cancel_stops_what_has_not_gone_out(redis_url: str) -> None:
    """The order arrived late; the email waits for the morning."""
    ann, ben = fresh("ann", send_in=HOUR), fresh("ben")
    provider = Provider()
    decided(redis_url, ann, ben)
    delivered(Process(redis_url, {"mail": provider}), redis_url, 1)
    decided(redis_url, cancel(ann), cancel(ben))
    process = Process(redis_url, {"mail": provider}, name="run-2")

    async def work() -> None:
        process.start()
        await process.until(lambda: len(answered(redis_url)) == 4)
        await process.end()

    within(work)
    ended = answered(redis_url)
    assert ended[ann.trigger_id] is Status.CANCELLED
    assert ended[cancel(ann).trigger_id] is Status.ACCEPTED
    assert ended[cancel(ben).trigger_id] is Status.REJECTED
    assert provider.called == ["ben"]


def test_a_cancel_during_a_call_that_fails_stops_the_next_one(redis_url: str) -> None:
    """The provider was busy; by the time it is ready, the person has bought."""
    ann, provider = fresh("ann"), Provider()
    gate = asyncio.Event()
    provider.pause = gate.wait
    provider.answering("ann", BUSY)
    decided(redis_url, ann)
    process = Process(redis_url, {"mail": provider})

    async def work() -> None:
        process.start()
        await process.until(lambda: provider.called)
        await asyncio.to_thread(decided, redis_url, cancel(ann))
        await asyncio.sleep(0.2)
        gate.set()
        await process.until(lambda: len(answered(redis_url)) == 2)
        await process.end()

    within(work)
    assert answered(redis_url) == {ann.trigger_id: Status.CANCELLED, cancel(ann).trigger_id: Status.ACCEPTED}
    assert len(provider.called) == 1


def test_a_stop_finishes_the_calls_under_way(redis_url: str) -> None:
    """Kubernetes asks for the end while a provider is thinking."""
    provider, gate = Provider(), asyncio.Event()
    provider.pause = gate.wait
    decided(redis_url, *(fresh(f"user-{n}") for n in range(10)))
    process = Process(redis_url, {"mail": provider})

    async def work() -> None:
        process.start()
        await process.until(lambda: len(provider.called) == 4)
        process.stop.requested = True
        await asyncio.sleep(0.2)
        gate.set()
        await process.end()

    within(work)
    assert set(statuses(redis_url).values()) == {Status.ACCEPTED}
    assert len(outcomes(redis_url)) == len(provider.called) < 10
    delivered(Process(redis_url, {"mail": provider}, name="run-2"), redis_url, 10)
    assert set(provider.accepted.values()) == {1}


@pytest.mark.parametrize("remembers", [0.0, 3600.0])
def test_a_call_that_was_under_way_at_a_crash_is_asked_again_with_its_key_or_is_ambiguous(
    redis_url: str, remembers: float
) -> None:
    """The provider took the letter; the process died before it heard so."""
    provider, gate = Provider(remembers=remembers), asyncio.Event()

    async def after_accepting() -> None:
        await gate.wait()

    decided(redis_url, fresh("ann"))
    process = Process(redis_url, {"mail": provider})
    provider.answering("ann", ACCEPTED)
    provider.pause = after_accepting

    async def work() -> None:
        process.start()
        await process.until(lambda: provider.called)
        await process.die()

    within(work)
    (attempt,) = (record for record in told(redis_url) if isinstance(record, Attempt))
    provider.accepted[attempt.trigger_id] += 1
    provider.pause = None
    delivered(Process(redis_url, {"mail": provider}, name="run-2"), redis_url, 1)
    assert statuses(redis_url) == {"ann": Status.DUPLICATE if remembers else Status.AMBIGUOUS}
    assert provider.accepted[attempt.trigger_id] == 1


def test_a_zombie_calls_nobody(redis_url: str) -> None:
    """A process slept while its successor took over. Its next attempt is refused before the call."""
    first, second = Provider(), Provider()
    zombie = Process(redis_url, {"mail": first})
    successor = Process(redis_url, {"mail": second}, name="run-2")

    async def work() -> None:
        zombie.start()
        await zombie.until(lambda: len(told(redis_url)) == 2)
        successor.start()
        await successor.until(lambda: len(told(redis_url)) == 4)
        await asyncio.to_thread(decided, redis_url, *(fresh(f"user-{n}") for n in range(20)))
        await successor.until(lambda: len(outcomes(redis_url)) == 20)
        assert zombie.task is not None
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(zombie.task, 10)
        assert ended.group_contains(Fenced)
        await successor.end()

    within(work)
    assert not first.called
    assert set(second.accepted.values()) == {1}


def test_what_is_no_trigger_is_rejected_and_the_next_is_delivered(redis_url: str) -> None:
    """Somebody wrote into the topic by hand."""
    with connect(redis_url) as client:
        client.xadd(stream(TRIGGERS, 0), {"id": "x", "v": b"[1, 2"})
    decided(redis_url, fresh("ann"))
    delivered(Process(redis_url, {"mail": Provider()}), redis_url, 2)
    assert statuses(redis_url) == {"": Status.REJECTED, "ann": Status.ACCEPTED}
    delivered(Process(redis_url, {"mail": Provider()}, name="run-2"), redis_url, 2)
