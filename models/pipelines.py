"""The same models as River pipelines: the reference for `models.linear`, the tree, and the way in for any other."""

import pickle
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final

import msgspec
from river import base, linear_model, optim, preprocessing, tree

from models import features
from models.drift import RIVER
from models.scoring import CLIP

TREE_FEATURES: Final = (
    *("recency", "order_recency", "lateness", "punctuality", "gap_mean", "gap_variation", "tenure", "orders"),
    *("order_7d", "order_30d", "order_90d", "browse_7d", "browse_30d", "cart_open"),
)
"""A tree pays for every feature at every example; these say most of what the others say."""


_MAJORITY: Final = "mc"


class Clip(base.Transformer):
    """Keep scaled features within ±6: one poisoned value must not carry the weights away."""

    def transform_one(self, x: dict[base.typing.FeatureName, Any]) -> dict[base.typing.FeatureName, Any]:
        """Cut what lies outside."""
        return {name: min(max(value, -CLIP), CLIP) for name, value in x.items()}


def adagrad() -> Any:
    """Build scaled logistic regression with AdaGrad."""
    return preprocessing.StandardScaler() | Clip() | linear_model.LogisticRegression(optim.AdaGrad(0.1))


def ftrl() -> Any:
    """Build scaled logistic regression with FTRL-Proximal."""
    return preprocessing.StandardScaler() | Clip() | linear_model.LogisticRegression(optim.FTRLProximal())


def hoeffding() -> Any:
    """Build a Hoeffding tree that stays small enough to travel to the fold."""
    return tree.HoeffdingTreeClassifier(grace_period=500, max_depth=6, leaf_prediction=_MAJORITY)


class _Pickled(msgspec.Struct, array_like=True):
    river: str
    features_version: int
    learned: tuple[int, int]
    pickle: bytes


class RiverEstimator:
    """Any River classifier. Its state is a pickle pinned to River's version: another version begins anew.

    River's trees with majority leaves also write themselves down in plain numbers, and so can score in the fold; other
    estimators can be backtested, not promoted.
    """

    def __init__(self, build: Callable[[], Any], names: Sequence[str] = features.NAMES) -> None:
        self.model = build()
        self._names = tuple(names)
        self._places = [features.NAMES.index(name) for name in names]
        self._seen = [0, 0]

    def predict(self, x: Sequence[float], /) -> float:
        """Say how likely the label is 1; the base rate as long as the model does not know, or says what is no number."""
        said = self.model.predict_proba_one(self._named(x)).get(True)
        if said is None or not isfinite(said):
            return (self._seen[1] + 1) / (sum(self._seen) + 2)
        return min(max(float(said), 0.0), 1.0)

    def learn(self, x: Sequence[float], y: int, /) -> None:
        """Learn a label."""
        self._seen[y] += 1
        self.model.learn_one(self._named(x), bool(y))

    def weights(self) -> dict[str, float] | None:
        """Flatten a tree, the parents first; None for any other estimator."""
        if type(self.model) is not tree.HoeffdingTreeClassifier or self.model.leaf_prediction != _MAJORITY:
            return None
        plain: dict[str, float] = {}
        queue: list[Any] = [self.model._root]  # noqa: SLF001 - River offers no other way to read a tree
        for place, node in enumerate(queue):
            if hasattr(node, "children"):
                feature = self._places[self._names.index(node.feature)]
                plain |= {
                    f"{place}:feature": float(feature),
                    f"{place}:threshold": float(node.threshold),
                    f"{place}:left": float(len(queue)),
                    f"{place}:right": float(len(queue) + 1),
                }
                queue += node.children
            else:
                stats = {} if node is None else node.stats
                ones, zeros = stats.get(True, 0.0), stats.get(False, 0.0)
                total = ones + zeros
                plain |= {f"{place}:feature": -1.0, f"{place}:leaf": ones / total if total else 0.5}
        return plain | {"nodes": float(len(queue))}

    def dump(self) -> bytes:
        """Pickle the estimator."""
        seen = (self._seen[0], self._seen[1])
        return msgspec.msgpack.encode(_Pickled(RIVER, features.VERSION, seen, pickle.dumps(self.model)))

    def load(self, data: bytes, /) -> bool:
        """Unpickle what this version of River wrote; it comes from our own recovery store."""
        state = msgspec.msgpack.decode(data, type=_Pickled)
        if (state.river, state.features_version) != (RIVER, features.VERSION):
            return False
        self.model = pickle.loads(state.pickle)  # noqa: S301 - written by dump()
        self._seen = list(state.learned)
        return True

    def _named(self, x: Sequence[float]) -> dict[str, float]:
        return {name: x[place] for name, place in zip(self._names, self._places, strict=True)}
