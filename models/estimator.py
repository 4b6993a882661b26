"""What a model is to the learner: it predicts, it learns, and, if it can, it writes itself down in plain numbers."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Final, Protocol

LIMIT: Final = 32.0
"""No feature is larger: e^32 microseconds or euros lie beyond any shop. What claims to be counts as this."""


class Estimator(Protocol):
    """A model that learns one example at a time. Features come in the order of `models.features.NAMES`, all finite."""

    def predict(self, x: Sequence[float], /) -> float:
        """Say how likely the label is 1."""

    def learn(self, x: Sequence[float], y: int, /) -> None:
        """Learn a label."""

    def weights(self) -> dict[str, float] | None:
        """Write the model in plain numbers for the fold; None where it cannot be."""

    def dump(self) -> bytes:
        """Write the whole state, so that `load` goes on exactly from there."""

    def load(self, data: bytes, /) -> bool:
        """Take a dumped state in; False where another version wrote it, and the model begins anew."""


Build = Callable[[], Estimator]


def guarded(x: list[float], size: int) -> tuple[list[float] | None, bool]:
    """Make features safe to learn from: None where any is not a number or their count is wrong; and whether any was cut."""
    if len(x) != size or not isfinite(sum(x)):
        return None, False
    if max(x) <= LIMIT and min(x) >= -LIMIT:
        return x, False
    return [min(max(value, -LIMIT), LIMIT) for value in x], True
