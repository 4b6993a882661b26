"""What a reviewer looked for in delivery: ways to lose an email, to send it twice, or to stop for all because of one."""

import asyncio
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import msgspec
import pytest

from connectors.appending import Away
from connectors.delivery_log import CHECKPOINTS, Checkpoint, RedisDeliveryLog, Writer, recalled
from connectors.esp.dispatch import Dispatcher, Partition
from connectors.esp.lane import Lane, Pace
from connectors.esp.smtp import Mailbox, Security, SmtpEsp
from connectors.looks import RedisLook, Seen
from connectors.recorder import Metrics
from connectors.redis_streams import connect, stream
from connectors.topics import DELIVERIES, TRIGGERS, Buried
from dataflows.delivery import _open
from operators.docket import Docket, Stage
from operators.intake import take_in
from operators.pacing import Breaker, TokenBucket
from state.clock import DAY, HOUR, SECOND
from state.deliveries import Attempt, Outcome, Status, decode, encode, id_of
from state.letters import Answer, Email, Letter, Verdict
from state.outputs import Trigger
from state.records import partition_of
from tests.delivery.delivering import (
    FAST,
    PARTITIONS,
    Process,
    answered,
    decided,
    delivered,
    outcomes,
    statuses,
    told,
    within,
)
from tests.delivery.lettering import BUSY, LOST, NOON, OpenDesk, Provider, cancel, trigger, written
from tests.esp.mail_server import MailServer, serving

ANN, BEN, CAT = (trigger(name) for name in ("ann", "ben", "cat"))


def now() -> int:
    """Read the clock."""
    return time.time_ns() // 1000


def fresh(name: str, **changes: Any) -> Trigger:
    """Decide a trigger just now."""
    return trigger(name, at=now(), **changes)


class Hanging:
    """A writer to which outcomes do not get through: the log is away, as Kafka's may be while Redis is there."""

    def __init__(self, writer: Writer, hold: threading.Event) -> None:
        self._writer, self._hold = writer, hold

    @property
    def position(self) -> str:
        """Say where it is."""
        return self._writer.position

    def write_batch(self, values: list[Buried]) -> None:
        """Append, unless there is an outcome among them: then wait, and fail."""
        if any(isinstance(decode(each.value), Outcome) for each in values):
            self._hold.wait(10)
            raise OSError("the log is away")
        self._writer.write_batch(values)

    def snapshot(self) -> Any:
        """Wait until all of it is durable."""
        return self._writer.snapshot()

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()


class HangingLog(RedisDeliveryLog):
    """A log whose outcomes hang until the test lets them fail."""

    def __init__(self, url: str, hold: threading.Event) -> None:
        super().__init__(url, PARTITIONS, Metrics())
        self._hold = hold

    def writer(self, *place: Any) -> Writer:
        """Open a writer."""
        return Hanging(super().writer(*place), self._hold)


def checkpoint(redis_url: str, partition: int) -> Checkpoint:
    """Read a checkpoint as a process that starts does."""
    with connect(redis_url) as client:
        found = client.hget(CHECKPOINTS, str(partition))
    return Checkpoint() if found is None else msgspec.json.decode(found, type=Checkpoint)


# Lost: what is not written down must be found again.


def test_a_checkpoint_does_not_pass_what_is_not_written_down_yet(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was away for a minute while Redis was not: the checkpoint ran ahead, the outcomes failed, and were never made."""
    monkeypatch.setattr("dataflows.delivery._CHECKPOINT_SECONDS", 0.0)
    hold, provider = threading.Event(), Provider()
    taken_back = fresh("ben", send_in=HOUR)
    decided(redis_url, fresh("ann"), taken_back)
    process = Process(redis_url, {"mail": provider}, log=HangingLog(redis_url, hold))

    async def work() -> None:
        process.start()
        await process.until(lambda: provider.called)
        await asyncio.to_thread(decided, redis_url, cancel(taken_back))
        with connect(redis_url) as client:
            client.xadd(stream(TRIGGERS, partition_of("ann", PARTITIONS)), {"id": "x", "v": b"[1, 2"})
        await asyncio.sleep(2.5)
        hold.set()
        await process.die()

    within(work)
    assert [checkpoint(redis_url, partition).triggers for partition in range(PARTITIONS)] == [None] * PARTITIONS

    async def again() -> None:
        successor = Process(redis_url, {"mail": provider}, name="run-2").start()
        await successor.until(lambda: len(answered(redis_url)) == 4)
        await successor.end()

    within(again)
    assert sorted(answered(redis_url).values()) == [
        Status.ACCEPTED,  # the cancel
        Status.AMBIGUOUS,
        Status.CANCELLED,
        Status.REJECTED,
    ]


def test_a_docket_resumes_before_a_case_whose_outcome_is_being_written() -> None:
    """Nobody may begin a call for it, and yet it has not ended."""
    docket = Docket(None, None, NOON)
    case, _ = take_in(docket, written(ANN), "1", NOON, 0, NOON)
    assert case is not None
    case.stage = Stage.ENDED
    assert docket.resumes[0] is None
    docket.end(ANN.trigger_id, "9")
    assert docket.resumes[0] == "1"


def test_a_docket_resumes_before_a_cancel_or_a_broken_record_whose_outcome_is_being_written() -> None:
    """They have outcomes of their own, and whoever resumes after them would never write those."""
    docket = Docket(None, None, NOON)
    take_in(docket, written(ANN), "1", NOON, 0, NOON)
    docket.end(ANN.trigger_id, "9")
    _, (late,) = take_in(docket, written(cancel(ANN)), "2", NOON, 0, NOON)
    _, (broken,) = take_in(docket, b"[", "3", NOON, 0, NOON)
    assert docket.resumes[0] == "1"
    docket.end(broken.trigger_id, "10")
    assert docket.resumes[0] == "1"
    docket.end(late.trigger_id, "11")
    assert docket.resumes[0] == "3"


def test_a_cancel_whose_trigger_expires_before_the_next_try_has_its_outcome_all_the_same(redis_url: str) -> None:
    """It came while a letter was being made, which then could not be made, for Redis was away."""
    ann = fresh("ann", expires_in=SECOND)
    asked, gate = asyncio.Event(), asyncio.Event()

    class AwayDesk(OpenDesk):
        async def letter(self, trigger: Trigger, *, with_email: bool) -> Letter | None:  # noqa: ARG002 - as a desk has it
            asked.set()
            await gate.wait()
            raise Away("profiles cannot be reached")

    decided(redis_url, ann)
    process = Process(redis_url, {"mail": Provider()}, AwayDesk())

    async def work() -> None:
        process.start()
        await asyncio.wait_for(asked.wait(), 5)
        await asyncio.to_thread(decided, redis_url, cancel(ann))
        await asyncio.sleep(0.3)
        gate.set()
        await process.until(lambda: len(answered(redis_url)) == 2)
        await process.end()

    within(work)
    assert answered(redis_url) == {ann.trigger_id: Status.CANCELLED, cancel(ann).trigger_id: Status.ACCEPTED}


def test_two_cancels_of_one_trigger_have_an_outcome_each_and_one_that_is_read_twice_has_one() -> None:
    """A copied topic brings a cancel again in the same batch."""
    docket = Docket(None, None, NOON)
    case, _ = take_in(docket, written(ANN), "1", NOON, 0, NOON)
    assert case is not None
    case.stage = Stage.UNDER_WAY
    other = msgspec.structs.replace(cancel(ANN), trigger_id="another")
    assert take_in(docket, written(cancel(ANN)), "2", NOON, 0, NOON) == (None, [])
    assert take_in(docket, written(cancel(ANN)), "3", NOON, 0, NOON) == (None, [])
    _, (second,) = take_in(docket, written(other), "4", NOON, 0, NOON)
    assert (case.cancelled_by, second.trigger_id) == (cancel(ANN).trigger_id, "another")
    _, (late,) = take_in(docket, written(cancel(BEN)), "5", NOON, 0, NOON)
    assert late.status is Status.REJECTED
    assert take_in(docket, written(cancel(BEN)), "6", NOON, 0, NOON) == (None, [])


# Sent twice, or when it should not be.


def test_a_lost_answer_stays_in_doubt_when_the_next_call_finds_the_provider_busy(redis_url: str) -> None:
    """The first call may have been accepted. After a 503 it looked as if nothing had been: another provider sent it."""
    keyed, mail = Provider(remembers=3600), Provider()
    keyed.answering("ann", LOST, *[BUSY] * 20)
    decided(redis_url, fresh("ann"))
    process = Process(redis_url, {"keyed": keyed}, lane_of=lambda _: "keyed")

    async def work() -> None:
        process.start()
        await process.until(lambda: len(keyed.called) == 2)
        await asyncio.sleep(0.2)
        await process.die()

    within(work)
    assert sum(keyed.accepted.values()) == 1
    delivered(Process(redis_url, {"mail": mail}, name="run-2"), redis_url, 1)
    assert not mail.called
    assert statuses(redis_url) == {"ann": Status.AMBIGUOUS}


def test_what_is_in_doubt_when_it_expires_or_is_taken_back_is_ambiguous_and_not_as_if_nobody_had_it(
    redis_url: str,
) -> None:
    """Expired means that nobody took it, cancelled that nobody was asked; neither is known here."""
    keyed = Provider(remembers=3600)
    ben = fresh("ben")
    keyed.answering("ann", LOST, *[BUSY] * 20)
    keyed.answering("ben", LOST, *[BUSY] * 20)
    decided(redis_url, fresh("ann", expires_in=2 * SECOND), ben)
    process = Process(redis_url, {"mail": keyed})

    async def work() -> None:
        process.start()
        await process.until(lambda: keyed.called.count("ben") == 2)
        await asyncio.to_thread(decided, redis_url, cancel(ben))
        await process.until(lambda: len(answered(redis_url)) == 3)
        await process.end()

    within(work)
    assert outcomes(redis_url)["ann"].status is Status.AMBIGUOUS
    assert answered(redis_url)[ben.trigger_id] is Status.AMBIGUOUS
    assert answered(redis_url)[cancel(ben).trigger_id] is Status.REJECTED


def test_what_has_expired_is_not_asked_about_again_after_a_crash(redis_url: str) -> None:
    """Nobody knows whether the provider has it; if it has not, asking would send yesterday's sale."""
    keyed, gate = Provider(remembers=3600), asyncio.Event()
    keyed.pause = gate.wait
    decided(redis_url, fresh("ann", expires_in=SECOND))
    process = Process(redis_url, {"mail": keyed})

    async def work() -> None:
        process.start()
        await process.until(lambda: keyed.called)
        await process.die()
        await asyncio.sleep(1)

    within(work)
    keyed.pause = None
    delivered(Process(redis_url, {"mail": keyed}, name="run-2"), redis_url, 1)
    assert keyed.called == ["ann"]
    assert statuses(redis_url) == {"ann": Status.AMBIGUOUS}


@pytest.mark.parametrize(
    ("said", "verdict"), [("251 2.0.0 it is on its way", Verdict.ACCEPTED), ("thank you", Verdict.AMBIGUOUS)]
)
def test_an_odd_reply_after_the_end_of_a_letter_does_not_bring_it_again(said: str, verdict: Verdict) -> None:
    """The server has the letter. Whatever was not 250 counted as busy, and it was sent once more, and once more."""
    server = MailServer()
    server.answers.append(said)

    async def run(port: int) -> Answer:
        mailbox = Mailbox("127.0.0.1", port, "b@shop.example", "hello@shop.example", "", "shop.example", Security.NONE)
        provider = SmtpEsp(mailbox, None, 1, 5.0, lambda: NOON)
        answer = await provider.send(Letter(ANN, "ann@example.com", {}, Email("Your cart", "<p>Shoes</p>", "Shoes")))
        await provider.close()
        return answer

    with serving(server) as port:
        assert asyncio.run(run(port)).verdict is verdict


# One that stops all.


def test_a_letter_that_cannot_be_made_for_a_bug_is_rejected_and_the_next_is_sent(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody wrote a stock of `many` into the catalogue. Delivery died of it, and of the same trigger at every start."""

    class Broken(OpenDesk):
        async def letter(self, trigger: Trigger, *, with_email: bool) -> Letter | None:
            if trigger.user_id == "ann":
                raise ValueError(f"could not make anything of {trigger.email}")
            return await super().letter(trigger, with_email=with_email)

    decided(redis_url, fresh("ann"), fresh("ben"))
    with caplog.at_level(logging.INFO):
        delivered(Process(redis_url, {"mail": Provider()}, Broken()), redis_url, 2)
    assert statuses(redis_url) == {"ann": Status.REJECTED, "ben": Status.ACCEPTED}
    assert outcomes(redis_url)["ann"].reason == "no letter can be made: ValueError"
    assert "test_review.py" in str([record.__dict__ for record in caplog.records])
    assert "ann@" not in caplog.text + str([record.__dict__ for record in caplog.records])


def test_a_bug_in_a_connector_is_logged_without_the_person(caplog: pytest.LogCaptureFixture) -> None:
    """What an exception says is often what it choked on."""

    class Broken(Provider):
        async def send(self, letter: Letter) -> Answer:
            raise UnicodeError(letter.to)

    lane = Lane("mail", Broken(), FAST, lambda: NOON)
    with caplog.at_level(logging.INFO):
        answer = asyncio.run(lane.send(Letter(ANN, "ann@example.com", {})))
    assert answer.verdict is Verdict.AMBIGUOUS
    (record,) = caplog.records
    assert "test_review.py" in str(record.__dict__)
    assert "ann@" not in caplog.text + str(record.__dict__)


@pytest.mark.parametrize("changes", [{"decided_at": "yesterday"}, {"send_at": ""}, {"expires_at": "2026"}])
def test_a_trigger_with_a_time_that_is_none_is_rejected(changes: dict[str, str]) -> None:
    """`decided_at` was read only when the outcome was counted, and ended the process."""
    for kind in (ANN, cancel(ANN)):
        broken = msgspec.structs.replace(kind, **changes)
        docket = Docket(None, None, NOON)
        if kind.kind == "send" or "decided_at" in changes:
            case, (said,) = take_in(docket, written(broken), "1", NOON, 0, NOON)
            assert (case, said.status, said.decided_at) == (None, Status.REJECTED, "")


def test_a_checkpoint_that_cannot_be_kept_ends_nothing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It only spares reading. On Kafka, Redis away for a moment would have cut off every call under way."""
    monkeypatch.setattr("dataflows.delivery._CHECKPOINT_SECONDS", 0.0)
    process = Process(redis_url, {"mail": Provider()})

    async def work() -> None:
        process.start()
        await process.until(lambda: len(told(redis_url)) == PARTITIONS)
        with connect(redis_url) as client:
            client.delete(CHECKPOINTS)
            client.set(CHECKPOINTS, "in the way")
        await asyncio.to_thread(decided, redis_url, *(fresh(f"user-{n}") for n in range(5)))
        await asyncio.sleep(2.5)
        await asyncio.to_thread(decided, redis_url, *(fresh(f"later-{n}") for n in range(5)))
        await process.until(lambda: len(outcomes(redis_url)) == 10)
        await process.end()

    within(work)


# Clocks.


def test_a_clock_that_was_a_year_ahead_holds_no_lane_for_a_year() -> None:
    """A machine woke up with a wrong clock, and was put right a minute later."""
    bucket, breaker = TokenBucket(rate=10, burst=1), Breaker(failures=1)
    bucket.take(NOON + 365 * DAY)
    assert bucket.take(NOON) <= NOON + SECOND
    breaker.heard(NOON + 365 * DAY, well=False)
    assert breaker.allows(NOON) <= NOON + 30 * SECOND


def test_a_lane_that_was_told_to_rest_before_its_clock_was_put_right_goes_on_soon() -> None:
    """Ten minutes are the longest rest, by whatever clock."""
    at = [NOON + 365 * DAY]
    provider = Provider()
    provider.answering("ann", Answer(Verdict.RETRY, "busy", retry_after=5))
    lane = Lane("mail", provider, FAST, lambda: at[0])

    async def work() -> None:
        await lane.send(Letter(ANN, "ann@example.com", {}))
        at[0] = NOON
        await lane.send(Letter(BEN, "ben@example.com", {}))

    asyncio.run(work())
    assert lane.rests_until <= NOON + 600 * SECOND


def test_a_clock_that_is_set_back_while_the_due_are_queued_stops_nothing() -> None:
    """The due were put back, found due, and put back, until the clock had caught up; nothing else ran meanwhile."""
    reads = chain([NOON, NOON + 2 * HOUR], repeat(NOON, 2000))
    docket = Docket(None, None, NOON)
    lane = Lane("mail", Provider(), Pace(1000, 1000, 1), lambda: NOON)
    journal: Any = None  # nothing is written here
    dispatcher = Dispatcher(
        {0: Partition(0, docket, journal)}, {"mail": lane}, lambda _: "mail", OpenDesk(), Metrics(), lambda: next(reads)
    )

    async def work() -> None:
        value = written(trigger("ann", send_in=HOUR, expires_in=DAY))
        await dispatcher.take(0, [Seen("1", NOON, value)])
        keeping = asyncio.create_task(dispatcher._keep_time())  # noqa: SLF001 - lanes would need a log
        await asyncio.sleep(0.05)
        dispatcher.close()
        await asyncio.wait_for(keeping, 5)

    asyncio.run(work())
    assert next(reads) == NOON


def test_a_process_whose_clock_is_an_hour_behind_keeps_what_was_told_of_an_open_trigger(redis_url: str) -> None:
    """It took a trigger of its predecessor's for one that came after it, and its checkpoint left the attempt behind."""
    filled(redis_url, 53_000)
    late = [Attempt(ANN.trigger_id, "mail", 1, now())]
    writer = RedisDeliveryLog(redis_url, PARTITIONS, Metrics()).writer(0)
    writer.write_batch([Buried(id_of(each), encode(each)) for each in late])
    writer.close()
    log = RedisDeliveryLog(redis_url, PARTITIONS, Metrics())
    partition, triggers = _open(log, Checkpoint(), 0, "run-2", now() - HOUR)
    case, _ = take_in(partition.docket, written(ANN), "1", now(), 0, now())
    assert case is not None
    assert case.is_in_doubt
    assert partition.docket.resumes == (None, None)
    triggers.close()


# Memory.


def grown(work: Callable[[], Any]) -> int:
    """Say how many bytes are held after some work that were not before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = work()
        return tracemalloc.get_traced_memory()[0] - before + 0 * id(kept)
    finally:
        tracemalloc.stop()


def test_what_has_ended_takes_no_memory_though_something_older_is_open() -> None:
    """One campaign's provider is down for two days; the millions that others sent meanwhile were all kept."""
    docket = Docket(None, None, NOON, remembered=1000)
    take_in(docket, written(ANN), "0", NOON, 0, NOON)
    value = written(BEN)

    def work() -> None:
        for number in range(5_000):
            id_ = f"{number:026d}"
            take_in(docket, value.replace(BEN.trigger_id.encode(), id_.encode()), f"{number}-0", NOON, 0, NOON)
            docket.end(id_, "9")

    assert grown(work) < 300_000
    assert docket.resumes[0] is None


def filled(redis_url: str, count: int) -> None:
    """Write outcomes that somebody else wrote long ago."""
    log = RedisDeliveryLog(redis_url, PARTITIONS, Metrics())
    writer = log.writer(0)
    for number in range(0, count, 1000):
        records = [Outcome(f"{n:026d}", NOON, Status.ACCEPTED) for n in range(number, number + 1000)]
        writer.write_batch([Buried(each.trigger_id, msgspec.json.encode(each)) for each in records])
    writer.close()


def test_taking_over_a_partition_keeps_nothing_of_what_was_written_to_it(redis_url: str) -> None:
    """The writer read back a hundred thousand ids for each partition and held them for ever; the docket knows them already."""
    filled(redis_url, 5_000)
    log = RedisDeliveryLog(redis_url, PARTITIONS, Metrics())
    log.writer(1).close()
    assert grown(lambda: log.writer(0)) < 200_000


def test_deliveries_are_recalled_one_by_one_and_for_as_long_as_there_are_any(redis_url: str) -> None:
    """A month of them did not fit into memory, nor into ten minutes."""
    filled(redis_url, 1_000)
    look = RedisLook(redis_url, DELIVERIES, 0, None)
    recalling = recalled(look, "never", patience=0.2)
    first = next(recalling)
    assert isinstance(first[1], Outcome)
    time.sleep(0.3)
    assert sum(1 for _ in (next(recalling) for _ in range(999))) == 999
    with pytest.raises(OSError, match="to their end"):
        next(recalling)
    look.close()


def test_streams_are_trimmed_by_age_but_not_past_what_the_next_start_needs(redis_url: str) -> None:
    """Nobody trimmed them, and all emails ever sent were in Redis' memory. Deliveries outlive their triggers by a day."""
    millis = now() // 1000
    days = [40, 35, 31, 29, 1, 0]
    with connect(redis_url) as client:
        for topic in (TRIGGERS, DELIVERIES):
            for day in days:
                for number in range(200):
                    client.xadd(
                        stream(topic, 0), {"id": "x", "v": b"x" * 100}, id=f"{millis - day * 86_400_000}-{number}"
                    )
    log = RedisDeliveryLog(redis_url, PARTITIONS, Metrics(), retention=30 * DAY)

    def left(topic: str, day: int) -> int:
        place = millis - day * 86_400_000
        with connect(redis_url) as client:
            return len(client.xrange(stream(topic, 0), f"{place}-0", f"{place}-999"))

    log.trim(0, Checkpoint())
    assert (left(TRIGGERS, 40), left(DELIVERIES, 40)) == (200, 200)
    log.trim(0, Checkpoint(f"{millis - 35 * 86_400_000}-0"))
    assert left(TRIGGERS, 40) < 50  # whole nodes go, not entries
    assert (left(TRIGGERS, 35), left(DELIVERIES, 40)) == (200, 200)
    last = f"{millis}-199"
    log.trim(0, Checkpoint(last))
    assert left(TRIGGERS, 31) < 50
    assert (left(TRIGGERS, 29), left(DELIVERIES, 31)) == (200, 200)
    assert left(DELIVERIES, 40) == 0
    assert left(DELIVERIES, 35) < 50


def test_a_running_delivery_trims_what_it_has_done(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last entry of the triggers stays, by which their writer knows that nobody else has written."""
    monkeypatch.setattr("dataflows.delivery._CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("dataflows.delivery._TRIM_SECONDS", 0.0)
    old = now() // 1000 - 40 * 86_400_000
    name = stream(TRIGGERS, 0)
    with connect(redis_url) as client:
        for number in range(100):
            value = written(trigger(f"user-{number}", at=old * 1000))
            client.xadd(name, {"id": "x", "v": value}, id=f"{old}-{number}")
        process = Process(redis_url, {"mail": Provider()})

        async def work() -> None:
            process.start()
            await process.until(lambda: len(outcomes(redis_url)) == 100)
            await process.until(lambda: client.xlen(name) < 50)
            await process.end()

        within(work)
        assert client.xrevrange(name, count=1)[0][0] == f"{old}-99".encode()
    assert set(statuses(redis_url).values()) == {Status.EXPIRED}


def test_the_last_delivery_stays_however_old_it_is(redis_url: str) -> None:
    """A quiet shop: its first trigger in two months is waiting, and all deliveries are old. Without any, their writer ends."""
    millis = now() // 1000
    old = f"{millis - 60 * 86_400_000}-0"
    with connect(redis_url) as client:
        client.xadd(stream(DELIVERIES, 0), {"id": "x", "v": b"x"}, id=old)
        client.xadd(stream(TRIGGERS, 0), {"id": "x", "v": written(ANN)})
    log = RedisDeliveryLog(redis_url, PARTITIONS, Metrics(), retention=30 * DAY)
    writer = log.writer(0)
    log.trim(0, Checkpoint(old))
    writer.write_batch([Buried("y", b"y")])
    writer.close()
