"""Personalization: events in; profiles, triggers, decisions, examples and dead letters out; links and forwards back to the log.

Run it by `waxmark run personalization`, or by `python -m bytewax.run dataflows.personalization:flow -r $WAXMARK_RECOVERY`,
where the journals are as well.
"""

import atexit
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.awoken import Awoken
from connectors.claim import Claim
from connectors.journal import ShardJournal
from connectors.outbox import Outboxes, Settling
from connectors.pulse import Felt
from connectors.redis_profiles import ProfileSink
from connectors.settings import Settings
from connectors.stopping import Stop
from connectors.telemetry import Telemetry
from connectors.topics import DECISIONS, EXAMPLES, TRIGGERS, addressed, buried
from connectors.transports import Transport, chosen
from connectors.watching import FoldWatch
from dataflows.scoring import churn_over
from operators.fold import Limits
from operators.hosting import hosted
from state.clock import MINUTE


def personalization(
    transport: Transport, limits: Limits, settings: Settings, telemetry: Telemetry, stop: Stop, claim: Claim
) -> Dataflow:
    """Wire the dataflow. Step names are the schema of the recovery store: never rename one."""
    outboxes = Outboxes(settings.redis, stop)
    metrics, watch = telemetry.metrics, FoldWatch(telemetry)
    forcing, learning = ThreadPoolExecutor(1, "forcing"), ThreadPoolExecutor(1, "learning")  # who forces must not wait
    scoring = churn_over(settings)
    journal = partial(ShardJournal, settings.recovery, claim, forcing)
    flow = Dataflow("personalization")
    batches = op.input("events", flow, Felt(transport.source(stop, claim, metrics), telemetry.health))
    folded = op.stateful_batch(
        "shard",
        batches,
        stop.noted(hosted(limits, settings.flood_share, watch, journal, learning, outboxes.meanwhile, scoring)),
    )

    profiles = op.flat_map("profiles", folded, lambda keyed: keyed[1].profiles)
    triggers = op.map_value("triggers", folded, lambda outputs: outputs.triggers)
    decisions = op.map_value("decisions", folded, lambda outputs: outputs.decisions)
    examples = op.map_value("examples", folded, lambda outputs: [*map(addressed, outputs.examples)])
    dead_letters = op.map_value("dead_letters", folded, lambda outputs: [*map(buried, outputs.dead_letters)])
    feedback = op.map_value("feedback", folded, lambda outputs: outputs.feedback)

    once = partial(transport.once, stop=stop, metrics=metrics, outboxes=outboxes)
    op.output("to_profiles", profiles, ProfileSink(outboxes, settings.profile_ttl_seconds, metrics))
    op.output("to_triggers", triggers, Awoken(once(TRIGGERS, wrote=watch.sent)))
    op.output("to_decisions", decisions, Awoken(once(DECISIONS, wrote=watch.not_sent)))
    op.output("to_examples", examples, Awoken(once(EXAMPLES)))
    op.output("to_dead_letters", dead_letters, Awoken(transport.dead_letters(stop, metrics, outboxes)))
    op.output("to_events", feedback, Awoken(transport.feedback(stop, outboxes)))
    op.output("settled", folded, Settling(outboxes))  # the last, for the engine takes steps in this order
    return flow


def flow(stop: Stop | None = None) -> Dataflow:
    """Build the dataflow from the environment: the entry point of `python -m bytewax.run`."""
    settings = Settings()
    telemetry = Telemetry.of(settings)
    atexit.register(telemetry.shutdown)
    stop = stop or Stop().on_signals()
    claim = Claim.take(
        settings.recovery,
        settings.process_id or 0,
        settings.run_id or uuid.uuid4().hex,
        whole=settings.process_id is None or settings.run_id is not None,
    )
    limits = Limits(settings.session_gap_minutes * MINUTE)
    return personalization(chosen(settings, os.environ), limits, settings, telemetry, stop, claim)
