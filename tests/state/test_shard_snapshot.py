"""State outlives code: snapshots of every released version can be read."""

from pathlib import Path

import msgspec
import pytest

from operators.fold import Fold, Limits
from state import upcasts
from state.records import Batch
from state.shard import Shard
from tests.shopping import Story, added_to_cart, at, ordered, sent, tracked

GOLDEN = Path(__file__).parents[1] / "golden"


def written_today() -> bytes:
    """Write a snapshot in which every part of the state holds something."""
    story = Story()
    story.append(sent("identify", at(), visitor="phone", traits={"email": "ann@example.com", "age": 30}), at())
    story.append(added_to_cart(at(minutes=1)), at(minutes=1))
    story.append(added_to_cart(at(hours=3), cart_id="cart-2"), at(hours=3))
    story.append(ordered(at(hours=3, minutes=1), user="bob"), at(hours=3, minutes=1))
    story.append(tracked("Unsubscribed", at(hours=3, minutes=2), user="bob"), at(hours=3, minutes=2))
    story.append(added_to_cart(at(hours=3, minutes=3), user=None, visitor="anon"), at(hours=3, minutes=3))
    return story.fold.shard.snapshot()


def test_the_storage_format_has_not_changed() -> None:
    """A renamed field is harmless, a moved one is not: the bytes are pinned. If they must change, raise the version."""
    golden = GOLDEN / f"shard_v{upcasts.VERSION}.msgpack"
    assert written_today() == golden.read_bytes()


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("shard_v*.msgpack")), ids=lambda path: path.stem)
def test_a_snapshot_of_any_version_goes_on(golden: Path) -> None:
    """Restored, the second cart of the golden story still falls due, with what was in it."""
    fold = Fold(Shard.restore(golden.read_bytes()), Limits())
    out = fold.apply(Batch(0, [], at(hours=5)))
    (trigger,) = (msgspec.json.decode(emission.value) for emission in out.triggers)
    assert (trigger["user_id"], trigger["subject"], trigger["email"]) == ("ann", "cart-2", "ann@example.com")


def test_a_snapshot_of_a_later_version_is_refused_with_a_sentence() -> None:
    """A worker that was rolled back must not guess."""
    with pytest.raises(upcasts.UnknownVersion, match="run the version that wrote it"):
        Shard.restore(msgspec.msgpack.encode([upcasts.VERSION + 1, 0]))
