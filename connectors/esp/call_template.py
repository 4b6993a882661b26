"""Liquid that writes the parts of an HTTP call, so that what a template prints cannot change what the call means.

It is the Liquid of emails, with their filters and their strictness about what is missing; only what is printed is escaped for
where it stands: percent-encoded in an address, as JSON in a body, on one line in a header.
"""

from collections.abc import Callable
from typing import Any, Final, TextIO
from urllib.parse import quote

import msgspec
from liquid import BoundTemplate, RenderContext
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidError, UndefinedError
from liquid.stringify import to_liquid_string
from liquid.undefined import is_undefined

from rendering import filters
from rendering.strict_liquid import PlainText
from state.letters import Unfit

_REMOVED_TAGS: Final = ("capture", "cycle")
"""What is captured would be escaped again when it is printed; what is cycled, not at all."""
_REMOVED_FILTERS: Final = ("url_encode", "escape")
"""Escaping is done already; once more would spoil it."""
_MOST_QUOTED: Final = 60


class CallTemplateError(ValueError):
    """A template that is no Liquid; the message says why."""


class _Json(str):
    """JSON that is complete, quotes and all."""

    __slots__ = ()


def _json(value: object) -> _Json:
    if is_undefined(value):
        str(value)  # raises, with the path that is missing
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
    """Prints one value, which has to be one."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        if is_undefined(value):
            str(value)  # raises, with the path that is missing
        if value is None:
            raise UndefinedError("is nothing", token=self.token)
        environment: Any = context.env
        return buffer.write(environment.printed(value))


class _PrintEcho(_Print, EchoNode):
    pass


class _Output(Output):
    node_class = _Print


class _Echo(EchoTag):
    node_class = _PrintEcho


class Part(PlainText):
    """Liquid for a part of a call, which `printed` escapes for."""

    def __init__(self, printed: Callable[[object], str]) -> None:
        super().__init__()
        self.printed = printed
        self.add_tag(_Output)
        self.add_tag(_Echo)
        for name in _REMOVED_TAGS:
            del self.tags[name]
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        self.add_filter("json", _json)


ADDRESS: Final = Part(_in_an_address)
BODY: Final = Part(_in_json)
HEADER: Final = Part(_in_a_header)


def compiled(text: str, part: Part) -> BoundTemplate:
    """Compile a template for a part of a call. Raises CallTemplateError, for a filter that there is not too."""
    try:
        return part.from_string(text)
    except LiquidError as error:
        raise CallTemplateError(f"is not Liquid: {error.message}") from error


def filled(template: BoundTemplate, data: dict[str, Any]) -> str:
    """Fill a template. Raises Unfit where something is missing or does not fit; it quotes the template, never the data."""
    try:
        return template.render(**data)
    except UndefinedError as error:
        raise Unfit(f"the call cannot be written: {_quoted(error)} is missing") from None
    except filters.Unfit as error:
        raise Unfit(f"the call cannot be written: {_quoted(error)} {error.reason}") from None
    except (LiquidError, ValueError, TypeError, ArithmeticError) as error:  # a filter may choke on what it is given
        raise Unfit(f"the call cannot be written: {_quoted(error)} does not fit ({type(error).__name__})") from None


def _quoted(error: Exception) -> str:
    """Quote the template where it failed: what Liquid says of a path may hold data, such as the id in `orders[id]`."""
    token = getattr(error, "token", None)
    if token is None or token.start_index < 0:
        return "a template"
    line = token.source[token.start_index :].split("\n", 1)[0]
    return str(line[:_MOST_QUOTED].split("}}")[0].split("%}")[0].strip("{% ")) or "a template"
