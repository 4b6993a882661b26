"""Churn in the fold: models arrive by the log, scores go to profiles and triggers, examples come out once."""

import random
from typing import Any

import msgspec

from models import features
from models.scoring import compiled
from operators.churn import CHAMPION, Churning, ChurnMachine
from operators.fold import Fold, Limits
from state.campaigns import Campaign, Selector
from state.clock import DAY
from state.commerce import RISK_CROSSED
from state.records import Batch, Record
from state.shard import Shard
from state.wire import Model, encoder
from tests.shopping import CART, START, added_to_cart, at, in_force, ordered, tracked

AT_RISK = Campaign(
    id="at_risk",
    template_id="at-risk",
    opened_by=(Selector(RISK_CROSSED),),
    wait=1,
    properties=("score",),
    expires_after=DAY,
    reentry=0,
)
CHURNING = Churning(horizon=10 * DAY, eligible=60 * DAY, every=5 * DAY, threshold=0.8)


def over(models: dict[str, Model]) -> ChurnMachine:
    """Build the churn machine over a shard's models."""
    return ChurnMachine(features, compiled, models, CHURNING)


def weighed(version: str, bias: float, **weights: float) -> bytes:
    """Write a model record: a logistic regression over features that are neither shifted nor scaled."""
    numbers = {"base_rate": 0.5, "bias": bias}
    for name in features.NAMES:
        numbers |= {f"mean:{name}": 0.0, f"sd:{name}": 1.0, f"weight:{name}": weights.get(name, 0.0)}
    return encoder.encode(Model(name="adagrad", version=version, schema=features.VERSION, weights=numbers))


CROWNED = encoder.encode(Model(name=CHAMPION, version="adagrad", schema=features.VERSION, weights={}))
"""Names the model whose score counts."""


def said(fold: Fold, batches: list[Batch]) -> list[list[Any]]:
    """Everything that must not depend on batches: triggers, decisions, examples."""
    outs = [fold.apply(batch) for batch in batches]
    return [[one for out in outs for one in getattr(out, kind)] for kind in ("triggers", "decisions", "examples")]


def months_of_a_shop() -> list[Record]:
    """Let twelve people come, buy or not, and stay away, while models change."""
    rng, now = random.Random(5), START
    records = [Record("0-1", now, in_force(CART, AT_RISK)), Record("0-2", now, weighed("v1", -2.0, recency=1.5))]
    records.append(Record("0-3", now, CROWNED))
    for number in range(400):
        now += rng.randint(1, 14) * DAY // 24
        who, identity = f"user-{rng.randrange(12)}", f"m{number}"
        value = rng.choice(
            [
                tracked("Product Viewed", now, product_id="p", user=who, message_id=identity),
                added_to_cart(now, user=who, message_id=identity),
                ordered(now, f"o{number}", user=who, message_id=identity),
            ]
        )
        records.append(Record(f"{now // 1000}-{number}", now, value))
        if number == 200:
            records.append(Record(f"{now // 1000}-m", now, weighed("v2", -1.0, recency=1.0)))
    return records


def test_any_split_and_any_restart_give_the_same_examples_scores_and_triggers() -> None:
    """Bit for bit, scores included: a replay is the production, or a backtest proves nothing."""
    log = months_of_a_shop()
    end = log[-1].log_time + 120 * DAY
    expected = said(Fold(Shard(0), Limits(), over), [Batch(0, log, end)])
    for seed in range(5):
        rng, fold, rest = random.Random(seed), Fold(Shard(0), Limits(), over), list(log)
        parts = []
        while rest:
            size = rng.randint(1, 60)
            part, rest = rest[:size], rest[size:]
            parts.append(said(fold, [Batch(0, part, part[-1].log_time)]))
            fold = Fold(Shard.restore(fold.shard.snapshot()), Limits(), over)
        parts.append(said(fold, [Batch(0, [], end)]))
        assert [[one for part in parts for one in part[kind]] for kind in range(3)] == expected
    triggers, _, examples = expected
    assert len(examples) > 100
    assert {example.label for example in examples} == {0, 1}
    assert len({example.example_id for example in examples}) == len(examples)
    assert b'"at_risk"' in b"".join(trigger.value for trigger in triggers)


def test_a_risk_opens_its_campaign_once_in_an_episode_of_absence() -> None:
    """Once the threshold is crossed, staying away crosses nothing again; coming back and leaving again does."""
    fold = Fold(Shard(0), Limits(), over)
    log = [
        Record("0-1", START, in_force(AT_RISK)),
        Record("0-2", START, weighed("v1", -4.0, recency=3.0)),
        Record("0-3", START, CROWNED),
        Record("1-1", START, ordered(at(), "o1", message_id="m1")),
        Record("2-1", at(days=70), ordered(at(days=70), "o2", message_id="m2")),
    ]
    out = fold.apply(Batch(0, log, at(days=69)))
    first = [msgspec.json.decode(emission.value) for emission in out.triggers]
    out = fold.apply(Batch(0, [], at(days=200)))
    again = [msgspec.json.decode(emission.value) for emission in out.triggers]
    assert [(t["campaign_id"], t["user_id"]) for t in first + again] == [("at_risk", "ann")] * 2
    assert first[0]["model"]["version"] == "v1"
    assert first[0]["payload"]["properties"]["score"] >= CHURNING.threshold
    assert first[0]["decided_at"] < again[0]["decided_at"]


def test_a_profile_tells_the_score_its_version_and_its_reasons() -> None:
    """Whoever composes an email may use them; without a model they are not there. Reasons are those of the last question."""
    fold = Fold(Shard(0), Limits(), over)
    viewed = [tracked("Product Viewed", at(minutes=n), product_id="p", message_id=f"m{n}") for n in range(3)]
    (update,) = fold.apply(Batch(0, [Record("1-1", at(), viewed[0])], 0)).profiles
    assert update.fields is not None
    assert "churn_score" not in update.fields
    model = weighed("v1", 0.0, browse_7d=1.0, events=0.5)
    fold.apply(Batch(0, [Record("1-1", at(), CROWNED), Record("1-2", at(minutes=1), model)], 0))
    (update,) = fold.apply(Batch(0, [Record("1-3", at(days=2), viewed[2])], 0)).profiles
    assert update.fields is not None
    assert 0.5 < float(update.fields["churn_score"]) < 1
    assert (update.fields["churn_model"], update.fields["churn_version"]) == ("adagrad", "v1")
    assert update.fields["churn_reasons"] == "browse_7d,events"


def test_a_model_that_cannot_score_is_a_dead_letter_and_the_last_one_stays() -> None:
    """One NaN must not reach a single profile."""
    fold = Fold(Shard(0), Limits(), over)
    fold.apply(Batch(0, [Record("1-0", at(), CROWNED), Record("1-1", at(), weighed("good", 0.0))], 0))
    bad = encoder.encode(Model(name="adagrad", version="bad", schema=99, weights={"base_rate": 0.5}))
    out = fold.apply(Batch(0, [Record("1-2", at(), bad)], 0))
    assert [letter.detail for letter in out.dead_letters] == ["a model that cannot score: the last one stays"]
    out = fold.apply(Batch(0, [Record("1-3", at(), tracked("Product Viewed", at(), product_id="p"))], 0))
    assert out.profiles[0].fields is not None
    assert out.profiles[0].fields["churn_version"] == "good"
