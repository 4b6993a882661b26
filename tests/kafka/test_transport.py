"""The parts of the Kafka transport, each on a real broker."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from connectors import kafka_ends
from connectors.claim import Claim
from connectors.kafka_client import Kafka, KafkaRefused
from connectors.kafka_feedback import KafkaSink
from connectors.kafka_log import Sender, read
from connectors.kafka_outputs import KafkaOnceSink
from connectors.kafka_records import Expired
from connectors.kafka_source import KafkaSource, Pace
from connectors.metrics import SUPPRESSED, UNCOVERED
from connectors.outbox import Outboxes
from connectors.recorder import Metrics
from connectors.redis_line import packed
from connectors.redis_profiles import ProfileSink
from connectors.routing import routed_keys
from connectors.stopping import Stop
from connectors.topics import DEAD_LETTERS, EVENTS, TRIGGERS, Buried, Fenced
from state.outputs import Feedback, ProfileUpdate
from state.records import Batch, Record, partition_of
from state.wire import Link

PARTITIONS = 2
KEYS = routed_keys(PARTITIONS)
QUICK = Pace(tick_seconds=0.2)

OpenSource = Callable[..., Any]
OpenSink = Callable[..., Any]


@pytest.fixture
def source(kafka: Kafka, tmp_path: Path) -> Iterator[OpenSource]:
    """Open partition 0 of the events; closed at the end."""
    opened = []

    def build(resume: str | None = None, metrics: Metrics | None = None, pace: Pace = QUICK, **choices: Any) -> Any:
        claim = Claim.take(tmp_path, 0, uuid.uuid4().hex)
        quiet = metrics or Metrics(enabled=False)
        whole = KafkaSource(kafka, PARTITIONS, Stop(), claim, quiet, pace, **choices)
        opened.append(whole.build_part("events", "0", resume))
        return opened[-1]

    yield build
    for part in opened:
        part.close()


@pytest.fixture
def sink(kafka: Kafka) -> OpenSink:
    """Open partition 0 of the triggers."""

    def build(resume: int | None = None, metrics: Metrics | None = None, **choices: Any) -> Any:
        whole = KafkaOnceSink(kafka, PARTITIONS, TRIGGERS, Stop(), metrics or Metrics(enabled=False), **choices)
        return whole.build_part("to_triggers", "0", resume)

    return build


def looks(part: Any, until: Callable[[list[Record], int], bool], seconds: float = 20.0) -> tuple[list[Record], int]:
    """Look until what was read satisfies a test; return the records and the last report."""
    records: list[Record] = []
    read_to, end = 0, time.monotonic() + seconds
    while not until(records, read_to):
        assert time.monotonic() < end, (records, read_to)
        for key, batch in part.next_batch():
            assert key == KEYS[0]
            assert batch.read_to >= read_to
            records += batch.records
            read_to = batch.read_to
        time.sleep(0.005)
    return records, read_to


def append(kafka: Kafka, *values: bytes) -> None:
    """Append records to partition 0."""
    producer = kafka.producer()
    for value in values:
        producer.produce(kafka.topic(EVENTS), value, partition=0, headers=[("traceparent", "00-trace")])
    assert producer.flush(10) == 0


def written(kafka: Kafka, topic: str = TRIGGERS, partition: int = 0) -> list[bytes]:
    """Read a partition as a reader with read_committed sees it."""
    return [record.value for records in read(kafka, topic, partition) for record in records]


def test_records_come_with_the_brokers_time_their_offset_and_their_trace(kafka: Kafka, source: OpenSource) -> None:
    """Bytes are handed on untouched, whatever they are."""
    before = time.time_ns() // 1000
    append(kafka, b"\xff\x00", b"")
    records, _ = looks(source(), lambda records, _: len(records) == 2)
    assert [(r.position, r.value, r.traceparent) for r in records] == [
        ("0", b"\xff\x00", "00-trace"),
        ("1", b"", "00-trace"),
    ]
    assert before - 1000 <= records[0].log_time <= records[1].log_time <= time.time_ns() // 1000


def test_a_backlog_is_not_at_its_end_though_its_time_is_told(kafka: Kafka, source: OpenSource) -> None:
    """Every batch says how late it is; people who will come again in the next one need not be packed for that."""
    append(kafka, *[b"{}"] * 5)
    part, told, end = source(pace=QUICK._replace(batch=2)), list[Batch](), time.monotonic() + 20
    time.sleep(1)  # until all five were fetched
    while sum(len(batch.records) for batch in told) < 5:
        assert time.monotonic() < end
        told += [batch for _, batch in part.next_batch() if batch.records]
    assert [(len(batch.records), batch.at_end) for batch in told] == [(2, False), (2, False), (1, True)]
    assert all(batch.read_to for batch in told)


def test_an_idle_partition_reports_the_time_of_a_tick_that_the_broker_stamped(kafka: Kafka, source: OpenSource) -> None:
    """The report rests on the log alone: it is the append time of a record read, so nothing older can follow."""
    append(kafka, b"{}")
    part = source()
    (record,), _ = looks(part, lambda records, _: len(records) == 1)
    records, read_to = looks(part, lambda _, read_to: read_to >= record.log_time + 400_000)
    assert not records
    append(kafka, b"{}")
    (later,), _ = looks(part, lambda records, _: len(records) == 1)
    assert later.log_time >= read_to
    assert int(later.position) >= 2, "a tick stands in the log, and was left out"


def test_what_reading_resumes_from_brings_the_same_records(kafka: Kafka, source: OpenSource) -> None:
    """A snapshot in the middle: together the two readings bring everything once."""
    append(kafka, *(str(n).encode() for n in range(1000)))
    first = source(pace=Pace(batch=100))
    records, _ = looks(first, lambda records, _: len(records) >= 300)
    resumed = source(first.snapshot())
    rest, _ = looks(resumed, lambda more, _: len(records) + len(more) == 1000)
    assert [record.value for record in records + rest] == [str(n).encode() for n in range(1000)]


def test_a_partition_emits_no_more_than_its_share_until_the_next_snapshot(kafka: Kafka, source: OpenSource) -> None:
    """What was emitted and not folded yet waits in memory: this bounds it."""
    append(kafka, *[b"x" * 1000] * 100)
    part = source(pace=Pace(batch=10, epoch_bytes=15_000))
    records, _ = looks(part, lambda records, _: len(records) == 20)
    for _ in range(50):
        assert part.next_batch() == []
    part.snapshot()
    more, _ = looks(part, lambda more, _: len(more) == 20)
    assert int(more[0].position) == int(records[-1].position) + 1


def test_snapshotted_offsets_are_committed_and_the_lag_counts_from_them(kafka: Kafka, source: OpenSource) -> None:
    """Read but not snapshotted is not covered."""
    append(kafka, *[b"{}"] * 50)
    metrics = Metrics()
    part = source(metrics=metrics, pace=Pace(tick_seconds=60))
    looks(part, lambda records, _: len(records) == 50)
    assert dict(metrics.values(UNCOVERED)) == {("0",): 50}
    assert part.snapshot().startswith("50@")
    assert dict(metrics.values(UNCOVERED)) == {("0",): 0}
    place, end = TopicPartition(kafka.topic(EVENTS), 0), time.monotonic() + 10
    watcher = kafka.consumer()
    while watcher.committed([place], timeout=5)[0].offset != 50:
        assert time.monotonic() < end
    watcher.close()


def test_a_log_that_expired_before_it_was_read_ends_the_worker_unless_that_is_accepted(
    kafka: Kafka, source: OpenSource
) -> None:
    """The stock source would jump, and nobody would know."""
    append(kafka, *[b"{}"] * 20)
    place = TopicPartition(kafka.topic(EVENTS), 0, 15)
    admin = kafka.admin()
    admin.delete_records([place])[place].result(20)
    with pytest.raises(Expired, match=r"does not hold position 5 any more.*WAXMARK_ACCEPT_EXPIRED"):
        looks(source("5@0"), lambda *_: False)
    records, _ = looks(source("5@0", accept_expired=True), lambda records, _: len(records) == 5)
    assert records[0].position == "15"


def test_a_topic_that_the_broker_does_not_stamp_is_refused(kafka: Kafka, source: OpenSource) -> None:
    """With the producers' times, a timer would trust a phone's clock."""
    name = kafka.topic(EVENTS)
    change = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[change])
    admin = kafka.admin()
    admin.incremental_alter_configs([resource])[resource].result(20)
    append(kafka, b"{}")
    with pytest.raises(KafkaRefused, match="LogAppendTime"):
        looks(source(), lambda *_: False)


def test_who_slept_while_another_took_the_directory_writes_no_snapshot(source: OpenSource) -> None:
    """Its rows would overwrite those of its successor."""
    sleeper = source()
    heir = source()
    heir.snapshot()
    with pytest.raises(Fenced):
        sleeper.snapshot()


def test_what_was_written_after_the_snapshot_is_skipped_when_the_replay_brings_it_again(
    kafka: Kafka, sink: OpenSink
) -> None:
    """The crash came between the commit of a transaction and the snapshot."""
    first = sink()
    first.write_batch([Buried("a", b"1")])
    position = first.snapshot()
    first.write_batch([Buried("b", b"2"), Buried("c", b"3")])
    first.snapshot()
    metrics = Metrics()
    resumed = sink(position, metrics)
    resumed.write_batch([Buried("b", b"2"), Buried("c", b"3"), Buried("d", b"4")])
    resumed.snapshot()
    assert written(kafka) == [b"1", b"2", b"3", b"4"]
    assert dict(metrics.values(SUPPRESSED)) == {(TRIGGERS,): 2}


def test_killed_again_before_the_replay_has_caught_up_it_still_repeats_nothing(kafka: Kafka, sink: OpenSink) -> None:
    """A snapshot in the middle of a replay must not leave behind what the replay has still to bring."""
    first = sink()
    first.write_batch([Buried("a", b"1"), Buried("b", b"2"), Buried("c", b"3")])
    first.snapshot()
    second = sink()
    second.write_batch([Buried("a", b"1")])
    third = sink(second.snapshot())
    third.write_batch([Buried("b", b"2"), Buried("c", b"3"), Buried("d", b"4")])
    third.snapshot()
    assert written(kafka) == [b"1", b"2", b"3", b"4"]


def test_a_trigger_is_written_after_the_profile_that_it_is_about(sink: OpenSink, redis_url: str, client: Any) -> None:
    """They go to two servers: whoever sees the trigger looks the profile up at once."""
    outboxes = Outboxes(redis_url, Stop())
    part = sink(outboxes=outboxes)
    ProfileSink(outboxes, 0, Metrics(enabled=False)).build("profiles", 0, 1).write_batch(
        [ProfileUpdate("shop", f"user-{number}", {"events": number}, 1) for number in range(5000)]
    )
    part.write_batch([Buried("a", b"1")])
    assert client.dbsize() == 5000
    heard: list[Any] = []
    outboxes.own.put(packed("SET", "last", "word"), 1, heard.append)
    part.snapshot()
    assert heard == [[b"OK"]], "a snapshot says that all is written"
    outboxes.own.close()


def test_a_lost_recovery_store_repeats_nothing(kafka: Kafka, sink: OpenSink) -> None:
    """Without a snapshot all that the topic holds is read back."""
    first = sink()
    first.write_batch([Buried("a", b"1"), Buried("b", b"2")])
    first.snapshot()
    anew = sink()
    anew.write_batch([Buried("a", b"1"), Buried("b", b"2"), Buried("c", b"3")])
    anew.snapshot()
    assert written(kafka) == [b"1", b"2", b"3"]


def test_a_transaction_of_somebody_elses_is_not_taken_for_a_forgotten_one(
    kafka: Kafka, sink: OpenSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but Waxmark may write to its topics in transactions: they would hold its readers back."""
    stranger = kafka.producer(**{"transactional.id": f"{kafka.prefix}-stranger"})
    stranger.init_transactions(30)
    stranger.begin_transaction()
    stranger.produce(kafka.topic(TRIGGERS), b"theirs", partition=0)
    assert stranger.flush(10) == 0
    with monkeypatch.context() as impatient:
        impatient.setattr(kafka_ends, "PATIENCE", 0.5)
        with pytest.raises(KafkaRefused, match="somebody else"):
            sink().snapshot()
    stranger.abort_transaction(30)
    ours = sink()
    ours.write_batch([Buried("a", b"1")])
    ours.snapshot()
    assert written(kafka) == [b"1"]


def test_a_zombie_writer_is_fenced(kafka: Kafka, sink: OpenSink) -> None:
    """Two workers believe that they own a partition: the one that was overtaken must end, not write."""
    zombie = sink()
    zombie.write_batch([Buried("a", b"1")])
    zombie.snapshot()
    heir = sink()
    heir.write_batch([Buried("a", b"1"), Buried("b", b"2")])
    heir.snapshot()
    zombie.write_batch([Buried("c", b"3")])
    with pytest.raises(Fenced, match="taken over by another worker; this one ends"):
        zombie.snapshot()
    assert written(kafka) == [b"1", b"2"]


def test_a_topic_that_is_not_there_stops_the_worker(kafka: Kafka) -> None:
    """The stock sink has no delivery callback, and ends as if all were well."""
    lost = KafkaOnceSink(kafka, PARTITIONS, "no-such-topic", Stop(), Metrics(enabled=False))
    part = lost.build_part("to_triggers", "0", None)
    part.write_batch([Buried("a", b"1")])
    with pytest.raises(KafkaRefused, match="no-such-topic"):
        part.snapshot()


def test_feedback_goes_to_the_partition_of_the_person_whom_it_concerns(kafka: Kafka) -> None:
    """Whatever partition it came from."""
    part = KafkaSink(kafka, PARTITIONS, EVENTS, Stop()).build_part("to_events", "0", None)
    people = [f"visitor-{n}" for n in range(20)]
    part.write_batch([Feedback(each, Link(anonymous_id=each, user_id="ann")) for each in people])
    part.snapshot()
    for partition in range(PARTITIONS):
        here = sorted(each for each in people if partition_of(each, PARTITIONS) == partition)
        assert len(written(kafka, EVENTS, partition)) == len(here) > 0


def test_dead_letters_are_there_when_the_snapshot_is(kafka: Kafka) -> None:
    """In the partition of the record that was bad, whose person nobody may know."""
    part = KafkaSink(kafka, PARTITIONS, DEAD_LETTERS, Stop()).build_part("to_dead_letters", "1", None)
    part.write_batch([Buried("1:0", b"bad")])
    part.snapshot()
    assert written(kafka, DEAD_LETTERS, 1) == [b"bad"]


def test_a_sender_says_when_nobody_took_the_record(kafka: Kafka) -> None:
    """A topic of fewer partitions than expected takes none for the others."""
    admin = kafka.admin()
    small = f"{kafka.prefix}-small.events"
    admin.create_topics([NewTopic(small, 1, 1)])[small].result(20)
    sender = Sender(Kafka(f"{kafka.prefix}-small", kafka.properties), 2)
    with pytest.raises(KafkaRefused, match="partition"):
        _everywhere(sender)


def _everywhere(sender: Sender) -> None:
    sender.append_everywhere(b"{}")
    sender.flush()
