"""The plain-number models against River's own."""

import math
import random

import pytest

from models import features, pipelines
from models.linear import FTRL, AdaGrad
from models.pipelines import TREE_FEATURES, RiverEstimator, hoeffding
from models.scoring import CLIP, LinearScorer, compiled
from state.wire import Model

NAMES = features.NAMES


def lives(seed: int, count: int) -> list[tuple[list[float], int]]:
    """Make examples: some features constant, some rare and large, the label noisy."""
    rnd = random.Random(seed)
    made = []
    for _ in range(count):
        x = [rnd.gammavariate(1 + place % 4, 1.0) for place in range(len(NAMES))]
        x[0] = x[1] = 0.0
        x[2] = 20.0 if rnd.random() < 0.002 else 0.0
        raw = x[3] - x[4] + 0.5 * x[5] - 0.5 * x[6]
        made.append((x, int(rnd.random() < 1 / (1 + 2.718281828 ** (-raw)))))
    return made


@pytest.mark.parametrize(("twin", "river"), [(AdaGrad, pipelines.adagrad), (FTRL, pipelines.ftrl)])
def test_the_quick_twin_says_what_rivers_pipeline_says(twin: type[AdaGrad | FTRL], river: object) -> None:
    """Before every one of 3,000 labels, to 1e-9; a scored, published copy agrees too."""
    ours, theirs = twin(), RiverEstimator(river)  # type: ignore[arg-type]
    for x, y in lives(1, 3000):
        if ours.learned:
            assert ours.predict(x) == pytest.approx(theirs.predict(x), abs=1e-9)
        ours.learn(x, y)
        theirs.learn(x, y)
    plain = ours.weights() | {"base_rate": 0.5}
    scorer = compiled(Model(name="m", version="v", schema=features.VERSION, weights=plain))
    assert scorer is not None
    far = [[value * 40 for value in x] for x, _ in lives(2, 200)]
    for x in [x for x, _ in lives(3, 500)] + far:
        assert scorer.score(x) == pytest.approx(theirs.predict(x), abs=1e-9)


def test_a_tree_scores_in_plain_numbers_as_in_river() -> None:
    """The flattened tree leads every example to the leaf that River leads it to."""
    theirs = RiverEstimator(hoeffding, TREE_FEATURES)
    place = NAMES.index("recency")
    rnd = random.Random(4)
    for x, _ in lives(4, 6000):
        theirs.learn(x, int(x[place] + rnd.gauss(0, 0.3) > 1.5))
    plain = theirs.weights()
    assert plain is not None
    assert plain["nodes"] >= 3
    scorer = compiled(Model(name="tree", version="v", schema=features.VERSION, weights={**plain, "base_rate": 0.5}))
    assert scorer is not None
    for x, _ in lives(5, 500):
        assert scorer.score(x) == pytest.approx(theirs.predict(x), abs=1e-9)
    assert scorer.explained(lives(6, 1)[0][0])[1][0] in TREE_FEATURES


@pytest.mark.parametrize("build", [AdaGrad, FTRL, lambda: RiverEstimator(hoeffding, TREE_FEATURES)])
def test_a_dumped_model_goes_on_exactly_where_it_was(build: object) -> None:
    """Killed and restored, it must say and learn the very same: kill tests compare bytes."""
    one = build()  # type: ignore[operator]
    for x, y in lives(7, 1500):
        one.learn(x, y)
    two = build()  # type: ignore[operator]
    assert two.load(one.dump())
    for x, y in lives(8, 500):
        assert one.predict(x) == two.predict(x)
        one.learn(x, y)
        two.learn(x, y)
    assert one.weights() == two.weights()


def test_the_reasons_are_the_features_that_raise_the_score_most() -> None:
    """They are measured from the average person, in the weights that score."""
    weights = {"base_rate": 0.5, "bias": 0.0}
    for name in NAMES:
        weights |= {f"mean:{name}": 1.0, f"sd:{name}": 1.0, f"weight:{name}": 0.0}
    weights |= {"weight:recency": 2.0, "weight:orders": -1.0, "weight:tenure": 1.0}
    scorer = compiled(Model(name="m", version="v", schema=features.VERSION, weights=weights))
    assert scorer is not None
    x = dict.fromkeys(NAMES, 1.0)
    assert scorer.explained(list(x.values())) == (0.5, [])
    x |= {"recency": 2.0, "orders": 0.5, "tenure": 1.1, "events": 9.0}
    score, reasons = scorer.explained(list(x.values()))
    assert reasons == ["recency", "orders", "tenure"]
    assert score == pytest.approx(scorer.score(list(x.values())), abs=1e-12)


def test_the_dot_product_that_is_written_out_says_to_the_bit_what_a_loop_says() -> None:
    """It is spelled out for speed; a replay must find the scores of before, clipped from above, from below or not at all."""
    rnd = random.Random(7)
    rows = [(rnd.uniform(1, 2), rnd.choice([0.0, 0.1, 0.5]), rnd.gauss(0, 0.3)) for _ in NAMES]
    scorer = LinearScorer("v", 0.5, -0.2, rows)
    clipped = 0
    for _ in range(200):
        x = [mean + rnd.gauss(0, 1) * rnd.choice([0.01, 3.0]) for mean, _, _ in rows]
        inside = [max(min(v, m + CLIP * sd), m - CLIP * sd) if sd else v for v, (m, sd, _) in zip(x, rows, strict=True)]
        clipped += inside != x
        weights = [w / sd if sd else 0.0 for _, sd, w in rows]
        shifted = -0.2 - sum(m * w / sd if sd else 0.0 for m, sd, w in rows)
        raw = shifted + sum(v * w for v, w in zip(inside, weights, strict=True))
        assert scorer.score(x) == 1.0 / (1.0 + math.exp(-raw))
        assert scorer.explained(x)[0] == pytest.approx(scorer.score(x), rel=1e-9)
    assert clipped > 100
