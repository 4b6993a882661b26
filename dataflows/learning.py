"""Learning: labelled examples in; each model learns under its own key; weights out, into every partition of the log.

Run it by `waxmark run learning`, or by `python -m bytewax.run dataflows.learning:flow -r DIRECTORY`. A learner's state says up
to where it has learned each partition: after a crash the engine may resume it further on than the source, from a row of the
run that died (see `connectors.awoken`), and what the source then brings again is passed over. So an example is learned once.
"""

import atexit
import logging
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from connectors.learning_log import At, ExampleSource, LearningLog, ModelSink, Told, learning_log
from connectors.pulse import Felt
from connectors.recorder import Metrics
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from models.defaults import CHAMPION, DEFAULTS
from models.estimator import Build
from models.learner import Learner, Publishing
from models.report import report
from state.churn import Example

_log: Final = logging.getLogger("waxmark.learning")
_example: Final = msgspec.json.Decoder(Example)


class _Kept(msgspec.Struct, array_like=True):
    tenant: str
    name: str
    version: str
    learner: bytes
    learned: dict[int, tuple[int, tuple[int, ...]]] = {}


class LearnerLogic(StatefulBatchLogic[tuple[str, Example, At], Told, bytes]):
    """One model of one tenant. A new one learns from its first example whose it is.

    `_learned` has the append time and place of the last example of each partition. What is no later by both was learned; by its
    place alone it may stand in a topic that was made anew.
    """

    def __init__(
        self, builds: Mapping[str, Build], publishing: Publishing, metrics: Metrics, snapshot: bytes | None
    ) -> None:
        self._builds, self._publishing, self._metrics = builds, publishing, metrics
        self._kept = b"" if snapshot is None else snapshot
        self._learner: Learner | None = None
        self._version = ""
        self._learned: dict[int, tuple[int, tuple[int, ...]]] = {}
        if snapshot is not None:
            kept = msgspec.msgpack.decode(snapshot, type=_Kept)
            if kept.name in builds:
                self._version, self._learned = kept.version, kept.learned
                self._learner = Learner(kept.tenant, kept.name, builds[kept.name], publishing)
                self._learner.load(kept.learner)

    def on_batch(self, values: list[tuple[str, Example, At]]) -> tuple[Iterable[Told], bool]:
        """Judge and learn; tell when it is time."""
        told = []
        learner = self._learner
        if learner is None:
            name, first, _ = values[0]
            learner = self._learner = Learner(first.tenant, name, self._builds[name], self._publishing)
        drifts = count = 0
        for _, example, (partition, place, log_time) in values:
            last_time, last_place = self._learned.get(partition, (0, ()))
            if place <= last_place and log_time <= last_time:
                continue
            self._learned[partition] = log_time, place
            count += 1
            learned = learner.learn(example)
            drifts += len(learned.drifted)
            if learned.drifted:
                what = {"model": learner.name, "tenant": learner.tenant, "drifted": ", ".join(learned.drifted)}
                _log.warning("the examples have drifted", extra=what)
            if learned.told:
                self._version = learned.record.version if learned.record else self._version
                summary = report(learner, self._version)
                told.append(Told(learner.tenant, learner.name, msgspec.json.encode(summary), learned.record))
                self._metrics.judged(learner.tenant, learner.name, summary.all.log_loss, summary.all.auc)
        self._metrics.learned(learner.tenant, learner.name, count, drifts)
        return told, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Write the learner down; bytes, since the engine pickles them later and elsewhere."""
        if self._learner is None:
            return self._kept
        learner = self._learner
        kept = _Kept(learner.tenant, learner.name, self._version, learner.dump(), self._learned)
        return msgspec.msgpack.encode(kept)


def learning(
    log: LearningLog,
    settings: Settings,
    builds: Mapping[str, Build],
    publishing: Publishing,
    telemetry: Telemetry,
    stop: Stop,
) -> Dataflow:
    """Wire the dataflow. Step names are the schema of the recovery store: never rename one."""

    def addressed(labelled: tuple[At, bytes]) -> list[tuple[str, tuple[str, Example, At]]]:
        at, value = labelled
        example = _example.decode(value)
        return [(f"{example.tenant}/{name}", (name, example, at)) for name in builds]

    def learner(snapshot: bytes | None) -> LearnerLogic:
        return LearnerLogic(builds, publishing, telemetry.metrics, snapshot)

    flow = Dataflow("learning")
    source = ExampleSource(log, settings.partitions, stop, telemetry.metrics)
    labelled = op.input("examples", flow, Felt(source, telemetry.health))
    examples = op.flat_map("addressed", labelled, addressed)
    told = op.stateful_batch("learners", examples, stop.noted(learner))
    op.output("to_log", op.map("told", told, lambda keyed: keyed[1]), ModelSink(log, settings.redis, CHAMPION, _today))
    return flow


def flow(stop: Stop | None = None) -> Dataflow:
    """Build the dataflow from the environment: the entry point of `python -m bytewax.run`."""
    settings = Settings()
    stop = stop or Stop().on_signals()
    telemetry = Telemetry.of(settings)
    atexit.register(telemetry.shutdown)
    return learning(learning_log(settings, os.environ), settings, DEFAULTS, Publishing(), telemetry, stop)


def _today() -> datetime:
    return datetime.now(tz=UTC)
