"""The recorder of metrics: plain totals under one lock, which the worker adds to and a scrape reads.

Callers report once per batch, with counts already added up. OpenTelemetry is not in here: its `add` and `record` cost
the worker's thread 5 to 13 us a value. Here a batch costs 10 us and each latency in it 0.1 us; `connectors.exposition`
reads the totals when someone scrapes.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Final, NamedTuple

from connectors.metrics import (
    ANSWERS,
    APPEND,
    AUC,
    COLLECTED,
    DEFERRALS,
    DELIVERIES,
    DELIVERIES_OPEN,
    DELIVERY,
    DRIFTS,
    DUPLICATES,
    HELD,
    INSTRUMENTS,
    JOURNAL_BYTES,
    LAG,
    LAST_LOOK,
    LATE,
    LATENCY,
    LEARNED,
    LOG_LOSS,
    NOT_SENT,
    OPEN_CARTS,
    RECORDS,
    REFUSED,
    REJECTS,
    SNAPSHOT_BYTES,
    SNAPSHOT_PAUSE,
    SUPPRESSED,
    TIMERS,
    TRIGGERS,
    UNCOVERED,
    USERS,
    Instrument,
)
from state.clock import SECOND
from state.deliveries import Status
from state.events import Reason

Labels = tuple[str, ...]
"""The values of an instrument's labels, in the order in which the instrument names them."""


class Spread(NamedTuple):
    """A histogram's values so far: how many fell into each bucket (the last has no bound), and their sum."""

    counts: tuple[int, ...]
    total: float


class Metrics:
    """Totals of one process; safe to record from the worker's thread while others read.

    With `enabled=False` every report returns at once: what callers get when nobody will scrape. They may also look at
    `enabled` to spare themselves the measuring.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled: Final = enabled
        self._lock: Final = Lock()
        self._values: Final[dict[Instrument, dict[Labels, float]]] = {i: {} for i in INSTRUMENTS}
        self._spreads: Final[dict[Instrument, dict[Labels, Spread]]] = {i: {} for i in INSTRUMENTS}
        # Known series start at zero: the rate of a counter that appears with its first failure misses that failure.
        self._values[REJECTS] = dict.fromkeys(((reason.value,) for reason in Reason), 0)
        self._spreads[LATENCY][()] = _empty(LATENCY)
        self._values[COLLECTED] = {(): 0}
        self._values[REFUSED] = dict.fromkeys(((reason.value,) for reason in Reason), 0)
        self._values[ANSWERS] = dict.fromkeys(((str(status),) for status in (200, 400, 401, 413, 429, 503)), 0)
        self._spreads[APPEND][()] = _empty(APPEND)

    def observe_batch(
        self,
        partition: int,
        *,
        records: Mapping[str, int] = {},
        rejects: Mapping[Reason, int] = {},
        duplicates: int = 0,
        late: int = 0,
        triggers: Mapping[tuple[str, str], int] = {},
        not_sent: Mapping[tuple[str, str], int] = {},
    ) -> None:
        """Report what one batch brought.

        Args:
            partition: whose batch it was.
            records: how many of each type (`track`, `link`, ...), a closed set; rejected ones have none.
            rejects: how many for each reason.
            duplicates: events dropped as already seen.
            late: events appended more than a session gap after they happened.
            triggers: how many by campaign and kind, `send` or `cancel`.
            not_sent: how many by campaign and reason.
        """
        if not self.enabled:
            return
        place = str(partition)
        with self._lock:
            self._add(RECORDS, (((place, kind), count) for kind, count in records.items()))
            self._add(REJECTS, (((reason.value,), count) for reason, count in rejects.items()))
            self._add(DUPLICATES, [((place,), duplicates)])
            self._add(LATE, [((place,), late)])
            self._add(TRIGGERS, triggers.items())
            self._add(NOT_SENT, not_sent.items())

    def looked(self, partition: int, *, now: int, log_time: int, at_end: bool) -> None:
        """Report where reading stands, also when a look brought nothing.

        Args:
            partition: whose log it is.
            now: the clock's time in microseconds UTC.
            log_time: the append time of the last record read.
            at_end: whether nothing was left to read.
        """
        lag = 0.0 if at_end else max(now - log_time, 0) / SECOND
        self._set(partition, {LAG: lag, LAST_LOOK: now / SECOND})

    def uncovered(self, partition: int, records: int) -> None:
        """Report how many records of a partition no snapshot covers; only Kafka tells."""
        self._set(partition, {UNCOVERED: records})

    def shard(self, partition: int, *, users: int, timers: int, open_carts: int) -> None:
        """Report how much a shard holds."""
        self._set(partition, {USERS: users, TIMERS: timers, OPEN_CARTS: open_carts})

    def snapshot(self, partition: int, size: int, journal: int, seconds: float) -> None:
        """Report how many bytes a snapshot wrote, and its journal has now, and for how long it kept the worker."""
        self._set(partition, {SNAPSHOT_BYTES: size, JOURNAL_BYTES: journal})
        self._spread(SNAPSHOT_PAUSE, (str(partition),), [seconds])

    def profile_latency(self, seconds: Iterable[float]) -> None:
        """Report how long each event of a batch took from append to written profile; below 0 counts as 0."""
        self._spread(LATENCY, (), seconds)

    def suppressed(self, stream: str, count: int) -> None:
        """Report repeats that an exactly-once sink did not write again."""
        if self.enabled:
            with self._lock:
                self._add(SUPPRESSED, [((stream,), count)])

    def collected(self, accepted: int, refused: Mapping[Reason, int], seconds: float) -> None:
        """Report messages that the collector took or refused, and how long the log took to acknowledge."""
        if self.enabled:
            with self._lock:
                self._add(COLLECTED, [((), accepted)])
                self._add(REFUSED, (((reason.value,), count) for reason, count in refused.items()))
            self._spread(APPEND, (), [seconds] if accepted else [])

    def answered(self, status: int) -> None:
        """Report the status of an answer to a request to collect."""
        if self.enabled:
            with self._lock:
                self._add(ANSWERS, [((str(status),), 1)])

    def delivers_to(self, providers: Iterable[str]) -> None:
        """Begin every provider's counts at zero: the rate of one that appears with its first failure misses that failure."""
        if self.enabled:
            with self._lock:
                for provider in providers:
                    self._add(DELIVERIES, (((provider, status.value), 0) for status in Status))
                    self._add(DEFERRALS, [((provider,), 0)])

    def delivered(self, provider: str, status: str, seconds: float) -> None:
        """Report a trigger's outcome, `seconds` after it was decided."""
        if self.enabled:
            with self._lock:
                self._add(DELIVERIES, [((provider, status), 1)])
        if status == "accepted":
            self._spread(DELIVERY, (provider,), [seconds])

    def deferred(self, provider: str) -> None:
        """Report a call that a provider put off."""
        if self.enabled:
            with self._lock:
                self._add(DEFERRALS, [((provider,), 1)])

    def delivering(self, open_: Mapping[int, int], held: Mapping[str, bool]) -> None:
        """Report how many triggers of each partition are open, and which providers are held back."""
        if self.enabled:
            with self._lock:
                self._values[DELIVERIES_OPEN] = {(str(partition),): count for partition, count in open_.items()}
                self._values[HELD] = {(provider,): float(is_held) for provider, is_held in held.items()}

    def learned(self, tenant: str, model: str, examples: int, drifts: int) -> None:
        """Report what a model learned, and how much was found to have drifted."""
        if self.enabled:
            with self._lock:
                self._add(LEARNED, [((tenant, model), examples)])
                self._add(DRIFTS, [((tenant, model), drifts)])

    def judged(self, tenant: str, model: str, log_loss: float, auc: float) -> None:
        """Report a model's quality."""
        if self.enabled:
            with self._lock:
                self._values[LOG_LOSS][tenant, model] = log_loss
                self._values[AUC][tenant, model] = auc

    def values(self, instrument: Instrument) -> list[tuple[Labels, float]]:
        """Copy the present values of a counter or gauge."""
        with self._lock:
            return list(self._values[instrument].items())

    def spreads(self, instrument: Instrument) -> list[tuple[Labels, Spread]]:
        """Copy the present values of a histogram."""
        with self._lock:
            return list(self._spreads[instrument].items())

    def _add(self, instrument: Instrument, counts: Iterable[tuple[Labels, int]]) -> None:
        totals = self._values[instrument]
        for labels, count in counts:
            totals[labels] = totals.get(labels, 0) + count

    def _set(self, partition: int, values: Mapping[Instrument, float]) -> None:
        if self.enabled:
            with self._lock:
                for instrument, value in values.items():
                    self._values[instrument][str(partition),] = value

    def _spread(self, instrument: Instrument, labels: Labels, values: Iterable[float]) -> None:
        if self.enabled:
            ordered = sorted(values)
            with self._lock:
                before = self._spreads[instrument].get(labels) or _empty(instrument)
                self._spreads[instrument][labels] = _with(before, instrument.bounds, ordered)


def _empty(instrument: Instrument) -> Spread:
    return Spread((0,) * (len(instrument.bounds) + 1), 0.0)


def _with(before: Spread, bounds: tuple[float, ...], ordered: list[float]) -> Spread:
    """Add ordered values: one binary search for each bound instead of one for each value."""
    upto = [bisect_right(ordered, bound) for bound in bounds]
    steps = zip([0, *upto], [*upto, len(ordered)], strict=True)
    counts = tuple(count + end - start for count, (start, end) in zip(before.counts, steps, strict=True))
    return Spread(counts, before.total + sum(ordered[bisect_right(ordered, 0.0) :]))
