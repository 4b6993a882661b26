"""The floor: the job as a plain loop over a file's lines, as fast as CPython does it; no engine, no abstraction, no snapshots.

The usual case of a session is written out; the rest is `job`'s. `python -m benchmarks.peers.floor --events N --files FILE`.
"""

import gc
import heapq
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.peers.asked import asked
from benchmarks.peers.job import (
    ADDED,
    CLOSES,
    FUTURE,
    GAP,
    NEVER,
    ORDERED,
    REMEMBERED,
    START,
    STEP,
    VIEWED,
    WAIT,
    Counts,
    Message,
    Person,
)


def count(lines: Iterable[bytes], step: int = STEP) -> Counts:  # noqa: C901, PLR0912 - calls cost what this measures
    """Do the job over one partition's records."""
    counts, people, heap = Counts(), dict[str, Person](), list[tuple[int, str]]()
    decode, push, pop = msgspec.json.Decoder(Message).decode, heapq.heappush, heapq.heappop
    now, duplicates, rejects = START - step, 0, 0
    for line in lines:
        now += step
        while heap and heap[0][0] < now:
            key = pop(heap)[1]
            person = people[key]
            person.wake(counts, now)
            due = person.next()
            if due != NEVER:
                push(heap, (due, key))
        try:
            message = decode(line)
        except ValueError:
            rejects += 1
            continue
        event, fields = message.event, message.properties
        needed = fields.product_id if event in (ADDED, VIEWED) else fields.order_id if event == ORDERED else "-"
        time = round(message.timestamp.timestamp() * 1000)
        if not needed or time > now + FUTURE:
            rejects += 1
            continue
        key, id_ = message.user_id, message.message_id
        found = people.get(key)
        person = found if found is not None else people.setdefault(key, Person())
        seen = person.seen
        if id_ in seen:
            duplicates += 1
            continue
        seen[id_] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        opened = person.open
        if len(opened) == 1 and opened[0][1] <= time <= opened[0][1] + GAP:
            only = opened[0]
            only[1], only[2] = time, now
            only[3] += 1
        else:
            if not opened and person.due == NEVER:
                push(heap, (now + CLOSES, key))
            person.visit(time, now)
        if event == ADDED:
            person.added(time, now + WAIT)
        elif event == ORDERED:
            person.ordered(time)
    counts.duplicates, counts.rejects = duplicates, rejects
    for person in people.values():
        person.wake(counts, NEVER)
    return counts


def main() -> None:
    """Do the job over a file, and print the counts."""
    gc.disable()  # nothing here is part of a cycle
    options = asked()
    with Path(options.files[0]).open("rb") as lines:
        print(msgspec.json.encode(count(lines)).decode())


if __name__ == "__main__":
    main()
