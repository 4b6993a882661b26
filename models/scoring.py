"""Scoring in plain numbers: what the fold runs, made from a model record.

A record whose weights do not fit the current features, or are not finite, makes no scorer: the last good one stays.
"""

from collections.abc import Callable, Sequence
from math import exp, isfinite, sqrt
from typing import Any, Final

from models import features
from state.wire import Model

CLIP: Final = 6.0
"""How many standard deviations from its mean a feature may lie; farther out it counts as being there."""

MAX_NORM: Final = 1e3
"""Scaled weights beyond this norm are no model of anything: an exploded one must not reach the fold."""

MAX_REASONS: Final = 3
_NOTHING: Final = -700.0


class ConstantScorer:
    """Says the base rate: a model that has not seen enough of both answers yet."""

    def __init__(self, version: str, base_rate: float) -> None:
        self.version, self._base_rate = version, base_rate

    def score(self, x: Sequence[float], /) -> float:  # noqa: ARG002 - the scorer protocol
        """Say the base rate."""
        return self._base_rate

    def explained(self, x: Sequence[float], /) -> tuple[float, list[str]]:  # noqa: ARG002 - the scorer protocol
        """Say the base rate, for no reason."""
        return self._base_rate, []


def _spelled_out(size: int) -> str:
    """Write a dot product out term by term: it adds in the order of `sum(map(mul, x, weights))`, in 0.6 of the time.

    It takes more instructions, each of them cheap. The code is made of the size alone, once; weights are no part of it.
    """

    def each(term: str, between: str) -> str:
        return between.join(term.format(place) for place in range(size))

    return f"""
def spelled(weights, offsets, high, shifted, floors, is_low, clipped):
    {each("w{0}", ", ")}, = weights
    {each("m{0}", ", ")}, = offsets
    {each("h{0}", ", ")}, = high

    def raw(x):
        {each("x{0}", ", ")}, = x
        if {each("x{0} > h{0}", " or ")} or floors and is_low(x):
            {each("x{0}", ", ")}, = clipped(x)
        return shifted + ({each("x{0} * w{0}", " + ")})

    def parts(x):
        {each("x{0}", ", ")}, = x
        if {each("x{0} > h{0}", " or ")} or floors and is_low(x):
            {each("x{0}", ", ")}, = clipped(x)
        return [{each("x{0} * w{0} - m{0}", ", ")}]

    return raw, parts
"""


_MADE: Final[dict[str, Any]] = {}
exec(_spelled_out(len(features.NAMES)), _MADE)  # noqa: S102 - nothing from outside is in it


class LinearScorer:
    """A scaled, clipped logistic regression, as one dot product with the scaling worked into the weights."""

    def __init__(self, version: str, base_rate: float, bias: float, rows: list[tuple[float, float, float]]) -> None:
        """Args: `rows` are (mean, standard deviation, weight) by feature; a deviation of 0 silences the feature."""
        self.version, self._base_rate, self._bias = version, base_rate, bias
        weights = [w / sd if sd else 0.0 for _, sd, w in rows]
        offsets = [m * w / sd if sd else 0.0 for m, sd, w in rows]
        self._low = tuple(m - CLIP * sd if sd and w else -1e300 for m, sd, w in rows)
        self._high = tuple(m + CLIP * sd if sd and w else 1e300 for m, sd, w in rows)
        self._floors = tuple((place, low) for place, low in enumerate(self._low) if low > 0.0)
        shifted = bias - sum(offsets)
        raw, parts = _MADE["spelled"](weights, offsets, self._high, shifted, self._floors, self._is_low, self._clipped)
        self._raw: Callable[[Sequence[float]], float] = raw
        self._parts: Callable[[Sequence[float]], list[float]] = parts

    def score(self, x: Sequence[float], /) -> float:
        """Say how likely the person stays away; the base rate where a feature is not a number."""
        return self._likely(self._raw(x))

    def explained(self, x: Sequence[float], /) -> tuple[float, list[str]]:
        """Say the score, and name the features that raise it most above that of an average person."""
        parts = self._parts(x)
        raising = [place for place, part in enumerate(parts) if part > 0.0]
        raising.sort(key=parts.__getitem__, reverse=True)
        return self._likely(self._bias + sum(parts)), [features.NAMES[place] for place in raising[:MAX_REASONS]]

    def _likely(self, raw: float) -> float:
        if raw > _NOTHING:
            return 1.0 / (1.0 + exp(-raw))
        return 0.0 if raw <= _NOTHING else self._base_rate

    def _is_low(self, x: Sequence[float]) -> bool:
        """Tell whether a feature must be clipped from below; since none is below 0, few can be too low."""
        return any(x[place] < low for place, low in self._floors)

    def _clipped(self, x: Sequence[float]) -> list[float]:
        return list(map(min, map(max, x, self._low), self._high))


class TreeScorer:
    """A decision tree, as rows of (feature, threshold, child if at most, child if more, leaf's score)."""

    def __init__(self, version: str, base_rate: float, nodes: list[tuple[int, float, int, int, float]]) -> None:
        self.version, self._base_rate, self._nodes = version, base_rate, nodes

    def score(self, x: Sequence[float], /) -> float:
        """Follow the tree to a leaf."""
        return self._path(x)[0]

    def explained(self, x: Sequence[float], /) -> tuple[float, list[str]]:
        """Say the score, and name the features asked about on the way, the last first: they set this leaf apart."""
        score, asked = self._path(x)
        return score, [features.NAMES[feature] for feature in dict.fromkeys(reversed(asked))][:MAX_REASONS]

    def _path(self, x: Sequence[float]) -> tuple[float, list[int]]:
        asked: list[int] = []
        place = 0
        while True:
            feature, threshold, left, right, leaf = self._nodes[place]
            if feature < 0:
                return leaf, asked
            value = x[feature]
            if value != value:  # noqa: PLR0124 - NaN
                return self._base_rate, asked
            asked.append(feature)
            place = left if value <= threshold else right


def compiled(model: Model) -> ConstantScorer | LinearScorer | TreeScorer | None:
    """Make a scorer of a model record; None where it does not fit these features or its numbers are no numbers."""
    weights = model.weights
    base_rate = weights.get("base_rate", -1.0)
    if model.schema != features.VERSION or not 0.0 <= base_rate <= 1.0 or not all(map(isfinite, weights.values())):
        return None
    if "bias" in weights:
        return _linear(model.version, base_rate, weights)
    if "nodes" in weights:
        return _tree(model.version, base_rate, weights)
    return ConstantScorer(model.version, base_rate)


def _linear(version: str, base_rate: float, weights: dict[str, float]) -> LinearScorer | None:
    try:
        rows = [(weights[f"mean:{n}"], weights[f"sd:{n}"], weights[f"weight:{n}"]) for n in features.NAMES]
    except KeyError:
        return None
    if any(sd < 0.0 for _, sd, _ in rows) or norm([w for _, _, w in rows]) > MAX_NORM:
        return None
    return LinearScorer(version, base_rate, weights["bias"], rows)


def _tree(version: str, base_rate: float, weights: dict[str, float]) -> TreeScorer | None:
    try:
        nodes = [_node(weights, place) for place in range(int(weights["nodes"]))]
    except KeyError:
        return None
    return TreeScorer(version, base_rate, nodes) if nodes and all(map(_sound(len(nodes)), enumerate(nodes))) else None


def _node(weights: dict[str, float], place: int) -> tuple[int, float, int, int, float]:
    feature = int(weights[f"{place}:feature"])
    if feature < 0:
        return feature, 0.0, 0, 0, weights[f"{place}:leaf"]
    threshold, left, right = (weights[f"{place}:{part}"] for part in ("threshold", "left", "right"))
    return feature, threshold, int(left), int(right), 0.0


def _sound(size: int) -> Callable[[tuple[int, tuple[int, float, int, int, float]]], bool]:
    """Children lie behind their parent, so that no path can go round for ever."""

    def sound(numbered: tuple[int, tuple[int, float, int, int, float]]) -> bool:
        place, (feature, _, left, right, leaf) = numbered
        if feature < 0:
            return 0.0 <= leaf <= 1.0
        return feature < len(features.NAMES) and place < left < size and place < right < size

    return sound


def norm(weights: Sequence[float]) -> float:
    """Say how long the vector of weights is."""
    return sqrt(sum(w * w for w in weights))
