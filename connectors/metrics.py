"""The closed list of metrics; `docs/metrics.md` documents the same names, and a test holds the two together.

An instrument's name is the one that Prometheus sees: what is grepped for in an alert is found here.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """How the values of an instrument add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Instrument(NamedTuple):
    """One metric under the name that Prometheus sees. `unit` is a UCUM code, `bounds` a histogram's upper bounds."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[float, ...] = ()


_LATENCIES: Final = (
    *(0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0),
)
"""Neighbours are at most a factor of two apart, which bounds the error of an interpolated quantile."""

_PAUSES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def _counter(name: str, labels: tuple[str, ...], meaning: str) -> Instrument:
    return Instrument(name, Kind.COUNTER, "1", labels, meaning)


def _gauge(name: str, unit: str, meaning: str) -> Instrument:
    return Instrument(name, Kind.GAUGE, unit, ("partition",), meaning)


def _histogram(name: str, labels: tuple[str, ...], bounds: tuple[float, ...], meaning: str) -> Instrument:
    return Instrument(name, Kind.HISTOGRAM, "s", labels, meaning, bounds)


RECORDS: Final = _counter("waxmark_records_total", ("partition", "type"), "Records read and decoded, by what they are.")
REJECTS: Final = _counter("waxmark_rejects_total", ("reason",), "Records that went to the dead letters, by reason.")
DUPLICATES: Final = _counter(
    "waxmark_duplicate_events_total", ("partition",), "Events dropped because their message id had been seen before."
)
LATE: Final = _counter(
    "waxmark_late_events_total", ("partition",), "Events appended more than a session gap after they happened."
)
TRIGGERS: Final = _counter("waxmark_triggers_total", ("campaign", "kind"), "Triggers decided, to send or to cancel.")
NOT_SENT: Final = _counter("waxmark_not_sent_total", ("campaign", "reason"), "Decisions not to send, by reason.")
SUPPRESSED: Final = _counter(
    "waxmark_repeats_suppressed_total",
    ("stream",),
    "Outputs that a replay brought again and the sink did not write again.",
)
LATENCY: Final = _histogram(
    "waxmark_event_to_profile_seconds",
    (),
    _LATENCIES,
    "Time from the append of an event until the worker knows that the profile is written that reflects it.",
)
LAG: Final = _gauge("waxmark_log_lag_seconds", "s", "Age of the last record read; 0 at the end of the log.")
UNCOVERED: Final = _gauge(
    "waxmark_log_lag_records", "1", "Records in the log that no snapshot covers yet: the lag of the consumer group."
)
LAST_LOOK: Final = _gauge(
    "waxmark_last_look_timestamp_seconds", "s", "Unix time of the last look at the log, also when it brought nothing."
)
SNAPSHOT_BYTES: Final = _gauge("waxmark_snapshot_bytes", "By", "What was written for a shard's last snapshot.")
JOURNAL_BYTES: Final = _gauge(
    "waxmark_journal_bytes", "By", "What a shard's journal takes on the disk and a resume reads."
)
SNAPSHOT_PAUSE: Final = _histogram(
    "waxmark_snapshot_pause_seconds",
    ("partition",),
    _PAUSES,
    "Time for which a snapshot kept the worker from its records.",
)
USERS: Final = _gauge("waxmark_users", "1", "People in a shard.")
TIMERS: Final = _gauge("waxmark_timers_pending", "1", "Timers of a shard that have not fired yet.")
OPEN_CARTS: Final = _gauge("waxmark_open_carts", "1", "Carts of a shard that are neither bought nor emptied.")
COLLECTED: Final = _counter("waxmark_collected_messages_total", (), "Messages that the collector appended to the log.")
REFUSED: Final = _counter(
    "waxmark_collect_refused_messages_total", ("reason",), "Messages that the collector refused, by reason."
)
ANSWERS: Final = _counter("waxmark_collect_answers_total", ("status",), "Requests to collect, by the status answered.")
APPEND: Final = _histogram(
    "waxmark_append_seconds", (), _PAUSES, "Time for which a request waited for the log to acknowledge."
)
DELIVERIES: Final = _counter(
    "waxmark_deliveries_total",
    ("provider", "status"),
    "Triggers that ended, by provider (none if none was asked) and how.",
)
DEFERRALS: Final = _counter("waxmark_delivery_deferrals_total", ("provider",), "Calls put off by a provider.")
DELIVERY: Final = _histogram(
    "waxmark_trigger_to_provider_seconds",
    ("provider",),
    _LATENCIES,
    "Time from the decision of a trigger to the provider's acceptance.",
)
DELIVERIES_OPEN: Final = _gauge("waxmark_deliveries_open", "1", "Triggers read that have no outcome yet.")
HELD: Final = Instrument(
    "waxmark_provider_held", Kind.GAUGE, "1", ("provider",), "1 while calls to a provider are held back, else 0."
)
LEARNED: Final = _counter(
    "waxmark_examples_learned_total", ("tenant", "model"), "Labelled examples that a model learned."
)
DRIFTS: Final = _counter(
    "waxmark_model_drift_total",
    ("tenant", "model"),
    "Times that a model's log loss, its scores or a feature were found to have drifted.",
)
LOG_LOSS: Final = Instrument(
    "waxmark_model_log_loss", Kind.GAUGE, "1", ("tenant", "model"), "Progressive log loss of a model, as last reported."
)
AUC: Final = Instrument(
    "waxmark_model_auc", Kind.GAUGE, "1", ("tenant", "model"), "Progressive ROC AUC of a model, as last reported."
)

INSTRUMENTS: Final = (
    *(RECORDS, REJECTS, DUPLICATES, LATE, TRIGGERS, NOT_SENT, SUPPRESSED, LATENCY),
    *(LAG, UNCOVERED, LAST_LOOK, SNAPSHOT_BYTES, JOURNAL_BYTES, SNAPSHOT_PAUSE, USERS, TIMERS, OPEN_CARTS),
    *(COLLECTED, REFUSED, ANSWERS, APPEND),
    *(DELIVERIES, DEFERRALS, DELIVERY, DELIVERIES_OPEN, HELD),
    *(LEARNED, DRIFTS, LOG_LOSS, AUC),
)
