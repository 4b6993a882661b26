"""Which model scores is decided by a command, and takes effect by a record in the log."""

from typing import Any

import msgspec
import pytest

from cli import models
from connectors.learning_log import Promotion, Registry
from connectors.redis_streams import scan
from connectors.topics import EVENTS
from models.report import Compared, Quality, Report
from operators.churn import CHAMPION
from state.clock import DAY
from state.wire import Model, decoder
from tests.shopping import START

PARTITIONS = 2


def report(name: str, **against: Compared) -> bytes:
    """Write the report of a model that has scored long enough."""
    quality = Quality(5000, 0.8, 0.4, 0.1, 0.01)
    return msgspec.json.encode(
        Report(
            tenant="default",
            name=name,
            version="v-5000",
            at=START,
            labels=(2000, 3000),
            warming=False,
            can_score=True,
            all=quality,
            eligible=quality,
            against=against,
            shadow=40 * DAY,
            horizon=30 * DAY,
            drifted={"recency": START},
            refused=1,
            cut=0,
            unlearned=0,
            withheld=0,
        )
    )


@pytest.fixture
def registry(client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Three models: the champion, one surely better, one not."""
    monkeypatch.setenv("WAXMARK_REDIS", redis_url)
    monkeypatch.setenv("WAXMARK_PARTITIONS", str(PARTITIONS))
    registry = Registry(client)
    registry.keep("default", "adagrad", report("adagrad"))
    registry.keep("default", "ftrl", report("ftrl", adagrad=Compared(4000, -0.01, -0.02, -0.001)))
    registry.keep("default", "tree", report("tree", adagrad=Compared(4000, 0.1, 0.05, 0.2)))
    registry.promote("default", Promotion("adagrad", "2026-01-01T00:00:00+00:00"))
    return registry


def champions(client: Any) -> list[list[str]]:
    """Read whom each partition's log has named champion."""
    found = []
    for partition in range(PARTITIONS):
        records = [decoder.decode(fields[b"v"]) for _, fields in scan(client, EVENTS, partition)]
        found.append([r.version for r in records if isinstance(r, Model) and r.name == CHAMPION])
    return found


def test_a_better_model_is_promoted_in_every_partition_and_rolled_back(registry: Registry, client: Any) -> None:
    """No worker is restarted: the record that makes a champion stands where the events stand."""
    models.promote("ftrl")
    assert champions(client) == [["ftrl"], ["ftrl"]]
    models.rollback()
    assert champions(client) == [["ftrl", "adagrad"]] * 2
    assert [promotion.name for promotion in registry.promotions("default")] == ["adagrad", "ftrl", "adagrad"]


def test_what_the_rule_speaks_against_needs_force_and_the_force_is_kept(registry: Registry, client: Any) -> None:
    """Whoever asks a month later why a worse model scores finds who was passed over, and why."""
    with pytest.raises(models.NotPromoted, match="not surely lower"):
        models.promote("tree")
    assert champions(client) == [[], []]
    models.promote("tree", force=True)
    assert champions(client) == [["tree"], ["tree"]]
    (forced,) = registry.promotions("default")[-1].forced
    assert "not surely lower" in forced


@pytest.mark.usefixtures("registry")
def test_a_model_that_is_not_there_is_named_with_those_that_are(client: Any) -> None:
    """A typing error must not make an unknown name champion: nobody would be scored."""
    with pytest.raises(models.NotPromoted, match="there are: adagrad, ftrl, tree"):
        models.promote("adagrat", force=True)
    with pytest.raises(models.NotPromoted, match="already"):
        models.promote("adagrad")
    with pytest.raises(models.NotPromoted, match="no other champion"):
        models.rollback()
    assert champions(client) == [[], []]


@pytest.mark.usefixtures("registry")
def test_list_and_show_tell_what_the_rule_would_say(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures that decide are the figures that are shown."""
    models.list_()
    listed = capsys.readouterr().out
    assert "adagrad *" in listed
    assert "-0.0100" in listed
    models.show("ftrl")
    shown = capsys.readouterr().out
    assert "nothing speaks against promoting it" in shown
    assert "drifted: recency" in shown
    models.show("tree")
    assert "not surely lower" in capsys.readouterr().out
