"""The models that learn where nothing else is said: the champion first."""

from typing import Final

from models.estimator import Build, Estimator
from models.linear import FTRL, AdaGrad
from models.pipelines import TREE_FEATURES, RiverEstimator, hoeffding


def tree() -> Estimator:
    """Build the tree that the linear models are compared with."""
    return RiverEstimator(hoeffding, TREE_FEATURES)


DEFAULTS: Final[dict[str, Build]] = {"adagrad": AdaGrad, "ftrl": FTRL, "tree": tree}
CHAMPION: Final = "adagrad"
