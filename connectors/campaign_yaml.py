"""YAML with its line numbers: everything in a file is remembered with where it stands, and what is wrong with it.

YAML is read as the events' JSON has it: NO, 12:30, 007 and dates are text. A tag runs nothing.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml


class CampaignFileError(Exception):
    """A campaign file that cannot be used; the message has one line per problem."""


class _Loader(yaml.SafeLoader):
    """Reads as little into a scalar as JSON does: NO, 12:30, 007 and dates are text, not false, 750, 7 and a date object."""


_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "null": (r"(~|null|Null|NULL|)$", lambda _: None),
    "bool": (r"(true|True|TRUE|false|False|FALSE)$", lambda text: text.lower() == "true"),
    "int": (r"[-+]?(0|[1-9][0-9]*)$", int),
    "float": (r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$", float),
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(_pattern), None)


def _scalar(node: yaml.ScalarNode) -> object:
    """Read a scalar; what does not fit its tag, or has a tag of its own, is text."""
    try:
        return _SCALARS[node.tag.removeprefix(_TAG)][1](node.value)
    except (KeyError, ValueError):
        return _text(node)


def _text(node: yaml.ScalarNode) -> str:
    # PyYAML leaves "\ud83d\ude00" in two halves, which no encoder takes.
    return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def quoted(text: str) -> str:
    """Quote what was written; at most its first 60 characters."""
    return json.dumps(text[:60], ensure_ascii=False)


Place = tuple[int | str, ...]
Problem = tuple[int, str]


class Section:
    """A part of the file: the line and text of everything in it, and what is wrong there."""

    def __init__(self, name: str, line: int, problems: list[Problem]) -> None:
        self.name, self.problems = name, problems
        self.lines: dict[Place, int] = {(): line}
        self.texts: dict[Place, str] = {}

    def complain(self, place: Place, what: str, line: int = 0) -> None:
        """Note what is wrong at a place, or at a line where that says it better."""
        field = "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in (self.name, *place))
        shown = " ".join(f"{field}:".lstrip(".:").split())
        self.problems.append((line or self.lines[self.nearest(place)], f"{shown} {what}".lstrip()))

    def nearest(self, place: Place) -> Place:
        """Find the innermost thing around a place that stands in the file."""
        return place if place in self.lines else self.nearest(place[:-1])

    def pairs(self, mapping: yaml.MappingNode, place: Place) -> Iterator[tuple[str, int, yaml.Node, bool]]:
        """Yield key, line, value, and whether the key is a repeat; repeats and keys that are no text are problems."""
        for key, value in mapping.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.complain(
                    place, "a name of a field cannot be a list or mapping (text with braces needs quotes)", line
                )
                continue
            name = _text(key)
            here = (*place, name)
            repeat = here in self.lines
            if repeat:
                self.complain(here, f"written twice (first on line {self.lines[here]})", line)
            self.lines.setdefault(here, line)
            yield name, line, value, repeat

    def plain(self, node: yaml.Node, place: Place = ()) -> object:
        """Turn a node into plain values, remembering where each of them stands."""
        if isinstance(node, yaml.ScalarNode):
            value = _scalar(node)
            self.texts[place] = quoted(value) if isinstance(value, str) else node.value or "an empty value"
            return value
        if isinstance(node, yaml.MappingNode):
            self.texts[place] = "a mapping"
            pairs = self.pairs(node, place)
            return {key: self.plain(value, (*place, key)) for key, _, value, repeat in pairs if not repeat}
        self.texts[place] = "a list"
        self.lines.update({(*place, i): item.start_mark.line + 1 for i, item in enumerate(node.value)})
        return [self.plain(item, (*place, i)) for i, item in enumerate(node.value)]


def compose(path: Path) -> yaml.Node | None:
    """Read a file into nodes; None if it is empty. Raises CampaignFileError where it cannot be read or is not YAML."""
    try:
        text = path.read_bytes().decode()
        return yaml.compose(text, _Loader)
    except OSError as error:
        raise CampaignFileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line, what = error.object.count(b"\n", 0, error.start) + 1, "not UTF-8"
    except yaml.reader.ReaderError as error:
        line, what = text.count("\n", 0, error.position) + 1, f"not YAML: {error.reason}"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, what = mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}"
    except RecursionError:
        line, what = 1, "nested too deeply"
    raise CampaignFileError(f"{path}:{line}: {what}")
