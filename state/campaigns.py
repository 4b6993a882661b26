"""Campaigns in the form in which they stand in the log and the fold reads them: plain, compiled, versioned.

The file that marketers edit is read and checked in `connectors.campaign_file`, which produces these.
"""

import hashlib
import operator
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from state.clock import NEVER

ANY: Final = "*"
"""Selects everything a person does; what is done to them by mail is not activity."""

_ORDERED: Final = "Order Completed"


class Test(StrEnum):
    """What a filter asks of a property."""

    IS = "is"
    IS_NOT = "is_not"
    IN = "in"
    NOT_IN = "not_in"
    ABOVE = "above"
    AT_LEAST = "at_least"
    BELOW = "below"
    AT_MOST = "at_most"
    EXISTS = "exists"
    CONTAINS = "contains"


class Filter(msgspec.Struct, frozen=True):
    """One condition on one property; `path` walks into nested objects."""

    path: tuple[str, ...]
    test: Test
    value: Any = None

    def holds(self, mapping: dict[str, Any]) -> bool:
        """Tell whether the properties satisfy this condition; a value that cannot be compared does not."""
        found: Any = mapping
        for step in self.path:
            found = found.get(step) if isinstance(found, dict) else None
        if self.test is Test.EXISTS:
            return (found is not None) == bool(self.value)
        try:
            return bool(_HOLDS[self.test](found, self.value))
        except TypeError:
            return False


_HOLDS: Final[dict[Test, Callable[[Any, Any], Any]]] = {
    Test.IS: operator.eq,
    Test.IS_NOT: operator.ne,
    Test.IN: lambda found, value: found in value,
    Test.NOT_IN: lambda found, value: found not in value,
    Test.ABOVE: operator.gt,
    Test.AT_LEAST: operator.ge,
    Test.BELOW: operator.lt,
    Test.AT_MOST: operator.le,
    Test.CONTAINS: operator.contains,
}


class Selector(msgspec.Struct, frozen=True):
    """Which events: a canonical track name, a message type (`identify`, `page`, ...) or `*`, and all of the filters."""

    event: str
    where: tuple[Filter, ...] = ()


class Items(StrEnum):
    """Where the items of a trigger's payload come from."""

    NONE = "none"
    CART = "cart"
    """The cart as it stands when the trigger is decided; an empty one sends nothing."""
    EVENT = "event"
    """The products of the event that opened the wait."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign that waits: opened by events, put off or cancelled by others, due `wait` after the last of them.

    Durations are microseconds. `subject` is "user" or the name of the property that tells two waits of one person apart.
    With `cancel_by_subject`, a cancelling event ends only the wait of its own subject; otherwise all of the person's.
    """

    id: str
    template_id: str
    opened_by: tuple[Selector, ...]
    reset_by: tuple[Selector, ...] = ()
    cancelled_by: tuple[Selector, ...] = ()
    cancel_by_subject: bool = False
    wait: int
    subject: str = "user"
    items: Items = Items.NONE
    properties: tuple[str, ...] = ()
    """Properties of the opening event that the email needs besides its items."""
    expires_after: int
    reentry: int = NEVER
    """How long after a trigger the same person and subject may get this campaign again."""

    @property
    def ends_with_an_order(self) -> bool:
        """Tell whether whoever has ordered should not get it."""
        return any(selector.event in {ANY, _ORDERED} for selector in self.cancelled_by)

    @property
    def version(self) -> str:
        """Name these very definitions: equal definitions have equal versions, everywhere."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:12]


def encode(campaigns: list[Campaign]) -> tuple[str, bytes]:
    """Write campaigns as they go into a `campaigns` record: their digest and their JSON."""
    body = msgspec.json.encode(sorted(campaigns, key=lambda c: c.id), order="deterministic")
    return hashlib.sha256(body).hexdigest()[:16], body


_decoder: Final = msgspec.json.Decoder(list[Campaign])


def decode(body: bytes | msgspec.Raw) -> list[Campaign]:
    """Read what `encode` wrote. Raises msgspec.ValidationError."""
    return _decoder.decode(body)
