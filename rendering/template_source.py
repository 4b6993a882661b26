"""Template sources: front matter, partials put in, and Liquid set aside so that MJML never sees it.

MJML is XML and Liquid is not: `{% if a < b %}` or a quote inside an attribute would end the parse. So every piece of Liquid is
replaced by a plain word before MJML, and put back after it. Each line remembers the file and line that it comes from.
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

from rendering.problems import TemplateError
from rendering.template_folder import Load

MAX_DEPTH: Final = 8
LAYOUT: Final = "partials/layout.mjml"
_CONTENT: Final = "content"

WORD: Final = re.compile(r"waxliquid(\d+)x")
LIQUID: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_OPENING: Final = re.compile(r"\{\{|\{%")
_COMMENT: Final = re.compile(r"<!--.*?-->|\{%-?\s*comment\s*-?%\}.*?\{%-?\s*endcomment\s*-?%\}", re.DOTALL)
_INCLUDE: Final = re.compile(r"<mj-include\s+path=[\"']([^\"']+)[\"']\s*(?:/>|>\s*</mj-include>)")
_TAG: Final = re.compile(r"<(/?)(mj[a-z-]*)\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*?(/?)>")


class FrontMatter(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a template says of itself. `requires` are paths without which the send is refused."""

    subject: str
    preheader: str
    requires: list[str] = []
    layout: str = LAYOUT


class Place(NamedTuple):
    """A line of a file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Piece(NamedTuple):
    """A piece of Liquid and where it stands."""

    text: str
    place: Place


class Source(NamedTuple):
    """One template, whole: MJML with a word in the place of each piece of Liquid, and the files it is made of."""

    front: FrontMatter
    mjml: str
    pieces: list[Piece]
    files: dict[str, str]


def read(path: str, load: Load) -> Source:
    """Read a template with its layout and partials. Raises TemplateError, with file and line."""
    front, body = _front_matter(path, load(path))
    reading = _Reading(load, path, body)
    lines = reading.file(front.layout, load(front.layout), 0)
    if path not in reading.files:
        raise TemplateError(f'{front.layout}:1: has no <mj-include path="{_CONTENT}" />')
    _check_tags(lines)
    return Source(front, "\n".join(text for text, _ in lines), reading.pieces, reading.files)


_Line = tuple[str, Place]


class _Reading:
    """Files being put together."""

    def __init__(self, load: Load, path: str, body: str) -> None:
        self.load, self.path, self.body = load, path, body
        self.pieces: list[Piece] = []
        self.files: dict[str, str] = {}

    def file(self, path: str, text: str, depth: int) -> list[_Line]:
        if depth > MAX_DEPTH:
            raise TemplateError(f"{path}:1: partials within partials, deeper than {MAX_DEPTH}")
        self.files[path] = text
        text = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
        lines: list[_Line] = []
        for line, place in self._set_aside(path, text):
            at = 0
            for found in _INCLUDE.finditer(line):
                lines.append((line[at : found.start()], place))
                lines += self._included(found[1], place, depth)
                at = found.end()
            lines.append((line[at:], place))
        return lines

    def _included(self, name: str, place: Place, depth: int) -> list[_Line]:
        if name == _CONTENT:
            if self.path in self.files:
                raise TemplateError(f"{place}: includes the content again")
            return self.file(self.path, self.body, depth + 1)
        try:
            text = self.load(name)
        except TemplateError as error:
            raise TemplateError(f"{place}: includes {name}, which cannot be read ({error})") from None
        return self.file(name, text, depth + 1)

    def _set_aside(self, path: str, text: str) -> list[_Line]:
        """Put a word in the place of each piece of Liquid; a piece of several lines leaves one."""
        lines: list[_Line] = []
        whole, at, number = "", 0, 1
        starts: list[int] = [1]
        for found in LIQUID.finditer(text):
            between = text[at : found.start()]
            self._no_opening(between, path, number)
            whole += between
            starts += range(number + 1, number + between.count("\n") + 1)
            number += between.count("\n")
            whole += f"waxliquid{len(self.pieces)}x"
            self.pieces.append(Piece(found[0], Place(path, number)))
            number += found[0].count("\n")
            starts[-1] = starts[-1] if found[0].count("\n") == 0 else number
            at = found.end()
        rest = text[at:]
        self._no_opening(rest, path, number)
        starts += range(number + 1, number + rest.count("\n") + 1)
        lines += [(line, Place(path, start)) for line, start in zip((whole + rest).split("\n"), starts, strict=True)]
        return lines

    @staticmethod
    def _no_opening(text: str, path: str, line: int) -> None:
        if found := _OPENING.search(text):
            raise TemplateError(f"{path}:{line + text.count(chr(10), 0, found.start())}: {found[0]} is not closed")


def _front_matter(path: str, text: str) -> tuple[FrontMatter, str]:
    """Split a template; the body keeps its line numbers."""
    lines = text.split("\n")
    ends = [number for number, line in enumerate(lines) if line.rstrip() == "---"][:2]
    if len(ends) < 2 or ends[0] != 0:  # noqa: PLR2004 - a first and a last
        raise TemplateError(f"{path}:1: begins with no front matter (subject and preheader between two lines of ---)")
    try:
        decoded: Any = msgspec.yaml.decode("\n".join(lines[1 : ends[1]]))
        front = msgspec.convert(decoded, FrontMatter)
    except msgspec.DecodeError as error:
        what = " ".join(str(error).split())
        found = re.search(r"line (\d+)", what)
        raise TemplateError(f"{path}:{1 + int(found[1]) if found else 1}: front matter: {what}") from None
    return front, "\n" * (ends[1] + 1) + "\n".join(lines[ends[1] + 1 :])


def _check_tags(lines: list[_Line]) -> None:
    """Find the MJML tag that is closed by none, or by another: the MJML parser does not say where."""
    starts, at = [], 0
    for text, _ in lines:
        starts.append(at)
        at += len(text) + 1
    whole = "\n".join(text for text, _ in lines)
    open_: list[tuple[str, Place]] = []
    index = 0
    for found in _TAG.finditer(whole):
        while index + 1 < len(starts) and starts[index + 1] <= found.start():
            index += 1
        place, (closing, name, alone) = lines[index][1], found.groups()
        if alone:
            continue
        if not closing:
            open_.append((name, place))
        elif not open_:
            raise TemplateError(f"{place}: </{name}> closes nothing")
        elif open_.pop()[0] != name:
            raise TemplateError(f"{place}: </{name}> does not close the tag that is open there")
    if open_:
        name, place = open_[-1]
        raise TemplateError(f"{place}: <{name}> is not closed")
