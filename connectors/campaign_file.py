"""The file that marketers edit: read with its line numbers, checked in every field, compiled for the log.

Every mistake in the file is reported at once, by file, line and field, in words for the person who wrote it.
"""

import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from connectors.campaign_model import ID, OWN_EVENTS, Declaration, File, Payload, Selection, Tests, Text
from connectors.campaign_yaml import CampaignFileError, Problem, Section, compose, quoted
from state.campaigns import Campaign

__all__ = ["CampaignFileError", "json_schema", "load"]

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
_events: Final = TypeAdapter(list[Text])


def load(path: Path) -> list[Campaign]:
    """Read and compile the enabled campaigns, in the file's order.

    Raises CampaignFileError with one line per problem, `file:line: field: what is wrong`; a broken campaign hides
    nothing in the others. Only a file that cannot be read, or is not YAML, gets a single line.
    """
    problems: list[Problem] = []
    campaigns = []
    own, entries = _parts(compose(path), problems)
    for section, node in entries:
        try:
            declared = Declaration.model_validate(section.plain(node), context={OWN_EVENTS: own})
        except ValidationError as error:
            _explain(section, error)
        except RecursionError:
            section.complain((), "contains itself")
        else:
            campaigns += [declared.compile(section.name)] if declared.enabled else []
    if problems:
        raise CampaignFileError("\n".join(f"{path}:{line}: {what}" for line, what in sorted(problems)))
    return campaigns


def json_schema() -> dict[str, Any]:
    """Describe the file as JSON Schema, for editors; what only `load` can tell (near misses of names) it leaves out."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **File.model_json_schema()}


def _parts(root: yaml.Node | None, problems: list[Problem]) -> tuple[list[str], list[tuple[Section, yaml.Node]]]:
    """Take the file apart: the shop's own events, and each campaign's section."""
    top, ids = Section("", 1, problems), Section("", 1, problems)
    own: list[str] = []
    entries = []
    for field, line, node, _ in top.pairs(root, ()) if isinstance(root, yaml.MappingNode) else ():
        if field == "events":
            own += _own_events(Section(field, line, problems), node)
        elif field != "campaigns":
            top.complain((field,), _unknown(field, File), line)
        elif not isinstance(node, yaml.MappingNode) or not node.value:
            top.complain((field,), "no campaign below it", line)
        else:
            for campaign_id, at, entry, _ in ids.pairs(node, ()):
                if not re.fullmatch(ID, campaign_id):
                    ids.complain((campaign_id,), "not an id (1 to 64 of a-z, 0-9, _ and -)", at)
                entries.append((Section(campaign_id, at, problems), entry))
    if ("campaigns",) not in top.lines:
        top.complain(("campaigns",), "missing" if root else "missing; the file is empty")
    return own, entries


def _own_events(section: Section, node: yaml.Node) -> list[str]:
    try:
        return _events.validate_python(section.plain(node), strict=True)
    except ValidationError as error:
        _explain(section, error)
    except RecursionError:
        section.complain((), "contains itself")
    return []


def _explain(section: Section, error: ValidationError) -> None:
    for one in error.errors(include_url=False):
        _explain_one(section, one)


def _explain_one(section: Section, error: ErrorDetails) -> None:
    """Put what pydantic found wrong into words."""
    place, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "missing":
        section.complain(place, "missing")
    elif kind == "extra_forbidden":
        section.complain(place, _unknown(str(place[-1]), _PARTS[len(place)]))
    else:
        key = quoted(str(place[-2])) if place[-1:] == ("[key]",) else ""
        place = section.nearest(place)
        what = str(context.get("error", "")) or _PHRASES.get(kind, error["msg"]).format_map(context)
        section.complain(place, f"{key or section.texts[place]} {what}")


def _unknown(name: str, part: type[BaseModel]) -> str:
    noun = "test" if part is Tests else "field"
    names = [field.alias or own for own, field in part.model_fields.items()]
    close = difflib.get_close_matches(name, names, n=1)
    return f"unknown {noun}; " + (f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}")


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
