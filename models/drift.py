"""Drift: ADWIN on log loss, scores and features. It says that something changed; what to do about it is for people.

Forty detectors at every example would cost more than the model's step, so they hear means of blocks of examples.
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
    block: list[list[float]]
    pickle: bytes


class Drift:
    """One detector for each of log loss, score and every feature."""

    def __init__(self) -> None:
        self._names = ("log_loss", "score", *features.NAMES)
        detector: Any = ADWIN
        self._detectors: list[Any] = [detector(delta=_DELTA, clock=1) for _ in self._names]
        self._block: list[list[float]] = []

    def update(self, loss: float, score: float, x: list[float]) -> list[str]:
        """Take in a labelled example; name what has drifted, at the end of a block."""
        self._block.append([loss, score, *x])
        if len(self._block) < BLOCK:
            return []
        drifted = []
        for name, detector, column in zip(self._names, self._detectors, zip(*self._block, strict=True), strict=True):
            detector.update(sum(column) / BLOCK)
            if detector.drift_detected:
                drifted.append(name)
        self._block = []
        return drifted

    def dump(self) -> bytes:
        """Write the state; the detectors are pickled, pinned to River's version."""
        packed = pickle.dumps(self._detectors)
        return msgspec.msgpack.encode(_Saved(RIVER, features.VERSION, self._block, packed))

    def load(self, data: bytes, /) -> bool:
        """Take a dumped state in; False where another version wrote it, and detection begins anew."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        if (saved.river, saved.features_version) != (RIVER, features.VERSION):
            return False
        self._block = saved.block
        self._detectors = pickle.loads(saved.pickle)  # noqa: S301 - written by dump()
        return True
