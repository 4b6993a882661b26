"""What the dataflow tells telemetry: one report a batch, none an event."""

from collections import Counter

from connectors import garbage
from connectors.telemetry import Telemetry
from state.events import Reason
from state.outputs import Emission, Outputs
from state.shard import Shard


class FoldWatch:
    """Reports the fold's batches and snapshots as metrics, and its triggers as spans."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._journals: dict[int, int] = {}

    def folded(self, outputs: Outputs, shard: Shard) -> None:
        """Report a batch."""
        metrics, partition = self._telemetry.metrics, outputs.partition
        metrics.observe_batch(
            partition,
            records=outputs.types,
            rejects=Counter(Reason(letter.reason) for letter in outputs.dead_letters),
            duplicates=outputs.repeats,
            late=outputs.late,
        )
        metrics.shard(partition, users=len(shard), timers=shard.timers, open_carts=shard.carts_open)

    def sent(self, partition: int, triggers: list[Emission]) -> None:
        """Report triggers that were written; those which a replay brings again were not."""
        counts = Counter((emission.campaign_id, emission.label) for emission in triggers)
        self._telemetry.metrics.observe_batch(partition, triggers=counts)
        for emission in triggers:
            self._telemetry.trace_trigger(
                emission.traceparent,
                emission.caused_at,
                emission.decided_at,
                trigger_id=emission.id,
                campaign_id=emission.campaign_id,
                partition=partition,
            )

    def not_sent(self, partition: int, decisions: list[Emission]) -> None:
        """Report decisions not to send that were written."""
        counts = Counter((emission.campaign_id, emission.label) for emission in decisions)
        self._telemetry.metrics.observe_batch(partition, not_sent=counts)

    def snapshotted(self, partition: int, size: int, journal: int, seconds: float) -> None:
        """Report a snapshot. A journal that became smaller has ended a round, in which people were compressed."""
        self._telemetry.metrics.snapshot(partition, size, journal, seconds)
        if journal < self._journals.get(partition, 0):
            garbage.give_back()
        self._journals[partition] = journal
