"""Mapping files: how another system's words become our messages, by JMESPath expressions, without code.

An expression sees `body` (one item of what was posted) and `headers` (in lower case, with `_` for `-`). Besides JMESPath's
own functions there is `money(amount, currency)`, which makes an amount of minor units one of whole currency.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.keys import read
from state.clock import to_iso

OURS: Final = Path(__file__).parent / "mappings"

_WITHOUT_MINOR: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"} | {"PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
"""Currencies whose smallest unit is the whole one."""
_MILLENNIUM: Final = 100_000_000_000
"""A number above is a time in milliseconds, below in seconds: seconds reach it in the year 5138."""


class _Extended(Functions):
    @signature({"types": ["number", "null"]}, {"types": ["string", "null"]})
    def _func_money(self, amount: float | None, currency: str | None) -> float | None:
        if amount is None:
            return None
        return amount if (currency or "").upper() in _WITHOUT_MINOR else round(amount / 100, 2)


_options: Final = jmespath.Options(custom_functions=_Extended())


def _compiled(text: object) -> Any:
    if not isinstance(text, str):
        raise ValueError("an expression is a text")  # noqa: TRY004 - what pydantic turns into its own error
    try:
        return jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(f"not JMESPath: {str(error).splitlines()[0]}") from None


Expression = Annotated[Any, BeforeValidator(_compiled)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(_Closed):
    """One message that an item becomes, if `when` holds. Unnamed expressions are those of the mapping."""

    when: Expression
    type: Literal["track", "identify", "alias"] = "track"
    event: str = ""
    user_id: Expression | None = None
    anonymous_id: Expression | None = None
    previous_id: Expression | None = None
    email: Expression | None = None
    time: Expression | None = None
    properties: dict[str, Expression] = {}
    traits: dict[str, Expression] = {}


class Translation(_Closed):
    """A mapping file. `id` names an item, so that a repeat is known; who is found by user id, else by address."""

    items: Expression | None = None
    id: Expression
    user_id: Expression | None = None
    anonymous_id: Expression | None = None
    email: Expression | None = None
    time: Expression | None = None
    messages: Annotated[list[Message], Field(min_length=1)]


class Told(NamedTuple):
    """A message in the making: `email` says whose it is where no user id is given."""

    message: dict[str, Any]
    email: str


def load(name: str, folder: Path) -> Translation:
    """Read one of our mappings by its name, or a file (relative to `folder`). Raises KeysError with the place."""
    ours = OURS / f"{name}.yaml"
    return read(ours if ours.is_file() and "/" not in name else folder / name, Translation)


def apply(mapping: Translation, body: Any, headers: Mapping[str, str], prefix: str) -> Iterator[Told]:
    """Turn what was posted into messages. What an expression cannot read is absent; an item that no `when` wants, none."""
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    found = body if mapping.items is None else _read(mapping.items, {"body": body, "headers": named})
    for item in found if isinstance(found, list) else [found]:
        seen = {"body": item, "headers": named}
        item_id = _read(mapping.id, seen)
        matching = [message for message in mapping.messages if _read(message.when, seen) is True]
        for number, message in enumerate(matching):
            # Two messages of one item need ids of their own; the first keeps the plain one.
            own = f"{prefix}-{item_id}" + (f"-{number}" if number else "")
            yield _told(mapping, message, seen, None if item_id is None else own)


def _told(mapping: Translation, message: Message, seen: dict[str, Any], message_id: str | None) -> Told:
    told: dict[str, Any] = {"type": message.type, "messageId": message_id}
    if message.type == "track":
        told |= {"event": message.event, "properties": _each(message.properties, seen)}
    elif message.type == "identify":
        told["traits"] = _each(message.traits, seen)
    for name, own, common in (
        ("userId", message.user_id, mapping.user_id),
        ("anonymousId", message.anonymous_id, mapping.anonymous_id),
        ("previousId", message.previous_id, None),
    ):
        value = _read(own or common, seen)
        if isinstance(value, str | int) and not isinstance(value, bool):
            told[name] = str(value)
    time = _time(_read(message.time or mapping.time, seen))
    if time is not None:
        told["timestamp"] = time
    email = _read(message.email or mapping.email, seen)
    return Told(told, email if isinstance(email, str) else "")


def _each(expressions: Mapping[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
    values = {name: _read(expression, seen) for name, expression in expressions.items()}
    return {name: value for name, value in values.items() if value is not None}


def _read(expression: Any, seen: dict[str, Any]) -> Any:
    if expression is None:
        return None
    try:
        return expression.search(seen, _options)
    except (JMESPathError, RecursionError):
        return None


def _time(value: object) -> str | None:
    if isinstance(value, str):
        if value.isascii() and value.isdigit():
            return _time(int(value))
        return value or None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    seconds = value / 1000 if value > _MILLENNIUM else value
    try:
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return str(value)  # no time, which the check will say
    return to_iso(int(seconds * 1_000_000))
