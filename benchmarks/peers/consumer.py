"""A consumer as one writes it by hand: confluent-kafka in batches, orjson, a dict of people, a heap; no engine."""

import gc
import heapq
from datetime import datetime
from typing import Any

import msgspec
import orjson  # type: ignore[import-not-found]
from confluent_kafka import Consumer, TopicPartition

from benchmarks.peers.asked import asked
from benchmarks.peers.job import ADDED, FUTURE, NEVER, ORDERED, START, STEP, VIEWED, Counts, Person

BATCH = 2000
LONGEST_ID, LONGEST_NAME = 100, 255


def read(value: bytes, now: int) -> tuple[str, str, str, int] | None:  # noqa: PLR0911 - the checks of JOB.md, one by one
    """Read and check a message: the user, the message id, the event and its time; None for one to reject."""
    try:
        message = orjson.loads(value)
        if message["type"] != "track":
            return None
        user, id_, event, fields = message["userId"], message["messageId"], message["event"], message["properties"]
        if not (user and id_ and event and len(user) <= LONGEST_NAME and len(event) <= LONGEST_NAME):
            return None
        if len(id_) > LONGEST_ID or not isinstance(fields, dict):
            return None
        time = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000)
    except (ValueError, KeyError, TypeError):
        return None
    if event in (ADDED, VIEWED):
        if not fields.get("product_id"):
            return None
    elif event == ORDERED and not fields.get("order_id"):
        return None
    return (user, id_, event, time) if time <= now + FUTURE else None


class Loop:
    """The state of one partition, and what a record does to it."""

    def __init__(self, step: int) -> None:
        self.counts, self._step = Counts(), step
        self._people: dict[str, Person] = {}
        self._heap: list[tuple[int, str]] = []

    def take(self, message: Any) -> None:
        """Take a record in."""
        now, heap, people, counts = START + message.offset() * self._step, self._heap, self._people, self.counts
        while heap and heap[0][0] < now:
            key = heapq.heappop(heap)[1]
            people[key].wake(counts, now)
            self._arm(key)
        seen = read(message.value(), now)
        if seen is None:
            counts.rejects += 1
            return
        key, id_, event, time = seen
        person = people.get(key)
        if person is None:
            person = people[key] = Person()
        idle = not person.open and person.due == NEVER
        person.take(counts, id_, event, time, now)
        if idle:
            self._arm(key)

    def _arm(self, key: str) -> None:
        due = self._people[key].next()
        if due != NEVER:
            heapq.heappush(self._heap, (due, key))

    def end(self) -> None:
        """Count what is open."""
        for person in self._people.values():
            person.wake(self.counts, NEVER)


def main() -> None:
    """Read a topic's partitions to the end, and print the counts."""
    gc.disable()
    options = asked()
    own = {"group.id": "consumer", "enable.auto.commit": False, "fetch.queue.backoff.ms": 5}
    consumer = Consumer({"bootstrap.servers": options.kafka, **own})
    consumer.assign([TopicPartition(options.topic, p, 0) for p in range(options.partitions)])
    loops, left = [Loop(STEP * options.partitions) for _ in range(options.partitions)], options.events
    while left:
        messages = consumer.consume(min(BATCH, left), 1)
        for message in messages:
            if (error := message.error()) is not None:
                raise SystemExit(error.str())
            loops[message.partition() or 0].take(message)
        left -= len(messages)
    for loop in loops:
        loop.end()
        print(msgspec.json.encode(loop.counts).decode())
    consumer.close()


if __name__ == "__main__":
    main()
