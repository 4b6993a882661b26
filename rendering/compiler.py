"""Templates compiled: MJML once into HTML, in which Liquid then stands where each value goes, made safe for that place."""

import re
from typing import Final, NamedTuple

import mrml
from liquid.exceptions import LiquidError
from liquid.template import BoundTemplate

from rendering import template_source
from rendering.plain_text import text_template
from rendering.problems import TemplateError
from rendering.safe_places import TAG, placed
from rendering.strict_liquid import Html, PlainText
from rendering.template_folder import Load
from rendering.template_source import LIQUID, WORD, Piece, Place, Source

_HTML: Final = Html()
_TEXT: Final = PlainText()

_UNCLOSED: Final = re.compile(r"expected tag end(\w+)")
_BETWEEN_CELLS: Final = re.compile(r"<(?:table|tbody|tr|/tbody|/tr|/td)\b[^<>]*>((?:\s|waxliquid\d+x)+)")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_OPTIONS: Final = mrml.RenderOptions(fonts={})
"""By itself MJML fetches fonts that it knows from their maker at every opening, and so tells them who reads."""

_INDENTED: Final = re.compile(r"\s*\n\s*")


class Compiled(NamedTuple):
    """A template ready to be filled."""

    requires: list[str]
    subject: BoundTemplate
    preheader: BoundTemplate
    html: BoundTemplate
    text: BoundTemplate


def compile_template(path: str, load: Load) -> Compiled:
    """Compile the template at a path. Raises TemplateError with the file and line of what is wrong."""
    source = template_source.read(path, load)
    for name, text in source.files.items():
        _parse(_HTML, text, name)
    page, liquid = placed(_to_html(source, path), source.pieces)
    front = source.front
    written = load(path)
    return Compiled(
        requires=front.requires,
        subject=_parse(_TEXT, front.subject, path, _line(written, "subject")),
        preheader=_parse(_TEXT, front.preheader, path, _line(written, "preheader")),
        html=_parse(_HTML, _INDENTED.sub("\n", WORD.sub(lambda word: liquid[int(word[1])], page)), path),
        text=_parse(_TEXT, text_template(page, liquid), path),
    )


def _parse(env: Html, text: str, path: str, first: int = 1) -> BoundTemplate:
    try:
        return env.from_string(text, path=path)
    except LiquidError as error:
        what = " ".join(str(error.message).split())
        raise TemplateError(f"{path}:{first + _line_of(error, env, text) - 1}: {what}") from None


def _line_of(error: LiquidError, env: Html, text: str) -> int:
    """Find the line of an error in Liquid; of one that Liquid noticed at the end only, the line of its cause."""
    at = -1 if error.token is None else error.token.start_index
    if at < 0 and (unclosed := _UNCLOSED.match(str(error.message))):
        open_ = [0]
        for tag in re.finditer(rf"\{{%-?\s*(end)?{unclosed[1]}\b", text):
            open_ = open_[:-1] if tag[1] else [*open_, tag.start()]
        at = open_[-1] if open_ else 0
    elif at < 0:
        at = next((piece.start() for piece in LIQUID.finditer(text) if _says(env, text[: piece.end()], error)), 0)
    return text.count("\n", 0, at) + 1


def _says(env: Html, text: str, error: LiquidError) -> bool:
    try:
        env.from_string(text)
    except LiquidError as found:
        return str(found.message) == str(error.message)
    return False


def _line(text: str, field: str) -> int:
    """Find the line of the front matter that a field is on."""
    return next((number for number, line in enumerate(text.split("\n"), 1) if line.startswith(f"{field}:")), 1)


def _to_html(source: Source, path: str) -> str:
    try:
        page = mrml.to_html(source.mjml, render_options=_OPTIONS).content
    except OSError as error:  # so mrml says what it cannot parse
        raise TemplateError(f"{path}:1: not MJML: {error}") from None
    if unknown := re.search(r"<(mj-[a-z-]+)", page):
        raise TemplateError(f"{_place_of(source, unknown[1], path)}: MJML knows no <{unknown[1]}> there")
    if re.search(r"<script\b", page, re.IGNORECASE):
        raise TemplateError(f"{_place_of(source, 'script', path)}: an email runs no script")
    _check_places(page, source.pieces)
    return page


def _check_places(page: str, pieces: list[Piece]) -> None:
    """Find the Liquid that would vanish, show up in the wrong place, or be seen by one mail program alone."""
    for comment in _COMMENT.finditer(page):
        if word := WORD.search(TAG.sub("", comment[0])):
            raise TemplateError(f"{pieces[int(word[1])].place}: only Outlook would see what MJML puts here")
    for between in _BETWEEN_CELLS.finditer(page):
        for word in WORD.finditer(between[1]):
            if (piece := pieces[int(word[1])]).text.startswith("{{"):
                raise TemplateError(f"{piece.place}: prints between the cells of a table; put it into <mj-text>")
    kept = {int(word[1]) for word in WORD.finditer(page)}
    for number, piece in enumerate(pieces):
        if number not in kept:
            raise TemplateError(f"{piece.place}: MJML drops what stands here; put Liquid between tags into <mj-raw>")


def _place_of(source: Source, tag: str, path: str) -> Place:
    """Find the first file and line with a tag."""
    for name, text in source.files.items():
        for number, line in enumerate(text.split("\n"), 1):
            if re.search(rf"<{tag}\b", line, re.IGNORECASE):
                return Place(name, number)
    return Place(path, 1)
