"""Progressive metrics in constant space: what a model said before it learned the answer, against the answer.

Scores are counted in 1,000 bins, so the area under the curve and the calibration error are exact but for ties within a
thousandth; log loss and Brier score are exact. Differences between two models are summed by groups of users, since one
person's examples resemble each other: an interval that took them for independent would be far too narrow.
"""

import zlib
from math import log, sqrt
from typing import Final

import msgspec

BINS: Final = 1000
CALIBRATION_BINS: Final = 15
GROUPS: Final = 256
"""Random groups of users serve as clusters; with this many, the interval is that of single users, in bounded space."""

SMALLEST: Final = 1e-6
_Z95: Final = 1.959964


class Progressive(msgspec.Struct, array_like=True):
    """Sums of one model's log loss and Brier score, and its scores by bin and answer."""

    n: int = 0
    loss: float = 0.0
    square: float = 0.0
    counts: tuple[list[int], list[int]] = msgspec.field(default_factory=lambda: ([0] * BINS, [0] * BINS))

    def update(self, score: float, label: int, loss: float) -> None:
        """Count a score in [0, 1], its answer, and its log loss as `loss_of` says."""
        self.n += 1
        self.loss += loss
        off = score - label
        self.square += off * off
        place = int(score * BINS)
        self.counts[label][place if place < BINS else BINS - 1] += 1

    @property
    def log_loss(self) -> float:
        """Say the mean log loss; 0 before the first example."""
        return self.loss / self.n if self.n else 0.0

    @property
    def brier(self) -> float:
        """Say the mean squared error; 0 before the first example."""
        return self.square / self.n if self.n else 0.0

    @property
    def auc(self) -> float:
        """Say how often a 1 scored above a 0, ties counting half; 0.5 while one answer is missing."""
        zeros, ones = self.counts
        below, area = 0, 0.0
        for zero, one in zip(zeros, ones, strict=True):
            area += one * (below + 0.5 * zero)
            below += zero
        positives = sum(ones)
        return area / (below * positives) if below and positives else 0.5

    @property
    def calibration(self) -> list[tuple[float, float, int]]:
        """List (mean score, share of ones, count) in equal bins of the score, without empty ones."""
        zeros, ones = self.counts
        rows = []
        for part in range(CALIBRATION_BINS):
            first, end = part * BINS // CALIBRATION_BINS, (part + 1) * BINS // CALIBRATION_BINS
            sizes = [zeros[i] + ones[i] for i in range(first, end)]
            count = sum(sizes)
            if count:
                mean = sum((first + i + 0.5) / BINS * size for i, size in enumerate(sizes)) / count
                rows.append((mean, sum(ones[first:end]) / count, count))
        return rows

    @property
    def calibration_error(self) -> float:
        """Say the mean distance of score and share of ones over the bins, by their counts."""
        return sum(abs(mean - share) * count for mean, share, count in self.calibration) / self.n if self.n else 0.0


class Paired(msgspec.Struct, array_like=True):
    """Differences in log loss to another model on the same examples, by group of users; below 0 is better."""

    n: int = 0
    sums: list[float] = msgspec.field(default_factory=lambda: [0.0] * GROUPS)
    sizes: list[int] = msgspec.field(default_factory=lambda: [0] * GROUPS)

    def update(self, difference: float, group: int) -> None:
        """Count one example."""
        self.n += 1
        self.sums[group] += difference
        self.sizes[group] += 1

    @property
    def mean(self) -> float:
        """Say the mean difference."""
        return sum(self.sums) / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Say the 95 % interval of the mean difference, from the variance between groups (Liang and Zeger, 1986)."""
        groups = sum(1 for size in self.sizes if size)
        if groups < 2:  # noqa: PLR2004 - one group has no variance
            return float("-inf"), float("inf")
        mean = self.mean
        squares = sum((s - size * mean) ** 2 for s, size in zip(self.sums, self.sizes, strict=True))
        half = _Z95 * sqrt(squares * groups / (groups - 1)) / self.n
        return mean - half, mean + half


def loss_of(score: float, label: int) -> float:
    """Say the log loss of one score, which is held within a millionth of 0 and 1."""
    right = score if label else 1.0 - score
    return -log(max(right, SMALLEST))


def group_of(tenant: str, user_id: str) -> int:
    """Say to which group of users someone belongs, the same for every model."""
    return zlib.crc32(f"{tenant}/{user_id}".encode()) % GROUPS
