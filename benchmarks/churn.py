"""`make bench-churn`: online churn models on two real shops, against models fitted in batches.

Scores are given when an example is asked and learned from when production would know the answer; judged is what was asked
in the last part of the log. All models see the same features, examples and split.
"""

import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.churn_anchors import Examples, Floats, anchors
from benchmarks.churn_cost import costs
from benchmarks.churn_data import Order, cdnow, complete_journey, records
from dataflows.backtest import examples
from models.defaults import DEFAULTS
from models.metrics import Progressive, loss_of
from models.validation import Validated, validate
from operators.churn import Churning
from state.clock import DAY

RESULTS = Path(__file__).parent / "results" / "churn.json"
JUDGED_FROM = 0.8
"""The share of the log's span after which an example's asking time makes it count."""

ECE = 0.03


class Task(NamedTuple):
    """A question about a shop, and the figures to beat or equal."""

    name: str
    orders: Callable[[], list[Order]]
    horizon: int
    eligible: int
    auc: float
    log_loss: float


TASKS = (
    Task("CDNOW, no order in 90 d", cdnow, 90, 600, 0.823, 0.326),
    Task("Complete Journey, no basket in 7 d", complete_journey, 7, 90, 0.824, 0.512),
    Task("Complete Journey, no basket in 14 d", complete_journey, 14, 90, 0.854, 0.424),
)


def main() -> None:
    """Measure all tasks, or on a share of the customers: `python -m benchmarks.churn 0.2`."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    results: dict[str, object] = {"cost in CPU us": costs()}
    results |= {task.name: _run(task, share) for task in TASKS}
    if share == 1.0:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _run(task: Task, share: float) -> dict[str, object]:
    orders = [order for order in task.orders() if zlib.crc32(order[1].encode()) < share * 2**32]
    churning = Churning(
        horizon=task.horizon * DAY, eligible=task.eligible * DAY, every=max(7 * DAY, task.horizon * DAY // 4)
    )
    found = examples(((0, record) for record in records(orders)), 1, churning)
    start, end = orders[0][0], orders[-1][0]
    cut = int(start + JUDGED_FROM * (end - start))
    validated = validate(found, DEFAULTS)
    arrays = _arrays(validated, task.horizon * DAY)
    future = arrays.asked_at >= cut
    label = arrays.label[future]
    scores = {name: np.array(said)[future] for name, said in validated.scores.items()}
    scores |= anchors(arrays, cut)
    print(f"\n{task.name}: {len(found)} examples, {int(future.sum())} judged, {label.mean():.3f} of them stayed away")
    print(f"{'':32}{'AUC':>8}{'log loss':>10}{'Brier':>8}{'ECE':>8}")
    figures = {name: _figures(name, values, label) for name, values in scores.items()}
    ours = figures["adagrad"]
    met = round(ours["auc"], 3) >= task.auc and round(ours["log_loss"], 3) <= task.log_loss and ours["ece"] <= ECE
    print(f"to beat: AUC {task.auc}, log loss {task.log_loss}, ECE {ECE}: {'met' if met else 'missed'}")
    return {"examples": len(found), "judged": int(future.sum()), "base_rate": float(label.mean()), "models": figures}


def _figures(name: str, scores: Floats, label: Floats) -> dict[str, float]:
    judged = Progressive()
    for score, answer in zip(scores.tolist(), label.astype(int).tolist(), strict=True):
        judged.update(score, answer, loss_of(score, answer))
    row = {
        "auc": round(judged.auc, 4),
        "log_loss": round(judged.log_loss, 4),
        "brier": round(judged.brier, 4),
        "ece": round(judged.calibration_error, 4),
    }
    print(f"{name:32}{row['auc']:8.4f}{row['log_loss']:10.4f}{row['brier']:8.4f}{row['ece']:8.4f}")
    return row


def _arrays(validated: Validated, horizon: int) -> Examples:
    found = validated.examples
    return Examples(
        np.array([e.features for e in found]),
        np.array([e.label for e in found], dtype=float),
        np.array([e.asked_at for e in found]),
        np.array([e.labelled_at for e in found]),
        np.array([e.user_id for e in found]),
        horizon,
    )


if __name__ == "__main__":
    main()
