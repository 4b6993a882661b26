"""The text part of an email, made from its HTML."""

import html
import re
from collections.abc import Sequence
from typing import Final

from inscriptis import get_text  # type: ignore[import-untyped]
from inscriptis.css_profiles import CSS_PROFILES  # type: ignore[import-untyped]
from inscriptis.html_properties import Display  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]
from inscriptis.model.html_element import HtmlElement  # type: ignore[import-untyped]
from inscriptis.model.tag import CustomHtmlTagHandlerMapping  # type: ignore[import-untyped]

from rendering.template_source import WORD

_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_HIDDEN: Final = re.compile(r"<div[^>]*display:\s*none[^>]*>.*?</div>", re.DOTALL)
_LINK: Final = re.compile(r"<a\b[^>]*?\bhref=\"([^\"]*)\"[^>]*>(.*?)</a>", re.DOTALL)
_TAG: Final = re.compile(r"<[^>]+>")
_CELLS: Final = re.compile(r"</td>\s*<td")
_STRUCK: Final = re.compile(r"<s>(.*?)</s>", re.DOTALL)
_BLANK_LINES: Final = re.compile(r"\n{2,}")
_TAGS_LAST: Final = re.compile(r"[ \t]*((?:\{%(?:[^%]|%(?!\}))*%\}[ \t]*)+)$", re.MULTILINE)
_FIT: Final = re.compile(r"\|\s*(?:web_url|mail_address)\s*-?\}\}$")
_ROW_ENDS: Final = "waxrowendsx"
_PARAGRAPH: Final = "\x1e"
"""Unicode's record separator; printed values lose theirs."""

_LAYOUT_TABLES: Final = ("table", "tbody", "tr", "td", "th")
_CONFIG: Final = ParserConfig(
    # Tables lay an email out; read as tables, they would leave columns of spaces.
    css={
        **CSS_PROFILES["relaxed"],
        **{tag: HtmlElement(display=Display.block) for tag in _LAYOUT_TABLES},
    },
    custom_html_tag_handler_mapping=CustomHtmlTagHandlerMapping(
        start_tag_mapping=dict.fromkeys(_LAYOUT_TABLES),
        end_tag_mapping=dict.fromkeys(_LAYOUT_TABLES),
    ),
)


def text_template(page: str, liquid: Sequence[str]) -> str:
    """Turn HTML, in which words stand for pieces of Liquid, into a text with that Liquid; `finished` tidies what it gives.

    Links become `label: address`; pictures and what is hidden go. Ends of paragraphs are marked, since the tags of Liquid
    leave blank lines of their own behind.
    """
    page = _CELLS.sub("</td><td", page).replace("</tr>", f"<tr><td>{_ROW_ENDS}</td></tr></tr>")
    page = _STRUCK.sub(r"(was \1)", _HIDDEN.sub("", _COMMENT.sub("", page)))

    def bare(text: str) -> str:
        return WORD.sub(lambda word: " ".join(_FIT.sub("}}", liquid[int(word[1])]).split()).replace(" }}", "}}"), text)

    def written(link: re.Match[str]) -> str:
        address, inner = link.groups()
        label = html.unescape(_TAG.sub("", inner)).strip()
        if not label:
            return ""  # a picture; its link stands beside it in words
        target = html.unescape(address).removeprefix("mailto:")
        return str(inner) if bare(label) == bare(target) else f"{inner}: {html.escape(target)}"

    text = get_text(_LINK.sub(written, page), _CONFIG)
    text = "\n".join(" ".join(line.split()) for line in text.splitlines())
    text = _BLANK_LINES.sub(f"\n{_PARAGRAPH}\n", text.strip()).replace(_ROW_ENDS, _PARAGRAPH)
    return _TAGS_LAST.sub(r"\n\1", WORD.sub(lambda word: liquid[int(word[1])], text))


def finished(text: str) -> str:
    """Take out the lines and spaces that tags left behind, and end each paragraph by one blank line."""
    lines = [re.sub(" +", " ", line).strip(" ") for line in text.split("\n")]
    paragraphs = "\n".join(line for line in lines if line).split(_PARAGRAPH)
    return "\n\n".join(text for each in paragraphs if (text := each.strip("\n"))) + "\n"
