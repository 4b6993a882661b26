"""The log of the full job: a shop's day as a backlog, in Redis Streams at its own times, in Kafka at those of the broker.

It is the simulated shop's, or that of the peers' benchmark. In the shop some devices are not known until they log in, so that
links and forwards are part of the job. The campaigns in force and a champion stand first in each partition, and an event of a
person of its own stands last: when its profile can be read, the partition has been read.

Kafka's brokers stamp append times themselves. So there the same events are appended at `KAFKA_RATE`, their times are those at
which they are appended, and all durations of the campaigns are divided by as much as the day was shortened.
"""

import re
import time
from collections.abc import Iterable, Iterator
from functools import cache
from heapq import merge
from itertools import count, islice, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.event_cost import champion
from benchmarks.peers.traffic import START_MS, STEP_MS, Traffic, records
from connectors import campaign_file, kafka_log
from connectors.kafka_client import Kafka
from connectors.redis_streams import stream
from connectors.topics import EVENTS
from simulator.shop import Sent, Shop, visits
from state import campaigns as definitions
from state.campaigns import Campaign
from state.clock import MILLISECOND, SECOND, from_iso, to_iso
from state.events import Event, decode
from state.records import partition_of
from state.wire import CampaignsInForce, encoder

ROOT: Final = Path(__file__).parents[1]
CAMPAIGNS: Final = ROOT / "campaigns.yaml"
UNKNOWN: Final = 0.1
"""The share of events that come from shoppers whose devices are not known at first."""

KAFKA_RATE: Final = 40_000.0
_LAST: Final = "bench-last"
_PIPED: Final = 2000
_TIMES: Final = re.compile(rb'("(?:timestamp|sentAt|receivedAt)":")(202\d-[^"]+)')
_USER: Final = re.compile(rb'"userId":"([^"]+)"')
_DURATION: Final = re.compile(r"^( +(?:wait|reentry|expires_after): )(\d+)(ms|[smhdw])\b", re.MULTILINE)
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Day(NamedTuple):
    """What a shop's log holds: `sent`, oldest first, over `seconds`."""

    sent: list[Sent]
    seconds: float

    @property
    def faster(self) -> float:
        """How many times faster it is appended to Kafka than it happened."""
        return max(1.0, self.seconds * KAFKA_RATE / len(self.sent))

    def users(self) -> set[str]:
        """Name everybody who must have a profile: who stands in an event that is accepted."""
        seen = (decode(sent.value, sent.log_time) for sent in self.sent)
        return {event.user_id for event in seen if isinstance(event, Event) and event.user_id}


def of_shop(events: int, users: int, rate: float) -> Day:
    """Simulate so many events of a shop with so many customers, `rate` a second, that end now.

    Less events of the same shop are its beginning, later.
    """
    start = time.time_ns() // 1000 - int(1.01 * events / rate * SECOND) - 30 * SECOND
    known = Shop(shoppers=users, known_only=True, rate=rate * (1 - UNKNOWN))
    unknown = Shop(shoppers=max(1, int(users * UNKNOWN)), rate=rate * UNKNOWN)
    both = merge(visits(known, 1, start), visits(unknown, 2, start), key=attrgetter("log_time"))
    sent = list(islice(both, events))
    return Day(sent, (sent[-1].log_time - sent[0].log_time) / SECOND)


def of_peers(events: int, users: int, rate: float) -> Day:
    """Take the traffic on which the peers are measured, ending now: known users only, who look, fill carts and order."""
    step = int(SECOND / rate)
    start = time.time_ns() // 1000 // MILLISECOND * MILLISECOND - events * step - 30 * SECOND
    sent = []
    for number, value in enumerate(records(Traffic(events=events, users=users))):
        log_time = start + number * step
        by = log_time - (START_MS + number * STEP_MS) * MILLISECOND

        def moved(found: re.Match[bytes], by: int = by) -> bytes:
            return found[1] + to_iso(from_iso(found[2].decode()) + by).encode()

        user = _USER.search(value)
        sent.append(Sent(log_time, user[1].decode() if user else "", _TIMES.sub(moved, value)))
    return Day(sent, (sent[-1].log_time - sent[0].log_time) / SECOND)


def into_redis(client: Any, day: Day, partitions: int) -> None:
    """Append a day at its own times to empty streams."""
    connection = client.connection_pool.get_connection()
    ids = [_ids() for _ in range(partitions)]
    records = _records(day, partitions, day.sent[0].log_time)
    try:
        while some := [*islice(records, _PIPED)]:
            piped(connection, [(part, value) for part, _, value in some], [ids[part](at) for part, at, _ in some])
    finally:
        client.connection_pool.release(connection)


def piped(connection: Any, records: list[tuple[int, bytes]], ids: Iterable[bytes] = repeat(b"*")) -> None:
    """Append to the events in one round trip: partition and value of each, and where they are given, their ids."""
    commands = b"".join(_xadd(_stream(part), id_, value) for (part, value), id_ in zip(records, ids, strict=False))
    connection.send_packed_command([commands])
    for _ in records:
        connection.read_response()


def into_kafka(kafka: Kafka, day: Day, partitions: int, campaigns: list[Campaign]) -> None:
    """Append a day to empty topics at `KAFKA_RATE`, or as fast as it goes."""
    pressed = kafka._replace(properties=kafka.properties | {"compression.type": "lz4"})
    sender = kafka_log.Sender(pressed, partitions)
    for value in _controls(campaigns):
        sender.append_everywhere(value)
    sender.flush()
    began, start, faster = time.time(), day.sent[0].log_time, day.faster
    for number, sent in enumerate(day.sent):
        if number % 100 == 0:
            due = began + (sent.log_time - start) / SECOND / faster
            time.sleep(max(0.0, due - time.time()))
            now = rb"\g<1>" + to_iso(time.time_ns() // 1000).encode()
        sender.append(sent.key, _TIMES.sub(now, sent.value))
    for user_id, value in last(0, partitions):
        sender.append(user_id, value)
    sender.flush()


def shortened(day: Day, path: Path) -> list[Campaign]:
    """Write the campaigns file with its durations divided as the day is; return what it says."""

    def divided(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, int(int(found[2]) * _MILLISECONDS[found[3]] / day.faster))}ms"

    path.write_text(_DURATION.sub(divided, CAMPAIGNS.read_text()))
    return campaign_file.load(path)


def last(round_: int, partitions: int) -> list[tuple[str, bytes]]:
    """Make an event for each partition, of somebody who does nothing else."""
    people = (f"{_LAST}-{round_}-{number}" for number in count())
    found: dict[int, str] = {}
    while len(found) < partitions:
        person = next(people)
        found.setdefault(partition_of(person, partitions), person)
    return [(person, _page(person)) for person in found.values()]


def is_last(user_id: str) -> bool:
    """Tell whether this is one of those who stand last."""
    return user_id.startswith(_LAST)


def _page(user_id: str) -> bytes:
    return msgspec.json.encode({"type": "page", "messageId": user_id, "userId": user_id, "name": "Home"})


def _controls(campaigns: list[Campaign]) -> list[bytes]:
    digest, body = definitions.encode(campaigns)
    return [encoder.encode(CampaignsInForce(digest=digest, campaigns=msgspec.Raw(body))), *champion()]


def _records(day: Day, partitions: int, start: int) -> Iterator[tuple[int, int, bytes]]:
    for value in _controls(campaign_file.load(CAMPAIGNS)):
        for partition in range(partitions):
            yield partition, start, value
    for sent in day.sent:
        yield partition_of(sent.key, partitions), sent.log_time, sent.value
    for user_id, value in last(0, partitions):
        yield partition_of(user_id, partitions), day.sent[-1].log_time, value


def _ids() -> Any:
    """Make what gives the records of one stream their ids."""
    before, number = 0, 0

    def following(log_time: int) -> bytes:
        nonlocal before, number
        number = number + 1 if log_time == before else 0
        before = log_time
        return b"%d-%d" % (log_time // MILLISECOND, number)

    return following


def _xadd(name: bytes, id_: bytes, value: bytes) -> bytes:
    head = b"*5\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$1\r\nv\r\n" % (len(name), name, len(id_), id_)
    return head + b"$%d\r\n%b\r\n" % (len(value), value)


@cache
def _stream(partition: int) -> bytes:
    return stream(EVENTS, partition).encode()
