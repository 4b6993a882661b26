"""Liquid put back into HTML, each piece with the filter that makes it safe in its place.

Escaping alone makes text safe, and the words of attributes. An address needs to be one, a style takes colours only, and
nowhere else within a tag may anything be printed.
"""

import re
from typing import Final, NamedTuple

from rendering.problems import TemplateError
from rendering.template_source import WORD, Piece

TAG: Final = re.compile(r"<[a-zA-Z/](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")

_STYLE: Final = re.compile(r"(<style\b[^>]*>.*?</style>)", re.DOTALL | re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"([a-zA-Z][a-zA-Z:-]*)\s*=\s*(\"[^\"]*\"|'[^']*')")
_PRINTED: Final = re.compile(r"\{\{(-?)(.*?)(-?)\}\}", re.DOTALL)
_COLOUR: Final = re.compile(r"\|\s*colou?r\s*-?\}\}$")
_WEB_BEGINS: Final = re.compile(r"https?://[^/?#]+[/?#]", re.IGNORECASE)

_ADDRESSES: Final = frozenset({"href", "src", "background", "action"})
_WORDS: Final = frozenset({"alt", "title", "lang", "xml:lang", "dir", "class", "aria-label"})


class Placed(NamedTuple):
    """A page with words for Liquid, and the Liquid that each word now stands for."""

    page: str
    liquid: list[str]


def placed(page: str, pieces: list[Piece]) -> Placed:
    """Give every piece in an address its filter. Raises TemplateError for a place where nothing can be printed safely."""
    places = _Places(pieces)
    parts = _STYLE.split(page)
    for index, part in enumerate(parts):
        if index % 2:
            places.check_style(part)
        else:
            parts[index] = TAG.sub(places.tag, part)
    return Placed("".join(parts), places.liquid)


class _Places:
    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self.liquid = [piece.text for piece in pieces]

    def check_style(self, text: str) -> None:
        for word in WORD.finditer(text):
            piece = self._pieces[int(word[1])]
            if _COLOUR.search(piece.text) is None:
                raise TemplateError(f"{piece.place}: in a style, or an attribute for one, only `| colour` may print")

    def tag(self, found: re.Match[str]) -> str:
        if WORD.search(found[0]) is None:
            return found[0]
        if left := WORD.search(_ATTRIBUTE.sub("", found[0])):
            raise TemplateError(
                f"{self._pieces[int(left[1])].place}: stands inside a tag, outside of an attribute's quotes"
            )
        return _ATTRIBUTE.sub(self._attribute, found[0])

    def _attribute(self, found: re.Match[str]) -> str:
        name, value = found[1].lower(), found[2][1:-1]
        if name in _ADDRESSES:
            value = WORD.sub(lambda word: self._in_address(word, value), value)
        elif name not in _WORDS:
            self.check_style(value)
        return f'{found[1]}="{value}"'

    def _in_address(self, word: re.Match[str], value: str) -> str:
        piece, before = self._pieces[int(word[1])], value[: word.start()]
        printed = _PRINTED.fullmatch(piece.text)
        if printed is None:
            raise TemplateError(f"{piece.place}: decide outside of an address: assign it, and print it here")
        if not before:
            fit = "web_url"
        elif before.lower() == "mailto:":
            fit = "mail_address"
        elif WORD.match(before) or _WEB_BEGINS.match(before):
            fit = "url_encode"
        else:
            raise TemplateError(f"{piece.place}: an address begins with https:// and a host, or is printed whole")
        self.liquid.append(f"{{{{{printed[1]} {printed[2].strip()} | {fit} {printed[3]}}}}}")
        return f"waxliquid{len(self.liquid) - 1}x"
