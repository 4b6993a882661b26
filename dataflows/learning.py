"""Learning: labelled examples in; each model learns under its own key; weights out, into every partition of the log.

Run it by `waxmark run learning`, or by `python -m bytewax.run dataflows.learning:flow -r DIRECTORY`. A learner's state is in
the recovery store with the place up to which the examples were read, so each example is learned exactly once.
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

from connectors.learning_log import ExampleSource, LearningLog, ModelSink, Told, learning_log
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


class LearnerLogic(StatefulBatchLogic[tuple[str, Example], Told, bytes]):
    """One model of one tenant. A new one learns from its first example whose it is."""

    def __init__(
        self, builds: Mapping[str, Build], publishing: Publishing, metrics: Metrics, snapshot: bytes | None
    ) -> None:
        self._builds, self._publishing, self._metrics = builds, publishing, metrics
        self._kept = b"" if snapshot is None else snapshot
        self._learner: Learner | None = None
        self._version = ""
        if snapshot is not None:
            kept = msgspec.msgpack.decode(snapshot, type=_Kept)
            if kept.name in builds:
                self._version = kept.version
                self._learner = Learner(kept.tenant, kept.name, builds[kept.name], publishing)
                self._learner.load(kept.learner)

    def on_batch(self, values: list[tuple[str, Example]]) -> tuple[Iterable[Told], bool]:
        """Judge and learn; tell when it is time."""
        told = []
        learner = self._learner
        if learner is None:
            name, first = values[0]
            learner = self._learner = Learner(first.tenant, name, self._builds[name], self._publishing)
        drifts = 0
        for _, example in values:
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
        self._metrics.learned(learner.tenant, learner.name, len(values), drifts)
        return told, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Write the learner down; bytes, since the engine pickles them later and elsewhere."""
        if self._learner is None:
            return self._kept
        learner = self._learner
        return msgspec.msgpack.encode(_Kept(learner.tenant, learner.name, self._version, learner.dump()))


def learning(
    log: LearningLog,
    settings: Settings,
    builds: Mapping[str, Build],
    publishing: Publishing,
    telemetry: Telemetry,
    stop: Stop,
) -> Dataflow:
    """Wire the dataflow. Step names are the schema of the recovery store: never rename one."""

    def addressed(value: bytes) -> list[tuple[str, tuple[str, Example]]]:
        example = _example.decode(value)
        return [(f"{example.tenant}/{name}", (name, example)) for name in builds]

    def learner(snapshot: bytes | None) -> LearnerLogic:
        return LearnerLogic(builds, publishing, telemetry.metrics, snapshot)

    flow = Dataflow("learning")
    source = ExampleSource(log, settings.partitions, stop, telemetry.metrics)
    values = op.input("examples", flow, Felt(source, telemetry.health))
    examples = op.flat_map("addressed", values, addressed)
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
