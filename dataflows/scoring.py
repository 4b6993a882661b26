"""The churn machine as the dataflows run it: this project's features, and scorers made from model records."""

from connectors.settings import Settings
from models import features
from models.scoring import compiled
from operators.churn import Churning, ChurnMachine
from operators.fold import ChurnOver
from state.clock import DAY


def churn_over(settings: Settings) -> ChurnOver:
    """Build the churn machine of one deployment over any shard's models. A replay must be given the same settings."""
    churning = Churning(
        horizon=settings.churn_horizon_days * DAY,
        eligible=settings.churn_eligible_days * DAY,
        threshold=settings.churn_threshold,
    )
    return lambda models: ChurnMachine(features, compiled, models, churning)
