"""Our contender: the product's own parts, hosted in Bytewax as the product hosts its fold; from files, or from Kafka.

The fold is the product's, reduced to the job: `state.events.decode`, `operators.dedup`, the session machine, the wait machine
with one cart campaign, the shard with its heap and its packing, the changes of every epoch of ten seconds.
"""

import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from benchmarks.peers.asked import asked
from benchmarks.peers.traffic import START_MS, STEP_MS
from connectors import garbage
from connectors.routing import part_names, routed_keys
from connectors.stopping import Stop
from operators.dedup import is_repeat
from operators.sessions import SessionMachine
from operators.waits import Ripe, WaitMachine
from state.campaigns import Campaign, Items, Selector
from state.clock import DAY, HOUR, NEVER
from state.events import Event, decoded
from state.people import User, user_key
from state.records import Batch, Record
from state.shard import Shard

BATCH: Final = 2000
EPOCH: Final = timedelta(seconds=10)
CART: Final = Campaign(
    id="cart_abandoned",
    template_id="cart",
    opened_by=(Selector("Product Added"),),
    reset_by=(Selector("Product Added"),),
    cancelled_by=(Selector("Order Completed"),),
    wait=HOUR,
    items=Items.NONE,
    expires_after=DAY,
)


class ReducedFold:
    """The fold with two machines. Counts what the job asks for."""

    def __init__(self, shard: Shard) -> None:
        self.shard, self.counts = shard, Counter[str]()
        self._sessions = SessionMachine()
        self._waits = WaitMachine([CART], self._sessions.soonest)

    def apply(self, batch: Batch) -> None:
        """Take in a batch."""
        shard, counts, take = self.shard, self.counts, self._take
        for record, event in decoded(batch.records):
            now = record.log_time
            if shard.idle_until < now:
                self.advance(now)
            shard.log_time = now
            if type(event) is Event and event.user_id:
                take(event, record, now)
            else:
                counts["rejects"] += 1

    def _take(self, event: Event, record: Record, now: int) -> None:
        shard, waits = self.shard, self._waits
        key = user_key(event.tenant, event.user_id)
        user = shard.live.get(key) or shard.find(key)
        if type(user) is not User:
            user = User(event.tenant, event.user_id, 0)
            shard.add(key, user, now + 400 * DAY)
        if is_repeat(user, event.message_id, now):
            self.counts["duplicates"] += 1
        else:
            self._sessions.on_event(user, event, record)
            steps = waits.steps_for(event)
            if steps.cancels or steps.moves:
                waits.on_event(user, event, record, steps)
            if shard.wakes.get(key, NEVER) > now + steps.soonest:
                shard.wake(key, self._due(user))
        user.touched = now

    def advance(self, horizon: int) -> None:
        """Let happen what is due before a time."""
        for now, key in self.shard.due_before(horizon):
            user = None if key is None else self.shard.find(key)
            if key is None:
                self.shard.keys_of_the_day()
            elif isinstance(user, User):
                before = user.sessions.closed
                self._sessions.on_time(user, now)
                self.counts["sessions"] += user.sessions.closed - before
                self.counts["abandonments"] += sum(isinstance(o, Ripe) for o in self._waits.on_time(user, now))
                self.shard.wake(key, self._due(user))

    def _due(self, user: User) -> int | None:
        session, wait = self._sessions.due(user), self._waits.due(user)
        return session if wait is None else wait if session is None else min(session, wait)


class _Logic(StatefulBatchLogic[Batch, dict[str, int], bytes]):
    def __init__(self, fold: ReducedFold, records: int, stop: Stop) -> None:
        self._fold, self._left, self._stop, self._has_told = fold, records, stop, False

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[dict[str, int]], bool]:
        for batch in values:
            self._fold.shard.partition = batch.partition
            self._fold.apply(batch)
            self._fold.shard.settle(is_at_end=False)
            self._left -= len(batch.records)
        if self._left or self._has_told:  # until it stops, the source goes on with empty batches
            return (), StatefulBatchLogic.RETAIN
        self._has_told = True
        self._fold.advance(self._fold.shard.log_time + 2 * DAY)
        self._stop.requested = True
        return [dict(self._fold.counts)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        return self._fold.shard.changes().head  # nobody writes state down here, so the chunk goes nowhere


class _Lines(StatefulSourcePartition[tuple[str, Batch], None]):
    def __init__(self, file: str, partition: int, partitions: int) -> None:
        self._lines, self._number = Path(file).open("rb"), 0  # noqa: SIM115 - `close` closes it
        self._key, self._partition = routed_keys(partitions)[partition], partition
        self._step = STEP_MS * 1000 * partitions

    def next_batch(self) -> list[tuple[str, Batch]]:
        lines = list(islice(self._lines, BATCH))
        if not lines:
            raise StopIteration
        first = self._number
        self._number += len(lines)
        return [(self._key, Batch(self._partition, _records(first, lines, self._step), 0))]

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self._lines.close()


class _Files(FixedPartitionedSource[tuple[str, Batch], None]):
    def __init__(self, files: list[str]) -> None:
        self._files = files

    def list_parts(self) -> list[str]:
        return part_names(len(self._files))

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Lines:  # noqa: ARG002 - theirs
        return _Lines(self._files[int(for_part)], int(for_part), len(self._files))


def _records(first: int, values: list[bytes], step: int) -> list[Record]:
    """Make records of values that follow each other in a partition."""
    at, end = START_MS * 1000 + first * step, first + len(values)
    times = range(at, at + len(values) * step, step)
    return list(map(Record, map(str, range(first, end)), times, values))


def _stamped(keyed: tuple[str, Batch], step: int) -> tuple[str, Batch]:
    """Give the records of Kafka the append times of the job: the broker's are those of the filling."""
    key, batch = keyed
    records = batch.records
    if not records:  # so that every step is awake in every epoch
        return keyed
    first = int(records[0].position)
    if int(records[-1].position) - first != len(records) - 1:
        raise ValueError("the offsets have holes, so they do not number the records")
    return key, Batch(batch.partition, _records(first, [record.value for record in records], step), 0)


class _Printed(DynamicSink[tuple[str, dict[str, int]]]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Printing":  # noqa: ARG002 - theirs
        return _Printing()


class _Printing(StatelessSinkPartition[tuple[str, dict[str, int]]]):
    def write_batch(self, items: list[tuple[str, dict[str, int]]]) -> None:
        for _, counts in items:
            print(msgspec.json.encode(counts).decode(), flush=True)


def flow(options: Any, folder: Path) -> Dataflow:
    """Wire the dataflow; `folder` is for the claim that the source of Kafka takes."""
    partitions, stop = options.partitions, Stop()
    flow = Dataflow("reduced")
    if options.kafka:
        from connectors.claim import Claim  # noqa: PLC0415 - with files, nothing of Kafka is loaded
        from connectors.kafka_client import Kafka  # noqa: PLC0415
        from connectors.kafka_source import KafkaSource, Pace  # noqa: PLC0415
        from connectors.recorder import Metrics  # noqa: PLC0415

        kafka = Kafka(options.topic.removesuffix(".events"), {"bootstrap.servers": options.kafka})
        claim = Claim.take(folder, 0, "peers")
        # With 64 MB to an epoch, this would measure waiting.
        pace = Pace(batch=BATCH, epoch_bytes=2**40, tick_seconds=86_400.0)
        source = KafkaSource(kafka, partitions, stop, claim, Metrics(enabled=False), pace)
        step = STEP_MS * 1000 * partitions
        batches = op.map("stamped", op.input("events", flow, source), lambda keyed: _stamped(keyed, step))
    else:
        batches = op.input("events", flow, _Files(options.files))
    share = options.events // partitions
    folded = op.stateful_batch("shard", batches, lambda saved: _logic(saved, share, stop))
    op.output("counts", folded, _Printed())
    return flow


def _logic(saved: bytes | None, records: int, stop: Stop) -> _Logic:
    return _Logic(ReducedFold(Shard(0) if saved is None else Shard.restore(saved)), records, stop)


def main() -> None:
    """Do the job: one partition in this process, more in as many processes as there are partitions."""
    options = asked()
    addresses = options.addresses.split(";") if options.addresses else []
    others: list[subprocess.Popen[bytes]] = []
    if options.partitions > 1 and options.process is None:
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(options.partitions)]
        options.process = 0
        again = [sys.executable, "-m", "benchmarks.peers.ours", *sys.argv[1:], "--addresses", ";".join(addresses)]
        others = [subprocess.Popen([*again, "--process", str(n)]) for n in range(1, options.partitions)]
    with tempfile.TemporaryDirectory() as folder:
        dataflow = flow(options, Path(folder))
        garbage.calm()
        cli_main(  # type: ignore[no-untyped-call]
            dataflow, process_id=options.process, addresses=addresses or None, epoch_interval=EPOCH
        )
    if any(other.wait() for other in others):
        raise SystemExit("a process of the cluster failed")


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    main()
