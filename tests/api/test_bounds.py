"""Bounds that requests are held to: the time and size of bodies that come in pieces, and rates."""

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import bodies
from api.answers import Refused
from api.bodies import body
from api.rates import Bucket


def pieces(*parts: bytes, ends: bool = True) -> Any:
    """Give a body in pieces; one that does not end hangs, as a sender may."""
    left: Iterator[MutableMapping[str, Any]] = iter(
        {"type": "http.request", "body": part, "more_body": index < len(parts) or not ends}
        for index, part in enumerate(parts, start=1)
    )

    async def receive() -> MutableMapping[str, Any]:
        message = next(left, None)
        if message is None:
            await asyncio.sleep(60)
            raise AssertionError("nobody ended the wait")
        return message

    return receive


def test_a_body_in_pieces_is_put_together() -> None:
    """As large ones arrive."""
    assert asyncio.run(body({}, pieces(b"a", b"b", b"c"))) == b"abc"


def test_a_body_in_pieces_is_bounded_as_it_comes() -> None:
    """Nobody says how long it will be, and it is refused before it is all there."""
    with pytest.raises(Refused, match="more than 100 bytes") as refused:
        asyncio.run(body({}, pieces(*[b"x" * 30] * 4, ends=False), limit=100))
    assert refused.value.status == 413


def test_a_body_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand open requests that never end cost a thousand buffers."""
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    with pytest.raises(Refused) as refused:
        asyncio.run(body({}, pieces(b"x", ends=False)))
    assert refused.value.status == 408


def test_a_sender_who_hangs_up_in_the_middle_is_no_error_of_ours() -> None:
    """Half a body is none."""

    async def receive() -> MutableMapping[str, Any]:
        return left.pop(0)

    left: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]
    with pytest.raises(Refused, match="ended early"):
        asyncio.run(body({}, receive))


@given(
    rate=st.floats(0.1, 1e5),
    burst=st.integers(1, 10_000),
    takes=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 10_000)), max_size=50),
)
def test_a_bucket_lets_through_its_burst_and_its_rate_and_no_more(
    rate: float, burst: int, takes: list[tuple[int, int]]
) -> None:
    """Whatever comes when; one that is larger than the bucket is paid for afterwards."""
    bucket = Bucket(rate, burst)
    now, through, largest = 1_000_000_000, 0, 0
    for pause, count in takes:
        now += pause
        if not bucket.take(count, now):
            through += count
            largest = max(largest, count)
    allowed = burst + rate * (now - 1_000_000_000) / 1_000_000
    assert through <= allowed + max(largest - burst, 0) + 1e-3 * allowed


@given(rate=st.floats(0.1, 1e5), burst=st.integers(1, 10_000), count=st.integers(1, 10_000))
def test_who_waits_as_long_as_told_is_let_through(rate: float, burst: int, count: int) -> None:
    """The time told is enough, and less is not."""
    bucket = Bucket(rate, burst)
    now = 1_000_000_000
    assert bucket.take(burst, now) == 0
    wait = bucket.take(count, now)
    assert wait > 0
    assert bucket.take(count, now + int(wait * 1_000_000 * 0.9)) > 0
    assert bucket.take(count, now + int(wait * 1_000_000) + 2) == 0


def test_no_limit_is_no_limit() -> None:
    """The default."""
    assert Bucket(0, 1).take(10**9, 0) == 0
