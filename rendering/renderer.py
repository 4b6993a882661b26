"""Emails from templates and data."""

import re
from collections.abc import Mapping
from typing import Any, Final

from liquid.exceptions import LiquidError, OutputStreamLimitError, UndefinedError
from liquid.template import BoundTemplate

from rendering.compiler import Compiled, compile_template
from rendering.filters import Unfit
from rendering.plain_text import finished
from rendering.problems import Hole, TemplateError
from rendering.strict_liquid import MAX_HTML
from rendering.template_folder import Load
from state.letters import Email

MAX_SUBJECT: Final = 150
MAX_PREHEADER: Final = 200

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAG: Final = re.compile(r"</?[a-zA-Z!][^<>]*>")
_ENDS: Final = {"first": 0, "last": -1}
_STEP: Final = re.compile(r"[^.\[\]]+")


class Renderer:
    """Renders by template id. A template is read and compiled when it is first needed, and then kept.

    `load` gives the text of a file by its path within the templates.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._compiled: dict[str, Compiled] = {}

    def compiled(self, template_id: str) -> Compiled:
        """Compile a template, or find it compiled. Raises TemplateError."""
        found = self._compiled.get(template_id)
        if found is None:
            if not _NAME.fullmatch(template_id):
                raise TemplateError(f"{template_id[:100]!r} is no name of a template (letters, digits, . _ -)")
            found = self._compiled[template_id] = compile_template(f"{template_id}.mjml", self._load)
        return found

    def render(self, template_id: str, data: Mapping[str, Any]) -> Email:
        """Fill a template. Raises Hole where data is missing or does not fit, and TemplateError.

        The same template and data give the same email. `data` is what template_data gives, and is not changed.
        """
        template = self.compiled(template_id)
        for path in template.requires:
            if _is_missing(_at(data, path)):
                raise Hole(template_id, path, "is required and missing")
        subject = _one_line(_filled(template.subject, template_id, data), MAX_SUBJECT)
        if not subject:
            raise Hole(template_id, "subject", "is blank")
        preheader = _one_line(_filled(template.preheader, template_id, data), MAX_PREHEADER)
        whole = {**data, "subject": subject, "preheader": preheader}
        html = _filled(template.html, template_id, whole)
        size = len(html.encode())
        if size > MAX_HTML:
            raise Hole(template_id, "html", f"has {size} bytes, and Gmail would clip it; at most {MAX_HTML}")
        return Email(subject, html, finished(_filled(template.text, template_id, whole)))


def _filled(template: BoundTemplate, template_id: str, data: Mapping[str, Any]) -> str:
    try:
        return template.render(data)
    except UndefinedError as error:
        raise Hole(template_id, str(error.message), "is missing, and the template names no default for it") from None
    except Unfit as error:
        raise Hole(template_id, error.variable or _expression(error), error.reason) from None
    except OutputStreamLimitError:
        raise Hole(template_id, "html", f"is larger than {4 * MAX_HTML} bytes; at most {MAX_HTML}") from None
    except LiquidError as error:
        raise Hole(template_id, _expression(error), f"cannot be filled in: {type(error).__name__}") from None


def _expression(error: LiquidError) -> str:
    """Quote the template, never the data."""
    token = error.token
    if token is None or token.start_index < 0:
        return "the template"
    line = token.source[token.start_index :].split("\n", 1)[0]
    return line[:60].split("}}")[0].split("%}")[0].strip("{% ")


def _one_line(text: str, limit: int) -> str:
    """Make one line without tags, cut at a word where it is too long."""
    line = " ".join(_TAG.sub("", text).split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    return (cut[: cut.rfind(" ")] if " " in cut[limit // 2 :] else cut).rstrip(" ,.;:") + "…"


def _at(data: Mapping[str, Any], path: str) -> object:
    """Follow `items[0].name` or `items.first.name`; None where it leads nowhere."""
    value: Any = data
    for step in _STEP.findall(path):
        try:
            value = value[_ENDS[step] if step in _ENDS else int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _is_missing(value: object) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, list | dict) and not value)
    )
