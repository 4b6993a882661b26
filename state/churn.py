"""What a shard remembers of one person in order to say how likely they are to stay away, and examples to learn from.

Written as arrays like `state.people`: append fields with defaults, never reorder. Every collection is bounded where it is
filled.
"""

import msgspec

from state.clock import NEVER


class Behaviour(msgspec.Struct, array_like=True, gc=False):
    """Sufficient statistics of what a person did, in constant space.

    `grown` holds a decayed count for each kind of event and half-life, as what has grown since `landmark`. It ends with the
    last kind that the person was ever seen to do, for zeros cost as many bytes as counts. Gaps are days between purchases;
    `gap_m2` is Welford's sum of squared deviations.
    """

    grown: list[float] = []
    landmark: int = 0
    first_at: int = NEVER
    active_at: int = 0
    bought_at: int = 0
    cart_at: int = 0
    events: int = 0
    orders: int = 0
    refunds: int = 0
    gaps: int = 0
    gap_mean: float = 0.0
    gap_m2: float = 0.0
    order_value: float = 0.0
    sessions: int = 0
    session_events: int = 0
    session_length: float = 0.0


class Question(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An example that waits for its label: features as 32-bit floats, and by model the version and score of that moment."""

    asked_at: int
    timer: bool
    eligible: bool
    features_version: int
    features: bytes
    scores: dict[str, tuple[str, float]] = {}


class Churn(msgspec.Struct, array_like=True, gc=False):
    """One person's behaviour, the examples that wait, and when something is next to be done.

    `returned_at` is the latest event time of a qualifying event. `risky` holds from the moment that the risk crossed the
    threshold until the person returns: one episode. `reasons` are the champion's, as of the last question.
    """

    behaviour: Behaviour = msgspec.field(default_factory=Behaviour)
    pending: list[Question] = []
    returned_at: int = 0
    asked_at: int = 0
    timer: int = 0
    risky: bool = False
    reasons: list[str] = []


class Example(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A labelled example as it goes to its topic: a point-in-time feature log.

    `label` is 1 if no qualifying event came in (asked_at, labelled_at]. Times are log times in microseconds. `scores` are
    what each model said at `asked_at`, with its version. The id is derived from what it is about: a replay gives the same.
    """

    example_id: str
    tenant: str
    user_id: str
    asked_at: int
    labelled_at: int
    timer: bool
    eligible: bool
    label: int
    features_version: int
    features: list[float]
    scores: dict[str, tuple[str, float]] = {}
