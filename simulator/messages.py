"""What a shopper's act looks like on the wire: Segment messages as its libraries send them, and broken ones."""

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from simulator.acts import Act
from simulator.catalogue import raw
from simulator.shopper import Shopper
from state.clock import HOUR, to_iso
from state.commerce import KNOWN

_OLD_NAMES: Final = {known.name: alias for alias, known in KNOWN.items() if alias != known.name}
"""Version 1 names by those of version 2, for shops whose tracking was never updated."""

_BROWSER: Final = raw({"name": "analytics.js", "version": "2.11"})
_PROVIDER: Final = raw({"name": "esp-events", "version": "1.0.0"})

_encoder: Final = msgspec.json.Encoder()


class _Context(msgspec.Struct, rename="camel"):
    library: Raw
    page: Raw | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET


class Message(msgspec.Struct, rename="camel"):
    """A Segment message in the order of its JSON; loosely typed where broken ones are made from it."""

    message_id: str
    type: str
    user_id: Any
    anonymous_id: Any
    event: str | UnsetType
    name: str | UnsetType
    timestamp: str
    sent_at: str
    received_at: str
    context: _Context
    properties: Any = UNSET
    traits: Any = UNSET


def compose(rng: Random, shopper: Shopper, act: Act, held: int, received: int, *, known_only: bool) -> Message:
    """Write an act as the message of its device, whose clock may be wrong.

    Args:
        rng: gives the message id and the small delays on the way.
        shopper: who acts.
        act: what they do.
        held: for how long the device kept the message before it sent it, in milliseconds.
        received: when the collector got it, in milliseconds since 1970.
        known_only: leave out the visitor id.
    """
    user_id: str | UnsetType = UNSET
    anonymous_id: str | UnsetType = UNSET
    event: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    properties = traits = UNSET
    device = act.device
    if device is None:
        skew, user_id = 0, shopper.user_id
        context = _Context(_PROVIDER)
    else:
        skew = device.skew
        if device.known:
            user_id = shopper.user_id
        if not known_only:
            anonymous_id = device.anonymous_id
        context = _Context(_BROWSER, act.page, device.agent)
    luck = rng.getrandbits(64)
    sent = received + skew - 5 - luck % 32
    if act.type == "track":
        event = _OLD_NAMES.get(act.name, act.name) if shopper.v1 else act.name
        properties = act.body
    elif act.type == "identify":
        traits = act.body
    else:
        name, properties = act.name, act.body
    return Message(
        f"ajs-{luck:016x}",
        act.type,
        user_id,
        anonymous_id,
        event,
        name,
        _iso(sent - held - luck % 16),
        _iso(sent),
        _iso(received),
        context,
        properties,
        traits,
    )


encode: Final[Callable[[Message], bytes]] = _encoder.encode


def _iso(milliseconds: int) -> str:
    hour, rest = divmod(milliseconds, 3_600_000)
    second, rest = divmod(rest, 1_000)
    return _until_hour(hour) + _IN_HOUR[second] + _IN_SECOND[rest]


@lru_cache(maxsize=1_000)
def _until_hour(hour: int) -> str:
    return to_iso(hour * HOUR)[: len("2000-01-01T00:")]


# Three times stand in every message: putting them together from parts costs a fifth of formatting them.
_IN_HOUR: Final = tuple(f"{second // 60:02d}:{second % 60:02d}." for second in range(3_600))
_IN_SECOND: Final = tuple(f"{millisecond:03d}Z" for millisecond in range(1_000))


def _changed(**changes: object) -> Callable[[Message], bytes]:
    return lambda message: encode(msgspec.structs.replace(message, **changes))


def _cut(message: Message) -> bytes:
    whole = encode(message)
    return whole[: len(whole) * 2 // 3]


def _latin(message: Message) -> bytes:
    return encode(message).replace(b'"context":{', b'"context":{"campaign":"caf\xe9",', 1)


_FLAWS: Final[tuple[Callable[[Message], bytes], ...]] = (
    _cut,
    _latin,
    _changed(message_id=""),
    _changed(user_id=UNSET, anonymous_id=UNSET),
    _changed(user_id={"id": 42}),
    _changed(type="click"),
    _changed(timestamp="1970-01-01T00:00:12.000Z"),
    _changed(timestamp="yesterday"),
    _changed(type="track", event="Product Viewed", properties={"name": ["Mug"], "price": "ask us"}),
    _changed(type="track", event="Order Completed", properties={"total": 12.5}),
)


def spoil(rng: Random, message: Message) -> bytes:
    """Break a message in one of the ways in which real ones are: cut, ill encoded, nobody's, ill typed, out of time."""
    return _FLAWS[int(rng.random() * len(_FLAWS))](message)
