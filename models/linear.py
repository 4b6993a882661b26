"""Online logistic regression on scaled features: the twin of River's pipeline, quicker, and with a state of plain numbers.

`StandardScaler | clip at ±6 | LogisticRegression(AdaGrad or FTRLProximal)` as in `models.pipelines`, step by step and in
River's order, on arrays that are reused. Tests hold both equal to 1e-9.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import exp
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models import features
from models.scoring import CLIP

_Vector = npt.NDArray[np.float64]
_SIZE: Final = len(features.NAMES)
_INTERCEPT_RATE: Final = 0.01
_NOT_ZERO: Final = 1e-300
"""Keeps a constant feature's deviation above 0; its distance from its mean is 0, and 0 stays 0."""


class _State(msgspec.Struct, array_like=True):
    features_version: int
    learned: int
    bias: float
    vectors: list[list[float]]


class _Scaled(ABC):
    """The scaler and the prediction; subclasses say how a gradient changes the weights."""

    def __init__(self, memories: int) -> None:
        self.learned = 0
        self.bias = 0.0
        self.w = np.zeros(_SIZE)
        self._mean, self._var = np.zeros(_SIZE), np.zeros(_SIZE)
        self._memory = [np.zeros(_SIZE) for _ in range(memories)]
        self._z, self._t = np.zeros(_SIZE), np.zeros(_SIZE)

    def predict(self, x: Sequence[float], /) -> float:
        """Say how likely the label is 1."""
        z = np.subtract(x, self._mean, out=self._z)
        return _sigmoid(float(self._scaled(z).dot(self.w)) + self.bias)

    def learn(self, x: Sequence[float], y: int, /) -> None:
        """Learn a label; the scaler learns first (West's form of Welford's update)."""
        self.learned += 1
        share = 1.0 / self.learned
        z, t, var = self._z, self._t, self._var
        np.subtract(x, self._mean, out=z)
        np.multiply(z, share, out=t)
        self._mean += t
        t *= z
        var += t
        var *= 1.0 - share
        z *= 1.0 - share
        self._scaled(z)
        error = _sigmoid(float(z.dot(self.w)) + self.bias) - y
        self.bias -= _INTERCEPT_RATE * error
        z *= error
        self._step(z, t)

    def weights(self) -> dict[str, float]:
        """Write bias, and mean, standard deviation and weight by feature."""
        plain = {"bias": self.bias}
        rows = zip(features.NAMES, self._mean.tolist(), np.sqrt(self._var).tolist(), self.w.tolist(), strict=True)
        for name, mean, sd, weight in rows:
            plain[f"mean:{name}"], plain[f"sd:{name}"], plain[f"weight:{name}"] = mean, sd, weight
        return plain

    def dump(self) -> bytes:
        """Write the whole state as numbers."""
        vectors = [v.tolist() for v in (self._mean, self._var, self.w, *self._memory)]
        return msgspec.msgpack.encode(_State(features.VERSION, self.learned, self.bias, vectors))

    def load(self, data: bytes, /) -> bool:
        """Take a dumped state in; False where it is of other features."""
        state = msgspec.msgpack.decode(data, type=_State)
        if state.features_version != features.VERSION:
            return False
        self.learned, self.bias = state.learned, state.bias
        self._mean, self._var, self.w, *self._memory = (np.array(v) for v in state.vectors)
        return True

    def _scaled(self, z: _Vector) -> _Vector:
        """Scale distances from the mean in place."""
        sd = np.add(self._var, _NOT_ZERO, out=self._t)
        np.sqrt(sd, out=sd)
        z /= sd
        np.minimum(z, CLIP, out=z)
        np.maximum(z, -CLIP, out=z)
        return z

    @abstractmethod
    def _step(self, gradient: _Vector, spare: _Vector) -> None:
        """Change the weights; both arrays may be overwritten."""


class AdaGrad(_Scaled):
    """Steps shrink by feature with the gradients seen: the default champion."""

    def __init__(self, rate: float = 0.1) -> None:
        self._rate = rate
        super().__init__(1)

    def _step(self, gradient: _Vector, spare: _Vector) -> None:
        squares = self._memory[0]
        squares += np.multiply(gradient, gradient, out=spare)
        np.add(squares, 1e-8, out=spare)
        np.sqrt(spare, out=spare)
        gradient /= spare
        gradient *= self._rate
        self.w -= gradient


class FTRL(_Scaled):
    """Follow the regularised leader: weights are worked out from sums of gradients, and pulled to 0."""

    def __init__(self, alpha: float = 0.05, beta: float = 1.0, l2: float = 1.0) -> None:
        self._rate, self._flat = 1.0 / alpha, beta / alpha + l2
        super().__init__(3)

    def _step(self, gradient: _Vector, spare: _Vector) -> None:
        sums, squares, roots = self._memory
        np.multiply(roots, -self._rate, out=spare)
        spare -= self._flat
        np.divide(sums, spare, out=self.w)
        sums += gradient
        gradient *= gradient
        squares += gradient
        np.sqrt(squares, out=spare)
        roots -= spare
        roots *= self._rate
        roots *= self.w
        sums += roots
        np.copyto(roots, spare)


def _sigmoid(raw: float) -> float:
    if raw >= 0.0:
        return 1.0 / (1.0 + exp(-raw))
    grown = exp(max(raw, -700.0))
    return grown / (1.0 + grown)
