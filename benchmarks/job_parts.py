"""What the parts of the full job cost, inside one process: the same records through ever more of the pipeline.

The records come from Redis by the product's own source, in the batches that a worker gets, links and forwards of a worker's run
included. What composing profiles costs is the share of samples, taken by a timer of the CPU, that fall into its module.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from types import FrameType
from typing import Any, Final, NamedTuple

from benchmarks.event_cost import plain, scoring
from benchmarks.job_run import PARTITIONS, ROOT
from connectors import garbage
from connectors.outbox import Outboxes
from connectors.recorder import Metrics
from connectors.redis_profiles import ProfileSink
from connectors.redis_streams import connect
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.topics import DEAD_LETTERS, DECISIONS, EVENTS, EXAMPLES, TRIGGERS, addressed, buried
from connectors.transports import RedisTransport
from operators import fold, profile
from operators.fold import Fold
from state.events import decode
from state.outputs import Outputs
from state.records import Batch
from state.wire import CampaignsInForce, Model

_SAMPLE_SECONDS: Final = 0.001
_UNCLAIMED: Final[Any] = None
"""Redis Streams need no claim."""

_OFF: Final = Metrics(enabled=False)


class Steps(NamedTuple):
    """CPU seconds over one log, and of `bare` the share that composing profiles takes.

    `bare` is the fold without campaigns and churn, `plain` without churn, `whole` with everything; all three decode.
    """

    source: float
    decode: float
    bare: float
    share: float
    plain: float
    whole: float
    redis: float
    sinks: float


def steps(url: str) -> Steps:
    """Measure in a process of its own, which is as small as a worker; see `measured`."""
    command = [sys.executable, "-m", "benchmarks.job_parts", url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the parts were not measured: {done.stderr[-3000:]}")
    return Steps(*json.loads(done.stdout))


def parts(third: Steps, whole: Steps, events: int) -> dict[str, float]:
    """Say what each part costs an event, in microseconds: the difference of two logs, so many events apart."""
    us = Steps(*((b - a) / events * 1e6 for a, b in zip(third, whole, strict=True)))
    profiles = us.bare * whole.share
    return {
        "reading from Redis Streams": us.source,
        "decoding and validating": us.decode,
        "identity, dedup, machines": us.bare - profiles - us.decode,
        "composing profiles": profiles,
        "campaigns and policy": us.plain - us.bare,
        "churn: features, scores, questions": us.whole - us.plain,
        "profiles to Redis: encoding and socket": us.redis,
        "triggers, decisions, dead letters, links and forwards to Redis": us.sinks,
    }


def measured(url: str) -> Steps:
    """Measure over the log in a Redis. What is written goes into the second database of that Redis, which is emptied."""
    garbage.calm()
    log = _Log(url)
    for batch in log:
        log.time("decode", lambda batch=batch: [decode(r.value, r.log_time) for r in batch.records])  # type: ignore[misc]
    whole = _Log(url)
    _written(f"{url.rpartition('/')[0]}/1", whole)
    return Steps(
        source=whole.seconds["source"],
        decode=log.seconds["decode"],
        bare=_folded(_Log(url, CampaignsInForce, Model), plain),
        share=_share(profile.__file__, fold.__file__, lambda: _folded(_Log(url, CampaignsInForce, Model), plain)),
        plain=_folded(_Log(url, Model), plain),
        whole=whole.seconds["whole"],
        redis=whole.seconds["redis"],
        sinks=whole.seconds["sinks"],
    )


class _Log:
    """The log, read once, a batch of each partition in turn as the engine does; and the CPU seconds of each step since.

    A batch is worked on as soon as it is read: its bytes are then still in the caches.
    """

    def __init__(self, url: str, *left_out: type) -> None:
        self._url, self._left_out = url, left_out
        self.seconds = dict.fromkeys(Steps._fields, 0.0)

    def time(self, step: str, work: Callable[[], Any]) -> Any:
        """Do something, and charge it to a step."""
        began = time.process_time()
        result = work()
        self.seconds[step] += time.process_time() - began
        return result

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches."""
        source = _transport(self._url).source(Stop(), _UNCLAIMED, _OFF)
        waiting = [source.build_part("events", name, None) for name in source.list_parts()]
        begins = True
        while waiting:
            for part in list(waiting):
                looked: list[tuple[str, Batch]] = self.time("source", part.next_batch)
                yield from (self._kept(batch) if begins else batch for _, batch in looked)
                if not looked or looked[-1][1].read_to:
                    part.close()
                    waiting.remove(part)
            begins = False

    def _kept(self, batch: Batch) -> Batch:
        """Leave records of some types out: control records, which stand in the first batch of a partition."""
        out = self._left_out
        return batch._replace(records=[r for r in batch.records if not isinstance(decode(r.value, r.log_time), out)])


def _transport(url: str) -> RedisTransport:
    return RedisTransport(Settings(redis=url, partitions=PARTITIONS))


def _folded(log: _Log, build: Callable[[], Fold]) -> float:
    """Fold, and write nothing; return the CPU seconds that it took."""
    folds = _folds(build)
    for batch in log:
        log.time("plain", lambda batch=batch: _taken(folds[batch.partition], batch))  # type: ignore[misc]
    return log.seconds["plain"]


def _folds(build: Callable[[], Fold]) -> list[Fold]:
    """Build a fold for each partition; together they keep as many people unpacked as a worker does."""
    folds = [build() for _ in range(PARTITIONS)]
    for each in folds:
        each.shard.share_room(PARTITIONS)
    return folds


def _taken(fold: Fold, batch: Batch) -> Outputs:
    """Fold a batch, and pack whom a worker would pack."""
    outputs = fold.apply(batch)
    fold.shard.settle(is_at_end=batch.at_end)
    return outputs


def _written(url: str, log: _Log) -> None:
    """Fold with a champion, and write all that comes of it."""
    folds = _folds(scoring)
    with _sinks(url) as (profiles, others):
        for batch in log:
            outputs = log.time("whole", lambda batch=batch: _taken(folds[batch.partition], batch))  # type: ignore[misc]
            log.time("redis", lambda outputs=outputs: profiles(outputs))  # type: ignore[misc]
            log.time("sinks", lambda outputs=outputs, batch=batch: others(batch.partition, outputs))  # type: ignore[misc]


@contextmanager
def _sinks(url: str) -> Iterator[tuple[Callable[[Outputs], None], Callable[[int, Outputs], None]]]:
    """Open the product's sinks, as functions: one that writes to that of profiles, one to all the others."""
    with connect(url) as client:
        client.flushdb()
    transport, stop = _transport(url), Stop()
    outboxes = Outboxes(url, stop)
    once = partial(transport.once, stop=stop, metrics=_OFF, outboxes=outboxes)
    sinks: dict[str, Any] = {topic: once(topic) for topic in (TRIGGERS, DECISIONS, EXAMPLES)}
    sinks[DEAD_LETTERS] = transport.dead_letters(stop, _OFF, outboxes)
    sinks[EVENTS] = transport.feedback(stop, outboxes)
    opened: dict[str, list[Any]] = {
        topic: [sink.build_part(topic, name, None) for name in sink.list_parts()] for topic, sink in sinks.items()
    }
    profiles: Any = ProfileSink(outboxes, 0, _OFF).build("profiles", 0, 1)

    def write_profiles(outputs: Outputs) -> None:
        profiles.write_batch(outputs.profiles)
        outboxes.settle()

    def write(partition: int, outputs: Outputs) -> None:
        values: dict[str, list[Any]] = {
            TRIGGERS: outputs.triggers,
            DECISIONS: outputs.decisions,
            EXAMPLES: [*map(addressed, outputs.examples)],
            DEAD_LETTERS: [*map(buried, outputs.dead_letters)],
            EVENTS: outputs.feedback,
        }
        for topic, items in values.items():
            if items:
                opened[topic][partition].write_batch(items)
        outboxes.settle()

    try:
        yield write_profiles, write
    finally:
        for each in chain.from_iterable(opened.values()):
            each.close()
        outboxes.own.close()


def _share(file: str, within: str, work: Callable[[], object]) -> float:
    """Do something; return how much of the CPU time of one module's functions, and of what they call, is spent in another."""
    samples, inside = 0, 0

    def sample(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal protocol
        nonlocal samples, inside
        files = set()
        while frame is not None:
            files.add(frame.f_code.co_filename)
            frame = frame.f_back
        samples += within in files
        inside += {file, within} <= files

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)
    try:
        work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return inside / max(samples, 1)


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1])))
