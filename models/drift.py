"""Drift: ADWIN on log loss, scores and features. It says that something changed; what to do about it is for people.

A detector costs as much as a model's step, so it hears means of blocks of examples.
"""

import pickle
from importlib.metadata import version
from typing import Any, Final

import msgspec
from river.drift import ADWIN

from models import features

RIVER: Final = version("river")
BLOCK: Final = 50
_DELTA: Final = 0.002 / len(features.NAMES)
"""ADWIN's customary risk of a false alarm, shared among the detectors."""


class _Saved(msgspec.Struct, array_like=True):
    river: str
    features_version: int
    counted: int
    sums: list[float]
    pickle: bytes


class Drift:
    """One detector for each of log loss, score and every feature."""

    def __init__(self) -> None:
        self._names = ("log_loss", "score", *features.NAMES)
        detector: Any = ADWIN
        self._detectors: list[Any] = [detector(delta=_DELTA, clock=1) for _ in self._names]
        self._counted = 0
        self._sums = [0.0] * len(self._names)

    def update(self, loss: float, score: float, x: list[float]) -> list[str]:
        """Take in a labelled example; name what has drifted, at the end of a block."""
        self._sums = [total + value for total, value in zip(self._sums, (loss, score, *x), strict=True)]
        self._counted += 1
        if self._counted < BLOCK:
            return []
        drifted = []
        for name, detector, total in zip(self._names, self._detectors, self._sums, strict=True):
            detector.update(total / BLOCK)
            if detector.drift_detected:
                drifted.append(name)
        self._counted = 0
        self._sums = [0.0] * len(self._names)
        return drifted

    def dump(self) -> bytes:
        """Write the state; the detectors are pickled, pinned to River's version."""
        packed = pickle.dumps(self._detectors)
        return msgspec.msgpack.encode(_Saved(RIVER, features.VERSION, self._counted, self._sums, packed))

    def load(self, data: bytes, /) -> bool:
        """Take a dumped state in; False where another version wrote it, and detection begins anew."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        if (saved.river, saved.features_version) != (RIVER, features.VERSION):
            return False
        self._counted, self._sums = saved.counted, saved.sums
        self._detectors = pickle.loads(saved.pickle)  # noqa: S301 - written by dump()
        return True
