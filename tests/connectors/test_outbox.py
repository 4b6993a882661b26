"""The outbox over a real Redis: one round trip for all that the steps of a worker have to say."""

import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import bytewax.operators as op
import pytest
import redis
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, cluster_main, run_main

from connectors.outbox import Outbox, Outboxes, Settling
from connectors.recorder import Metrics
from connectors.redis_line import packed
from connectors.redis_outputs import FeedbackSink, OnceSink
from connectors.redis_profiles import ProfileSink, profile_key
from connectors.redis_streams import stream
from connectors.stopping import Stop
from connectors.topics import DECISIONS, EVENTS, TRIGGERS, Buried, Fenced
from state.outputs import Feedback, ProfileUpdate
from state.records import partition_of
from state.wire import Link

PARTITIONS = 2
PROFILE = [ProfileUpdate("shop", "ann", {"events": 1}, 1)]


class Steps:
    """The sinks of one worker, which share an outbox."""

    def __init__(self, redis_url: str) -> None:
        self.outboxes, off = Outboxes(redis_url, Stop()), Metrics(enabled=False)
        self.wrote: list[tuple[int, list[str]]] = []
        self._once = {
            topic: OnceSink(redis_url, PARTITIONS, topic, off, self._heard, outboxes=self.outboxes)
            for topic in (TRIGGERS, DECISIONS)
        }
        self.feedback: Any = FeedbackSink(self.outboxes, PARTITIONS).build_part("to_events", "0", None)
        self.last: Any = Settling(self.outboxes).build("settled", 0, 1)
        self.profiles: Any = ProfileSink(self.outboxes, 0, off).build("to_profiles", 0, 1)

    def once(self, topic: str, partition: int = 0, resume: str | None = None) -> Any:
        """Open a partition of a topic."""
        return self._once[topic].build_part(topic, str(partition), resume)

    def _heard(self, partition: int, items: list[Any]) -> None:
        self.wrote.append((partition, [item.id for item in items]))


@pytest.fixture
def steps(redis_url: str) -> Any:
    """The sinks of a worker, hung up at the end."""
    steps = Steps(redis_url)
    yield steps
    steps.outboxes.own.close()


def ids(client: Any, topic: str, partition: int = 0) -> list[str]:
    """Read the ids of what stands in a topic."""
    return [fields[b"id"].decode() for _, fields in client.xrange(stream(topic, partition))]


def test_what_all_steps_say_is_written_when_the_last_one_has_spoken(steps: Steps, client: Any) -> None:
    """Each waited for an answer of its own before, which comes when Redis has forced its file: a third of a busy second."""
    steps.once(TRIGGERS).write_batch([Buried("t", b"1")])
    steps.once(DECISIONS, 1).write_batch([Buried("d", b"1"), Buried("e", b"1")])
    steps.feedback.write_batch([Feedback("ann", Link(anonymous_id="device", user_id="ann"))])
    assert (client.dbsize(), steps.wrote) == (0, [])
    steps.last.write_batch([None])
    assert (ids(client, TRIGGERS), ids(client, DECISIONS, 1)) == (["t"], ["d", "e"])
    assert client.xlen(stream(EVENTS, partition_of("ann", PARTITIONS))) == 1
    assert steps.wrote == [(0, ["t"]), (1, ["d", "e"])]


def test_a_profile_is_written_before_the_trigger_that_is_about_it(steps: Steps, client: Any) -> None:
    """Whoever sees the trigger looks the profile up at once; a profile is sent at once, a trigger at the end."""
    with client.monitor() as monitor:
        steps.once(TRIGGERS).write_batch([Buried("t", b"1")])
        steps.profiles.write_batch(PROFILE)
        steps.last.write_batch([None])
        said = ""
        verbs = []
        while "XADD" not in said:
            said = monitor.next_command()["command"]
            verbs.append(said.split()[0])
    assert verbs.index("HSET") < verbs.index("EVAL")


def test_a_second_batch_of_one_turn_names_the_first_as_its_last(steps: Steps, client: Any) -> None:
    """An append states what it believes to be the last entry, which it knows when it has heard of the one before."""
    triggers = steps.once(TRIGGERS)
    for each in "abc":
        triggers.write_batch([Buried(each, b"1")])
    steps.last.write_batch([None])
    assert ids(client, TRIGGERS) == ["a", "b", "c"]


def test_a_snapshot_speaks_of_nothing_that_is_not_written(steps: Steps, client: Any) -> None:
    """Whatever order the engine lets its steps take, what a snapshot covers must stand in Redis."""
    triggers = steps.once(TRIGGERS)
    triggers.write_batch([Buried("t", b"1")])
    assert triggers.snapshot() == client.xinfo_stream(stream(TRIGGERS, 0))["last-generated-id"].decode()
    steps.feedback.write_batch([Feedback("ann", Link(anonymous_id="device", user_id="ann"))])
    steps.feedback.snapshot()
    assert client.xlen(stream(EVENTS, partition_of("ann", PARTITIONS))) == 1


def test_a_zombie_ends_and_the_rest_of_what_was_said_is_written(steps: Steps, client: Any) -> None:
    """One refusal stops the worker; answers after it belong to their own commands all the same."""
    zombie, decisions = steps.once(TRIGGERS), steps.once(DECISIONS)
    client.xadd(stream(TRIGGERS, 0), {"id": "heir", "v": "1"})
    zombie.write_batch([Buried("t", b"1")])
    decisions.write_batch([Buried("d", b"1")])
    with pytest.raises(Fenced):
        steps.last.write_batch([None])
    assert (ids(client, TRIGGERS), ids(client, DECISIONS)) == (["heir"], ["d"])
    steps.profiles.write_batch(PROFILE)
    steps.last.write_batch([None])
    assert client.hget(profile_key("shop", "ann"), "events") == b"1"


def test_what_redis_refuses_for_another_reason_stops_the_worker_too(steps: Steps, client: Any) -> None:
    """Nothing that was refused may pass for written."""
    triggers = steps.once(TRIGGERS)
    client.set(stream(TRIGGERS, 0), "no stream")
    triggers.write_batch([Buried("t", b"1")])
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        triggers.snapshot()


def test_work_is_done_while_redis_is_at_work_and_once(redis_url: str, client: Any) -> None:
    """It begins when all is on its way, and its failure is the worker's."""
    outbox, seen = Outbox(redis_url), list[str]()

    def work() -> None:
        end = time.monotonic() + 10
        while client.get("key") is None and time.monotonic() < end:
            time.sleep(0.001)
        seen.append(f"worked when it was {client.get('key')}")

    outbox.put(packed("SET", "key", "value"), 1, lambda _: seen.append("heard"))
    outbox.meanwhile(work)
    outbox.settle()
    outbox.settle()
    assert seen == ["worked when it was b'value'", "heard"]
    outbox.meanwhile(lambda: seen.remove("nobody"))
    with pytest.raises(ValueError, match="not in list"):
        outbox.settle()
    outbox.close()


def test_who_was_idle_and_was_hung_up_on_connects_anew(redis_url: str, client: Any) -> None:
    """A Redis with a timeout, or a router, drops connections on which nothing is said; delivery may say nothing for hours."""
    part = OnceSink(redis_url, 1, TRIGGERS, Metrics(enabled=False)).build_part("triggers", "0", None)
    for name in "abc":
        part.write_batch([Buried(name, b"1")])
        client.client_kill_filter(_type="normal", skipme=True)
    assert ids(client, TRIGGERS) == ["a", "b", "c"]
    part.close()


def test_after_an_answer_that_did_not_come_nothing_more_is_said(redis_url: str, client: Any) -> None:
    """The late answer was taken for that to the next command: a trigger's position may have been anything."""
    outbox, seen = Outbox(f"{redis_url}?socket_timeout=0.1"), list[Any]()
    outbox.put(packed("SET", "a", "1"), 1)
    outbox.settle()
    client.client_pause(timeout=500)
    outbox.put(packed("SET", "b", "1"), 1)
    with pytest.raises(redis.ConnectionError, match="no answer"):
        outbox.settle()
    client.client_unpause()
    outbox.put(packed("INCR", "c"), 1, seen.append)
    for _ in range(2):
        with pytest.raises(redis.ConnectionError, match="no answer"):
            outbox.settle()
    assert (seen, client.get("c")) == ([], None)
    outbox.close()


def test_hanging_up_on_what_was_not_heard_is_noticed(redis_url: str) -> None:
    """Nobody knows whether it was done."""
    outbox = Outbox(redis_url)
    outbox.now(packed("SET", "a", "1"), 1)
    outbox.close()
    with pytest.raises(redis.ConnectionError, match="hung up"):
        outbox.settle()


class Heard(Metrics):
    """Metrics that count the profiles of whose writing they hear."""

    def __init__(self) -> None:
        super().__init__()
        self.profiles = 0

    def profile_latency(self, seconds: Iterable[float]) -> None:
        """Count."""
        self.profiles += len([*seconds])


@pytest.mark.parametrize(
    "run", [run_main, partial(cluster_main, addresses=[], proc_id=0)], ids=["alone", "in a cluster"]
)
def test_a_worker_keeps_its_outbox_from_step_to_step(redis_url: str, client: Any, run: Any) -> None:
    """In a cluster a worker is a thread of the engine's, for which a threading.local is another one in each call.

    So nothing was ever settled there: answers piled up, and what was refused went unnoticed.
    """
    outboxes, heard, worked = Outboxes(redis_url, Stop()), Heard(), list[int]()

    def updated(number: int) -> ProfileUpdate:
        outboxes.meanwhile(partial(worked.append, number))
        return ProfileUpdate("shop", f"user-{number}", {"events": 1}, 1)

    flow = Dataflow("outbox")
    profiles = op.map("profiles", op.input("numbers", flow, TestingSource(range(50), batch_size=5)), updated)
    op.output("to_profiles", profiles, ProfileSink(outboxes, 0, heard))
    op.output("settled", profiles, Settling(outboxes))
    run(flow)
    assert (client.dbsize(), heard.profiles, worked) == (50, 50, [*range(50)])


def test_each_worker_has_an_outbox_of_its_own(redis_url: str) -> None:
    """Two workers of one process are two threads; what one has said must not be sent by the other."""
    outboxes = Outboxes(redis_url, Stop())
    mine, theirs = outboxes.own, list[Outbox]()
    thread = threading.Thread(target=lambda: theirs.append(outboxes.own))
    thread.start()
    thread.join()
    assert theirs[0] is not mine
    assert outboxes.own is mine
