"""The job in PyFlink: its DataStream API, a KeyedProcessFunction in Python with one timer per person.

The functions run inside the JVM (`thread` mode), which on this job takes about an eighth of the CPU of processes of their own.
Counts leave the job as rows, since accumulators cannot be reached from Python: one row whenever a person's counts changed.
"""

import os
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from pyflink.common import Configuration, Types, WatermarkStrategy  # type: ignore[import-not-found]
from pyflink.common.watermark_strategy import TimestampAssigner  # type: ignore[import-not-found]
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment  # type: ignore[import-not-found]
from pyflink.datastream.connectors.file_system import FileSource, StreamFormat  # type: ignore[import-not-found]
from pyflink.datastream.state import ValueStateDescriptor  # type: ignore[import-not-found]

from benchmarks.peers.asked import asked
from benchmarks.peers.job import NEVER, START, STEP, Counts, Person, read


class Job(KeyedProcessFunction):  # type: ignore[misc]
    """The job for one person."""

    def open(self, runtime_context: Any) -> None:
        """Get hold of the state."""
        self._state = runtime_context.get_state(ValueStateDescriptor("person", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, value: Any, ctx: Any) -> Iterator[bytes]:
        """Take an event in."""
        now, user, id_, event, time = value
        if not user:
            yield _row(Counts(rejects=1))
            return
        saved = self._state.value()
        person, timer = (Person(), 0) if saved is None else (Person.unpacked(saved[0]), saved[1])
        counts = Counts()
        person.take(counts, id_, event, time, now)
        if not timer:
            timer = self._arm(person, ctx)
        self._state.update((person.packed(), timer))
        if counts != Counts():
            yield _row(counts)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[bytes]:
        """Do what is due."""
        saved = self._state.value()
        person, counts = Person.unpacked(saved[0]), Counts()
        person.wake(counts, timestamp + 1)
        self._state.update((person.packed(), self._arm(person, ctx)))
        if counts != Counts():
            yield _row(counts)

    def _arm(self, person: Person, ctx: Any) -> int:
        due = person.next()
        if due == NEVER:
            return 0
        ctx.timer_service().register_event_time_timer(due)
        return due


class Appended(TimestampAssigner):  # type: ignore[misc]
    """Append time, as decoding found it."""

    def extract_timestamp(self, value: Any, record_timestamp: int) -> int:  # noqa: ARG002 - theirs
        """Take the first field."""
        return int(value[0])


def _row(counts: Counts) -> bytes:
    return pickle.dumps((counts.sessions, counts.abandonments, counts.duplicates, counts.rejects))


def main() -> None:
    """Read the file to the end, and print the counts."""
    options = asked()
    # The interpreter inside the JVM knows of no virtual environment.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    configuration = Configuration()
    configuration.set_string("state.backend.type", "hashmap")
    configuration.set_string("python.executable", sys.executable)
    configuration.set_string("python.client.executable", sys.executable)
    configuration.set_string("python.execution-mode", "thread")
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    environment.set_parallelism(options.partitions)
    number = [0]

    def decoded(line: str) -> tuple[int, str, str, str, int]:
        now = START + number[0] * STEP
        number[0] += 1
        seen = read(line, now)
        if seen is None:
            return now, "", "", "", 0
        message, time = seen
        return now, message.user_id, message.message_id, message.event, time

    source = FileSource.for_record_stream_format(StreamFormat.text_line_format(), options.files[0]).build()
    lines = environment.from_source(source, WatermarkStrategy.no_watermarks(), "events")
    typed = Types.TUPLE([Types.LONG(), Types.STRING(), Types.STRING(), Types.STRING(), Types.LONG()])
    strategy = WatermarkStrategy.for_monotonous_timestamps().with_timestamp_assigner(Appended())
    events = lines.map(decoded, output_type=typed).assign_timestamps_and_watermarks(strategy)
    rows = events.key_by(lambda event: event[1], key_type=Types.STRING()).process(Job(), Types.PICKLED_BYTE_ARRAY())
    totals = Counts()
    with rows.execute_and_collect() as found:
        for row in found:
            sessions, abandonments, duplicates, rejects = pickle.loads(row)  # noqa: S301 - written above
            totals.sessions += sessions
            totals.abandonments += abandonments
            totals.duplicates += duplicates
            totals.rejects += rejects
    print(msgspec.json.encode(totals).decode())


if __name__ == "__main__":
    main()
