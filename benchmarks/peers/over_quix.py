"""The job in Quix Streams: a stateful function over the topic, the person's state in its RocksDB, keyed by the user.

Quix gives a stateful function no timers, so what is due is done at a person's next event, or counted at the end: less work
than the job asks for. What is open at the end is the running balance of what was opened.
"""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from quixstreams import Application, State, message_context  # type: ignore[import-not-found]

from benchmarks.peers.asked import asked
from benchmarks.peers.job import NEVER, START, STEP, Counts, Person, read


def main() -> None:
    """Read the topic to the end, and print the counts."""
    options = asked()
    step, counts = STEP * options.partitions, Counts()
    balance = [0, 0]

    def take(value: bytes, state: State) -> None:
        now = START + message_context().offset * step
        seen = read(value, now)
        if seen is None:
            counts.rejects += 1
            return
        message, time = seen
        saved = state.get("person")
        person = Person() if saved is None else Person.unpacked(saved)
        sessions, cart = len(person.open), person.due != NEVER
        person.take(counts, message.message_id, message.event, time, now)
        balance[0] += len(person.open) - sessions
        balance[1] += (person.due != NEVER) - cart
        state.set("person", person.packed())

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=options.kafka,
            consumer_group=f"quix-{Path(folder).name}",
            auto_offset_reset="earliest",
            state_dir=folder,
            use_changelog_topics=False,
            loglevel="WARNING",
        )
        topic: Any = app.topic(options.topic, value_deserializer="bytes", key_deserializer="bytes")
        app.dataframe(topic).update(take, stateful=True)
        app.run(count=options.events)
    counts.sessions += balance[0]
    counts.abandonments += balance[1]
    print(msgspec.json.encode(counts).decode())


if __name__ == "__main__":
    main()
