"""Personalization: events in; profiles, triggers, decisions and dead letters out; links and forwards back to the log.

Run it by `waxmark run personalization`, or by `python -m bytewax.run dataflows.personalization:flow -r DIRECTORY`.
"""

import atexit

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.redis_profiles import ProfileSink
from connectors.redis_streams import (
    DEAD_LETTERS,
    DECISIONS,
    TRIGGERS,
    EventSource,
    FeedbackSink,
    OnceSink,
    buried,
)
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from connectors.watching import FoldWatch
from operators.fold import Limits
from operators.hosting import hosted
from state.clock import DAY, MINUTE


def personalization(source: EventSource, limits: Limits, settings: Settings, telemetry: Telemetry) -> Dataflow:
    """Wire the dataflow. Step names are the schema of the recovery store: never rename one."""
    url, partitions, metrics = settings.redis, settings.partitions, telemetry.metrics
    watch = FoldWatch(telemetry)
    flow = Dataflow("personalization")
    batches = op.input("events", flow, source)
    folded = op.stateful_batch("shard", batches, hosted(limits, settings.flood_share, watch))

    profiles = op.flat_map("profiles", folded, lambda keyed: keyed[1].profiles)
    triggers = op.flat_map_value("triggers", folded, lambda outputs: outputs.triggers)
    decisions = op.flat_map_value("decisions", folded, lambda outputs: outputs.decisions)
    dead_letters = op.flat_map_value("dead_letters", folded, lambda outputs: map(buried, outputs.dead_letters))
    feedback = op.flat_map_value("feedback", folded, lambda outputs: outputs.feedback)

    op.output("to_profiles", profiles, ProfileSink(url, settings.profile_ttl_seconds, metrics))
    op.output("to_triggers", triggers, OnceSink(url, partitions, TRIGGERS, metrics, watch.sent))
    op.output("to_decisions", decisions, OnceSink(url, partitions, DECISIONS, metrics, watch.not_sent))
    op.output("to_dead_letters", dead_letters, OnceSink(url, partitions, DEAD_LETTERS, metrics))
    op.output("to_events", feedback, FeedbackSink(url, partitions))
    return flow


def flow() -> Dataflow:
    """Build the dataflow from the environment: the entry point of `python -m bytewax.run`."""
    settings = Settings()
    telemetry = Telemetry(settings.metrics_host, settings.metrics_port, settings.otlp_endpoint)
    atexit.register(telemetry.shutdown)
    stop, retention = Stop().on_signals(), settings.retention_days * DAY
    source = EventSource(settings.redis, settings.partitions, stop, retention, telemetry.metrics)
    return personalization(source, Limits(settings.session_gap_minutes * MINUTE), settings, telemetry)
