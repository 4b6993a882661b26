"""A model of your own: copy this file, change `build`, and let it compete.

    waxmark backtest --events log.jsonl --model my_model.py:build --horizon 30d

`build` returns any River classifier; it is asked and taught one example at a time, features by name (see
`models.features.DOCUMENTED`). Or it returns an estimator of your own with the five methods of `models.estimator.Estimator`;
one whose `weights` are plain numbers can also score in production. Scale what needs scaling: counts and days come in log1p.
"""

from typing import Any

from river import linear_model, optim, preprocessing


def build() -> Any:
    """Build the model, untaught."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.Adam(0.01))
