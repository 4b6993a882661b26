"""Liquid that has no holes: what is missing refuses the email, unless the template says what stands there instead.

Missing is what is not there, what is null, and what is blank. `default` takes it; `if` and `unless` find it false; `==`
finds it equal to `nil` alone. Printing it, passing it to a filter, looping over it and comparing it by `<` or `>` raise.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, TextIO

from liquid import Environment, RenderContext
from liquid.builtin.expressions.logical import GeExpression, GtExpression, LeExpression, LtExpression
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import UnknownFilterError
from liquid.expression import Expression
from liquid.template import BoundTemplate
from liquid.token import Token
from liquid.undefined import StrictUndefined, is_undefined
from liquid.utils.chain_map import ReadOnlyChainMap

from rendering import filters
from rendering.filters import Unfit

MAX_HTML: Final = 100_000
"""Bytes. Gmail clips at 102 KB, and with the end of an email goes its unsubscribe link."""

_NEITHER_SEEN_NOR_SAFE: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, halves of surrogate pairs, and marks that turn the direction of all text that follows."""

_REMOVED_TAGS: Final = ("include", "render", "tablerow")
"""Partials are put in before MJML is compiled; a table is written as one."""

_REMOVED_FILTERS: Final = (
    "safe",
    "escape_once",
    "escapejs",
    "strip_newlines",
    "sum",
    "base64_decode",
    "base64_url_safe_decode",
    "url_decode",
)
"""What can switch escaping off, brings text back that had been made harmless, or counts what is missing as 0."""


class Missing(StrictUndefined):
    """A value that is not there. Its name is the path that led nowhere."""

    __slots__ = ()
    force_liquid_default = True
    allowed_properties = frozenset({*StrictUndefined.allowed_properties, "__liquid__", "__class__"})

    def __liquid__(self) -> object:
        """Stand for itself: false for `if`, and an error for `<`, which asks for its class."""
        return self


class _Present(Expression):
    """An operand of `<` or `>`: to compare what is missing would say something untrue, "sold out" for a stock unknown."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        super().__init__(expression.token)
        self.expression = expression

    def __str__(self) -> str:
        return str(self.expression)

    def evaluate(self, context: RenderContext) -> object:
        """Evaluate, or raise."""
        value = self.expression.evaluate(context)
        return str(value) if is_undefined(value) else value

    def children(self) -> Iterable[Expression]:
        """Name what is inside."""
        return [self.expression]


class _Context(RenderContext):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Without Liquid's own `now` and `today`: a template reads no clock.
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)

    def get(self, path: list[object], *, token: Token | None, default: object = Missing) -> object:
        value = super().get(path, token=token, default=None)
        if value is None or (isinstance(value, str) and not value.strip()):
            return Missing(str(path[0]), hint=_written(path), token=token) if default is Missing else default
        return value


class _Template(BoundTemplate):
    context_class = _Context

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        nodes = list(self.nodes)
        while nodes:
            node = nodes.pop()
            nodes += node.children(RenderContext(self))
            expressions = list(node.expressions())
            while expressions:
                expression = expressions.pop()
                expressions += expression.children()
                for each in getattr(expression, "filters", None) or []:
                    if each.name not in self.env.filters:
                        raise UnknownFilterError(f"unknown filter '{each.name}'", token=each.token)
                if isinstance(expression, LtExpression | GtExpression | LeExpression | GeExpression):
                    expression.left, expression.right = _Present(expression.left), _Present(expression.right)


class _Print(OutputNode):
    """Prints one value, which has to be one."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        if isinstance(value, str):
            if not value.strip() and not self._may_be_blank():
                raise Unfit("is blank", self.expression)
            if _NEITHER_SEEN_NOR_SAFE.search(value):
                value = type(value)(_NEITHER_SEEN_NOR_SAFE.sub("", value))
            if not context.autoescape:
                value = " ".join(value.split())
        elif is_undefined(value):
            str(value)  # raises, with the path that is missing
        elif value is None:
            raise Unfit("is nothing", self.expression)
        elif isinstance(value, Mapping | list | tuple):
            raise Unfit("is no single value", self.expression)
        return buffer.write(self._text(value, context))

    def _may_be_blank(self) -> bool:
        """Tell whether the template asks for it: `default: ""`, or a literal."""
        written = getattr(self.expression, "filters", None) or []
        return any(each.name == "default" for each in written) or not written

    @staticmethod
    def _text(value: object, context: RenderContext) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(filters.escaped(value)) if context.autoescape else str(value)


class _PrintEcho(_Print, EchoNode):
    pass


class _Output(Output):
    node_class = _Print


class _Echo(EchoTag):
    node_class = _PrintEcho


class Html(Environment):
    """Liquid that fills HTML: what it prints is escaped."""

    template_class = _Template
    loop_iteration_limit: ClassVar[int | None] = 10_000
    local_namespace_limit: ClassVar[int | None] = 100_000
    output_stream_limit: ClassVar[int | None] = 4 * MAX_HTML
    context_depth_limit: ClassVar[int] = 30
    is_html: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(undefined=Missing, autoescape=self.is_html)
        self.add_tag(_Output)
        self.add_tag(_Echo)
        for name in _REMOVED_TAGS:
            del self.tags[name]
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        for name, function in self.filters.items():
            if name != "default":
                self.filters[name] = filters.strict(function, of_numbers=name in filters.ARITHMETIC)
        for name, function in filters.FILTERS.items():
            self.add_filter(name, function)
        if not self.is_html:
            for name in ("escape", "newline_to_br"):
                self.add_filter(name, filters.as_it_is)


class PlainText(Html):
    """Liquid that fills subjects and text parts: nothing is escaped, and every value is one line."""

    is_html: ClassVar[bool] = False


def _written(path: list[object]) -> str:
    first, *rest = path
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
