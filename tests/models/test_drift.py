"""Drift: what changed is named, and what did not change wakes nobody."""

import random

from models import features
from models.drift import BLOCK, Drift

SIZE = len(features.NAMES)


def told(blocks: int, shift: float, *, seed: int = 1, feature: int = 4) -> set[str]:
    """Let one feature move after half of the blocks; say what was found to have drifted."""
    rnd, drift, found = random.Random(seed), Drift(), set[str]()
    for number in range(blocks * BLOCK):
        x = [rnd.gauss(1.0, 0.5) for _ in range(SIZE)]
        if number > blocks * BLOCK / 2:
            x[feature] += shift
        found |= set(drift.update(rnd.gammavariate(2.0, 0.2), rnd.random(), x))
    return found


def test_a_feature_that_moved_is_named_and_no_other() -> None:
    """A tracking change doubles one number: whoever is woken must know where to look."""
    assert told(200, 2.0) == {features.NAMES[4]}


def test_what_only_varies_wakes_nobody() -> None:
    """Forty detectors over a quiet month: ten thousand examples each, ten times."""
    assert [told(200, 0.0, seed=seed) for seed in range(10)] == [set()] * 10


def test_detection_goes_on_over_a_restart() -> None:
    """A change that is half seen at the restart is still seen."""
    rnd, drift = random.Random(2), Drift()
    found = set[str]()
    for number in range(400 * BLOCK):
        if number % 777 == 0:
            again = Drift()
            assert again.load(drift.dump())
            drift = again
        loss = rnd.gammavariate(2.0, 0.2) + (2.0 if number > 200 * BLOCK else 0.0)
        found |= set(drift.update(loss, rnd.random(), [rnd.gauss(1.0, 0.5) for _ in range(SIZE)]))
    assert found == {"log_loss"}
