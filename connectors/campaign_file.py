"""The file that marketers edit: read with its line numbers, checked in every field, compiled for the log.

Every mistake in the file is reported at once, by file, line and field, in words for the person who wrote it.
"""

import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from state.campaigns import ANY, Campaign, Filter, Items, Selector, Test
from state.clock import DAY, HOUR, MILLISECOND, MINUTE, NEVER, SECOND
from state.commerce import KNOWN

MESSAGE_TYPES: Final = ("identify", "page", "screen", "group")
_NAMES: Final = {
    **{name: known.name for name, known in KNOWN.items()},
    **{name: name for name in (*MESSAGE_TYPES, ANY)},
}
"""Every name that means something to us, with its canonical form."""
_UNITS: Final = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")
_LONGEST: Final = 3650 * DAY
_LARGEST: Final = 2**53
"""Beyond it a JSON number is no longer exact, so two that differ may compare equal."""
_ID: Final = r"^[a-z0-9_-]{1,64}$"


class CampaignFileError(Exception):
    """A campaign file that cannot be used; the message has one line per problem."""


# What a validator raises is the end of a sentence that begins with what was written.


def _duration(value: object) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration (write 90s, 30m, 1h, 2d)")
    micros = int(match[1]) * _UNITS[match[2]]
    if micros > _LONGEST:
        raise ValueError("is longer than ten years")
    return micros


def _reentry(value: object) -> int:
    return NEVER if value == "never" else _duration(value)


def _event_name(name: str) -> str:
    alike = [] if name in _NAMES else [known for known in _NAMES if known != ANY and _is_slip(name, known)]
    if alike:
        best = difflib.get_close_matches(name, alike, n=1, cutoff=0)[0]
        raise ValueError(f'is not an event; did you mean "{_NAMES[best]}"?')
    return _NAMES.get(name, name)


def _is_slip(name: str, known: str) -> bool:
    """Tell a name mistyped from a name of its own: "Order Complete" is a slip, "Product Saved" (near Shared) is not."""
    mine, theirs = (re.split(r"[\W_]+", text.casefold().strip()) for text in (name, known))
    endings = re.compile(r"(ed|ing|[sd])$")
    return _one_apart("".join(mine), "".join(theirs)) or (
        len(mine) == len(theirs)
        and all(_one_apart(endings.sub("", a), endings.sub("", b)) for a, b in zip(mine, theirs, strict=True))
    )


def _one_apart(a: str, b: str) -> bool:
    """Tell whether two words are equal but for one letter added, left out, changed, or swapped with the next."""
    short, long = sorted((a, b), key=len)
    i = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    swapped = short[i : i + 2] == long[i : i + 2][::-1] and short[i + 2 :] == long[i + 2 :]
    return short[i:] == long[i + 1 :] or short[i + 1 :] == long[i + 1 :] or swapped


def _property_path(path: str) -> str:
    if not all(path.split(".")):
        raise ValueError("is not a property (write color, or traits.plan for one inside another)")
    return path


def _comparable(value: object) -> object:
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float):
        raise ValueError("is not a value to compare with (write text, a number, true or false)")  # noqa: TRY004 - pydantic takes no TypeError
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError("is too large a number to compare exactly; put it in quotes")
    return value


def _event_in_full(value: object) -> object:
    if not isinstance(value, str | dict):
        raise ValueError("is not an event (write its name, or event: and where: below each other)")  # noqa: TRY004 - see above
    return {"event": value} if isinstance(value, str) else value


def _test_in_full(value: object) -> object:
    return value if isinstance(value, dict) else {"in" if isinstance(value, list) else "is": value}


Text = Annotated[str, Field(min_length=1, max_length=255)]
Duration = Annotated[int, BeforeValidator(_duration, Annotated[str, Field(pattern=f"^{_DURATION.pattern}$")])]
Lifetime = Annotated[Duration, Field(gt=0)]
Reentry = Annotated[int, BeforeValidator(_reentry, Annotated[str, Field(pattern=f"^(never|{_DURATION.pattern})$")])]
EventName = Annotated[Text, AfterValidator(_event_name), Field(examples=sorted(set(_NAMES.values())))]
Comparable = Annotated[Any, BeforeValidator(_comparable, str | float | bool)]
Choice = Annotated[list[Comparable], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def _as_written(schema: dict[str, Any]) -> None:
    # An absent test has no default that one could write.
    for test in schema["properties"].values():
        del test["default"]
    schema["minProperties"] = 1


class Tests(_Part):
    """What one property must satisfy: all of the tests given."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    is_: Comparable = Field(default=None, alias="is")
    is_not: Comparable = None
    in_: Choice = Field(default=[], alias="in")
    not_in: Choice = []
    above: Comparable = None
    at_least: Comparable = None
    below: Comparable = None
    at_most: Comparable = None
    exists: bool = True
    contains: Comparable = None

    def filters(self, path: str) -> Iterator[Filter]:
        """Compile the tests that were written."""
        for test, value in self.model_dump(by_alias=True, exclude_unset=True).items():
            yield Filter(tuple(path.split(".")), Test(test), value)


def _some(tests: Tests) -> Tests:
    if not tests.model_fields_set:
        raise ValueError(f"is empty; the tests are {', '.join(Test)}")
    return tests


PropertyPath = Annotated[str, AfterValidator(_property_path)]
Condition = Annotated[Tests, BeforeValidator(_test_in_full, Comparable | Choice | Tests), AfterValidator(_some)]


class Selection(_Part):
    """Which events: a name, and conditions on properties that must all hold."""

    event: EventName
    """A track event's name, a message type (identify, page, screen, group), or * for anything the person does."""
    where: dict[PropertyPath, Condition] = {}
    """Per property: a value, a list of values, or {test: value}. A dot leads into nested properties."""

    def compile(self) -> Selector:
        """Compile it; the order of conditions has no meaning, so it does not make a new version either."""
        conditions = sorted(self.where.items())
        return Selector(self.event, tuple(one for path, tests in conditions for one in tests.filters(path)))


Selections = list[Annotated[Selection, BeforeValidator(_event_in_full, EventName | Selection)]]


class Payload(_Part):
    """What the email is given to show."""

    items: Literal["none", "cart", "event"] = "none"
    """cart: the cart as it stands when the email is decided; event: the products of the event that opened the wait."""
    properties: list[Text] = []
    """Properties of the opening event that the email needs besides its items."""


class Declaration(_Part):
    """One campaign: opened by an event, put off or cancelled by others, due `wait` after the last of them."""

    description: str = ""
    """For people; changes nothing."""
    enabled: bool = True
    """false takes the campaign out of force without deleting it."""
    template: Text
    """The template's id at the email service provider."""
    opened_by: Annotated[Selections, Field(min_length=1)]
    """Events that open a wait, if none is open for this person and subject."""
    reset_by: Selections = []
    """Events that put an open wait off to `wait` after them."""
    cancelled_by: Selections = []
    """Events that end an open wait without an email."""
    cancel_match: Literal["user", "subject"] = "user"
    """user: a cancelling event ends all of the person's waits of this campaign; subject: only that of its subject."""
    wait: Duration
    """How long nothing must happen before the email is due."""
    subject: Text = "user"
    """`user`, or the property that tells two waits of one person apart, such as cart_id."""
    payload: Payload = Payload()
    expires_after: Lifetime = Field(default="24h", validate_default=True)
    """How long after it is decided the email is still worth sending."""
    reentry: Reentry = Field(default="never", validate_default=True)
    """How long after a trigger the same person and subject may get this campaign again, or never."""

    def compile(self, campaign_id: str) -> Campaign:
        """Compile it into the form in which it stands in the log."""
        return Campaign(
            id=campaign_id,
            template_id=self.template,
            opened_by=tuple(selection.compile() for selection in self.opened_by),
            reset_by=tuple(selection.compile() for selection in self.reset_by),
            cancelled_by=tuple(selection.compile() for selection in self.cancelled_by),
            cancel_by_subject=self.cancel_match == "subject",
            wait=self.wait,
            subject=self.subject,
            items=Items(self.payload.items),
            properties=tuple(self.payload.properties),
            expires_after=self.expires_after,
            reentry=self.reentry,
        )


class _File(_Part):
    """The campaigns in force, by id."""

    model_config = ConfigDict(title="Waxmark campaigns")

    campaigns: Annotated[
        dict[Annotated[str, Field(pattern=_ID)], Declaration],
        Field(min_length=1, json_schema_extra={"additionalProperties": False}),
    ]


def json_schema() -> dict[str, Any]:
    """Describe the file as JSON Schema, for editors; what only `load` can tell (near misses of names) it leaves out."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_File.model_json_schema()}


class _Loader(yaml.SafeLoader):
    """YAML as the events' JSON has it: NO, 12:30, 007 and dates are text, not false, 750, 7 and a date object."""


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


def _quoted(text: str) -> str:
    return json.dumps(text[:60], ensure_ascii=False)


Place = tuple[int | str, ...]
Problem = tuple[int, str]


class _Section:
    """A part of the file: the line and text of everything in it, and what is wrong there."""

    def __init__(self, name: str, line: int, problems: list[Problem]) -> None:
        self.name, self.problems = name, problems
        self.lines: dict[Place, int] = {(): line}
        self.texts: dict[Place, str] = {}

    def complain(self, place: Place, what: str, line: int = 0) -> None:
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
            self.texts[place] = _quoted(value) if isinstance(value, str) else node.value or "an empty value"
            return value
        if isinstance(node, yaml.MappingNode):
            self.texts[place] = "a mapping"
            pairs = self.pairs(node, place)
            return {key: self.plain(value, (*place, key)) for key, _, value, repeat in pairs if not repeat}
        self.texts[place] = "a list"
        self.lines.update({(*place, i): item.start_mark.line + 1 for i, item in enumerate(node.value)})
        return [self.plain(item, (*place, i)) for i, item in enumerate(node.value)]

    def explain(self, error: ErrorDetails) -> None:
        """Put what pydantic found wrong into words."""
        place, kind, context = error["loc"], error["type"], error.get("ctx", {})
        if kind == "missing":
            self.complain(place, "missing")
        elif kind == "extra_forbidden":
            self.complain(place, _unknown(str(place[-1]), _PARTS[len(place)]))
        else:
            key = _quoted(str(place[-2])) if place[-1:] == ("[key]",) else ""
            place = self.nearest(place)
            what = str(context.get("error", "")) or _PHRASES.get(kind, error["msg"]).format_map(context)
            self.complain(place, f"{key or self.texts[place]} {what}")


_PARTS: Final[dict[int, type[BaseModel]]] = {1: Declaration, 2: Payload, 3: Selection, 5: Tests}
"""What a field may be part of, by how deep in its campaign it stands."""

_FIELDS: Final = "is not a set of fields (write one to a line below it, indented)"
_PHRASES: Final = {
    "model_type": _FIELDS,
    "dict_type": _FIELDS,
    "list_type": "is not a list (write [one, another], or one to a line after a dash)",
    "string_type": "is not text (if it is a name, put it in quotes)",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "too_short": "with nothing in it; at least one is needed",
    "greater_than": "would let every email expire before it is sent",
    "bool_type": "is neither true nor false",
    "literal_error": "is not allowed (write {expected})",
}


def _unknown(name: str, part: type[BaseModel]) -> str:
    noun = "test" if part is Tests else "field"
    names = [field.alias or own for own, field in part.model_fields.items()]
    close = difflib.get_close_matches(name, names, n=1)
    return f"unknown {noun}; " + (f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}")


def _compose(path: Path) -> yaml.Node | None:
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


def _entries(root: yaml.Node | None, problems: list[Problem]) -> Iterator[tuple[str, int, yaml.Node]]:
    top, ids = _Section("", 1, problems), _Section("", 1, problems)
    for field, line, node, _ in top.pairs(root, ()) if isinstance(root, yaml.MappingNode) else ():
        if field != "campaigns":
            top.complain((field,), _unknown(field, _File), line)
        elif not isinstance(node, yaml.MappingNode) or not node.value:
            top.complain((field,), "no campaign below it", line)
        else:
            for campaign_id, at, entry, _ in ids.pairs(node, ()):
                if not re.fullmatch(_ID, campaign_id):
                    ids.complain((campaign_id,), "not an id (1 to 64 of a-z, 0-9, _ and -)", at)
                yield campaign_id, at, entry
    if ("campaigns",) not in top.lines:
        top.complain(("campaigns",), "missing" if root else "missing; the file is empty")


def load(path: Path) -> list[Campaign]:
    """Read and compile the enabled campaigns, in the file's order.

    Raises CampaignFileError with one line per problem, `file:line: field: what is wrong`; a broken campaign hides
    nothing in the others. Only a file that cannot be read, or is not YAML, gets a single line.
    """
    problems: list[Problem] = []
    campaigns = []
    for campaign_id, line, node in _entries(_compose(path), problems):
        section = _Section(campaign_id, line, problems)
        try:
            declared = Declaration.model_validate(section.plain(node))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                section.explain(one)
        except RecursionError:
            section.complain((), "contains itself")
        else:
            campaigns += [declared.compile(campaign_id)] if declared.enabled else []
    if problems:
        raise CampaignFileError("\n".join(f"{path}:{line}: {what}" for line, what in sorted(problems)))
    return campaigns


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
