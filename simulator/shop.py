"""The simulated shop: people come, browse, leave carts, return and buy, as a repeatable stream of Segment messages."""

from bisect import bisect
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import accumulate, count, islice, takewhile
from random import Random
from typing import Final, NamedTuple

import msgspec

from simulator.messages import compose, encode, spoil
from simulator.shopper import Shopper
from state.clock import DAY, MILLISECOND, SECOND

LATEST: Final = 5 * SECOND
"""How much later than its neighbours a disordered record is appended, at most."""

_VISITS_PER_DAY: Final = 1.5
_UNHURRIED: Final = 14 * SECOND
"""About how long a shopper takes per record, at pace 1; where the rate control starts from, before it has measured."""

_REPEATED_AFTER: Final = 30 * SECOND


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of traffic. `duplicates` and `malformed` are shares of all records, `disorder` of the sound ones.

    Raises ValueError for a shop that nobody could run.
    """

    shoppers: int = 2_000
    known_only: bool = False
    """Every message has a user id and nothing else: for systems that know no visitors."""
    duplicates: float = 0.02
    disorder: float = 0.01
    malformed: float = 0.002
    pace: float = 1.0
    """How long everything that shoppers do takes: at 1 about 13 seconds a step, at 0.05 a visit is over in seconds."""
    rate: float | None = None
    """Records per simulated second on average; None lets everyone come when they like, 1.5 times a day at pace 1.

    Shoppers come as often as it takes. Where half of them at once would not do, they also hurry more than `pace` says.
    """

    def __post_init__(self) -> None:
        shares = (self.duplicates, self.disorder, self.malformed)
        if not all(0 <= share <= 0.5 for share in shares) or self.duplicates + self.malformed > 0.5:
            raise ValueError("duplicates, disorder and malformed are shares, together at most one half")
        if self.shoppers < 1 or not 0 < self.pace < 1e6 or not (self.rate is None or 0 < self.rate < 1e6):
            raise ValueError("a shop needs a shopper, and a pace and rate above 0 and below a million")


class Sent(NamedTuple):
    """A record as a collector appends it: when (microseconds UTC, whole milliseconds), under which key, and what."""

    log_time: int
    key: str
    value: bytes


def visits(shop: Shop, seed: int, start: int, *, events: int | None = None, span: int | None = None) -> Iterator[Sent]:
    """Yield what a shop's collector appends, in order; the same arguments give the same bytes.

    Nothing here waits: a caller who wants it live gives the present as `start`, and sleeps until each `log_time`.
    Memory depends on the shoppers and the rate, never on how many records are taken.

    Args:
        shop: what kind of traffic.
        seed: which of its many histories.
        start: when the first shopper may come in; microseconds UTC, from 2001 to 2286.
        events: end after so many records; endless by default.
        span: end before a log time of `start + span`; endless by default.
    """
    sent = islice(_Floor(shop, seed, start).records(), events)
    return sent if span is None else takewhile(lambda each: each.log_time < start + span, sent)


class _Floor:
    """The discrete-event simulation: a heap of the door, shoppers with their next act, and records still under way."""

    def __init__(self, shop: Shop, seed: int, start: int) -> None:
        self.shop, self.rng, self.start = shop, Random(seed), start
        self.pace = shop.pace
        if shop.rate is not None:
            self.pace = min(shop.pace, shop.shoppers * SECOND / (2 * shop.rate * _UNHURRIED))
        known_only = shop.known_only
        self.shoppers = [Shopper(self.rng, number, known_only=known_only) for number in range(shop.shoppers)]
        # Zipf and Mandelbrot: some come far more often than others, but nobody is half of the traffic.
        self.weights = list(accumulate((rank + 10) ** -0.8 for rank in range(shop.shoppers)))
        self.numbers = count()
        self.heap: list[tuple[int, int, Shopper | tuple[str, bytes] | None]] = [(start, next(self.numbers), None)]
        self.inside = self.appended = 0
        self.busy, self.looked = _UNHURRIED * self.pace * 1_000, start

    def records(self) -> Iterator[Sent]:
        heap = self.heap
        while True:
            now, _, due = heappop(heap)
            if due is None:
                self._open(now)
                continue
            if isinstance(due, Shopper):
                if due.due != now:  # meant to return now, but came earlier
                    continue
                due = self._act(due, now)
                if due is None:
                    continue
            self.appended += 1
            yield Sent(now - now % MILLISECOND, *due)

    def _later(self, when: int, what: Shopper | tuple[str, bytes] | None) -> None:
        heappush(self.heap, (when, next(self.numbers), what))

    def _act(self, shopper: Shopper, now: int) -> tuple[str, bytes] | None:
        act = shopper.act
        if act is None:
            self._enter(shopper, now)
            return None
        shop, rng = self.shop, self.rng
        late = int(rng.uniform(SECOND, LATEST)) if rng.random() < shop.disorder else 0
        received = (now + late) // MILLISECOND
        message = compose(rng, shopper, act, late // MILLISECOND, received, known_only=shop.known_only)
        key = message.user_id or message.anonymous_id
        record = (key, encode(message))
        if late:
            self._later(now + late, record)
        # Repeats and broken copies come on top of the sound records, so that no story loses its middle.
        chance = rng.random() * (1 - shop.duplicates - shop.malformed)
        if chance < shop.duplicates:
            self._later(now + late + int(rng.uniform(0.01, 1) * _REPEATED_AFTER), record)
        elif chance < shop.duplicates + shop.malformed:
            self._later(now + late, (key, spoil(rng, message)))
        self._proceed(shopper, now)
        return None if late else record

    def _proceed(self, shopper: Shopper, now: int) -> None:
        act = shopper.act = next(shopper.acts, None)
        if act is not None:
            shopper.due = now + 1 + int(act.wait * self.pace)
            self._later(shopper.due, shopper)
            return
        self.inside -= 1
        away = shopper.returns_after(self.rng)
        shopper.due = now + 1 + int(away * self.pace) if away else 0
        if away:
            self._later(shopper.due, shopper)

    def _enter(self, shopper: Shopper, now: int) -> None:
        self.inside += 1
        shopper.acts = shopper.visit(self.rng, known_only=self.shop.known_only)
        self._proceed(shopper, now)

    def _open(self, now: int) -> None:
        """Let in whoever comes now, and say when to look at the door again."""
        rate = self.shop.rate
        if rate is None:
            self._admit(now)
            gap = self.rng.expovariate(self.shop.shoppers * _VISITS_PER_DAY / (DAY * self.pace))
            self._later(now + 1 + int(gap), None)
            return
        # As many are kept inside as make the rate, by what a record has cost of a shopper's time so far. A debt is paid
        # off over the time of six records: faster would swing, since whoever comes in first thinks.
        self.busy += self.inside * (now - self.looked)
        self.looked = now
        per_record = self.busy / (self.appended + 1_000)
        debt = rate * (now - self.start) / SECOND - self.appended
        wanted = per_record * max(0.0, min(rate / SECOND + debt / (6 * per_record), 2 * rate / SECOND))
        for _ in range(int(wanted + self.rng.random()) - self.inside):
            self._admit(now)
        self._later(now + 1 + int(min(per_record, SECOND)), None)

    def _admit(self, now: int) -> None:
        """Choose someone who is not inside; one who meant to return later comes sooner. With all inside, nobody."""
        for _ in range(20):
            shopper = self.shoppers[bisect(self.weights, self.rng.random() * self.weights[-1])]
            if shopper.act is None:
                self._enter(shopper, now)
                return
