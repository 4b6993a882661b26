"""Liquid that writes the parts of an HTTP call, so that what a template prints cannot change what the call means.

What is printed is escaped for where it stands: percent-encoded in an address, as JSON in a body, on one line in a header. What
is missing is an error.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final, TextIO
from urllib.parse import quote

import msgspec
from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin.output import Output, OutputNode
from liquid.exceptions import LiquidError, UndefinedError
from liquid.stringify import to_liquid_string
from liquid.undefined import StrictUndefined, is_undefined

from state.letters import Unfit

_REMOVED_TAGS: Final = ("include", "render")
_REMOVED_FILTERS: Final = ("url_encode", "escape", "escape_once")
"""Escaping is done already; once more would spoil it."""


class CallTemplateError(ValueError):
    """A template that is no Liquid; the message says why."""


class _Json(str):
    """JSON that is complete, quotes and all."""

    __slots__ = ()


def _json(value: object) -> _Json:
    return _Json(msgspec.json.encode(value).decode())


def _in_an_address(value: object) -> str:
    return quote(_text(value), safe="")


def _in_json(value: object) -> str:
    """Write a text as it stands between quotes, anything else as JSON."""
    if isinstance(value, _Json):
        return value
    return _json(value)[1:-1] if isinstance(value, str) else _json(value)


def _in_a_header(value: object) -> str:
    return " ".join(_text(value).split())


def _text(value: object) -> str:
    return _json(value) if isinstance(value, dict | list) else to_liquid_string(value, autoescape=False)


class _Print(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        if is_undefined(value):
            str(value)  # raises, with the path that is missing
        if value is None:
            raise UndefinedError(f"'{self.expression}' is nothing", token=self.token)
        environment: Any = context.env
        return buffer.write(environment.printed(value))


class _Output(Output):
    node_class = _Print


class _Part(Environment):
    loop_iteration_limit: ClassVar[int | None] = 10_000
    output_stream_limit: ClassVar[int | None] = 1_000_000
    context_depth_limit: ClassVar[int] = 10

    def __init__(self, printed: Callable[[object], str]) -> None:
        super().__init__(undefined=StrictUndefined)
        self.printed = printed
        self.add_tag(_Output)
        for name in _REMOVED_TAGS:
            del self.tags[name]
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        self.add_filter("json", _json)


ADDRESS: Final = _Part(_in_an_address)
BODY: Final = _Part(_in_json)
HEADER: Final = _Part(_in_a_header)


def compiled(text: str, part: Environment) -> BoundTemplate:
    """Compile a template for a part of a call. Raises CallTemplateError, for a filter that there is not too."""
    try:
        template = part.from_string(text)
        filters = template.analyze().filters
    except LiquidError as error:
        raise CallTemplateError(f"is not Liquid: {error.message}") from error
    if unknown := sorted(filters.keys() - part.filters.keys()):
        raise CallTemplateError(f"has a filter that there is not: {unknown[0]}")
    return template


def filled(template: BoundTemplate, data: dict[str, Any]) -> str:
    """Fill a template. Raises Unfit where something is missing."""
    try:
        return template.render(**data)
    except LiquidError as error:
        raise Unfit(f"the call cannot be written: {error.message}") from None
