"""The file that says how emails leave: read with its line numbers, its secrets from the environment, checked in every field.

`${NAME}` in any text stands for a variable of the environment, `$${` for `${` itself. A secret must come from there: a file is
copied, mailed and committed. No message shows what was filled in, nor what stands where a secret belongs.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from connectors.campaign_model import ID
from connectors.campaign_yaml import CampaignFileError, Place, Problem, Section, compose, quoted
from connectors.delivery_model import NAME, Content, Delivery, File, Shop, kinds

__all__ = ["CampaignFileError", "json_schema", "load"]

M = TypeVar("M", bound=BaseModel)

_VARIABLE: Final = re.compile(r"\$?\$\{(\w*)(\}?)")
_FROM_OUTSIDE: Final = r"(?<!\$)\$\{\w+\}"
_FIELDS: Final = "is not a set of fields (write one to a line below it, indented)"
_PHRASES: Final = {
    "model_type": _FIELDS,
    "model_attributes_type": _FIELDS,
    "dict_type": _FIELDS,
    "list_type": "is not a list (write [one, another], or one to a line after a dash)",
    "string_type": "is not text (if it is a name, put it in quotes)",
    "string_too_short": "is too short; at least {min_length} characters are needed",
    "string_too_long": "is longer than {max_length} characters",
    "too_short": "is too short; at least {min_length} are needed",
    "too_long": "is longer than {max_length}",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "greater_than": "is not above {gt}",
    "greater_than_equal": "is below {ge}",
    "less_than": "is not below {lt}",
    "less_than_equal": "is above {le}",
    "literal_error": "is not allowed (write {expected})",
    "enum": "is not allowed (write {expected})",
    "string_pattern_mismatch": "is not of the form {pattern}",
}
_campaigns: Final = TypeAdapter(dict[str, str])


def load(path: Path, environment: Mapping[str, str]) -> Delivery:
    """Read a delivery file. Raises CampaignFileError with one line per problem, `file:line: field: what is wrong`.

    A variable that is not set, or empty, is a problem of its line: an empty key would be found out by the first refusals.
    """
    problems: list[Problem] = []
    delivery = _Reading(problems, environment).whole(compose(path))
    if problems or delivery is None:
        raise CampaignFileError("\n".join(f"{path}:{line}: {what}" for line, what in sorted(problems)))
    return delivery


def json_schema() -> dict[str, Any]:
    """Describe the file as JSON Schema, for editors; a secret that is written out is wrong there too."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **File.model_json_schema()}
    for part in _parts(schema):
        if part.get("writeOnly"):
            for limit in ("format", "minLength", "maxLength"):
                part.pop(limit, None)
            part["pattern"] = _FROM_OUTSIDE
    return schema


class _Reading:
    """One reading of one file; what is wrong with it goes to `problems`."""

    def __init__(self, problems: list[Problem], environment: Mapping[str, str]) -> None:
        self._problems, self._environment = problems, environment

    def whole(self, root: yaml.Node | None) -> Delivery | None:
        top = Section("", 1, self._problems)
        if root is not None and not isinstance(root, yaml.MappingNode):
            top.complain((), f"the file {_FIELDS}")
            return None
        parts = {}
        for field, line, node, repeat in top.pairs(root, ()) if root else ():
            if field not in File.model_fields:
                top.complain((field,), _unknown(field, File), line)
            elif not repeat:
                parts[field] = (Section(field, line, self._problems), node)
        for field, about in File.model_fields.items():
            if about.is_required() and field not in parts:
                top.complain((field,), "missing" if root else "missing; the file is empty")
        shop = self._part(*parts["shop"], Shop) if "shop" in parts else None
        content = self._part(*parts["content"], Content) if "content" in parts else None
        providers = self._providers(*parts["providers"]) if "providers" in parts else {}
        default = self._default(*parts["default"], providers) if "default" in parts else ""
        campaigns = self._campaigns(*parts["campaigns"], providers) if "campaigns" in parts else {}
        if self._problems or shop is None:
            return None
        found = {name: provider for name, provider in providers.items() if provider is not None}
        return Delivery(shop, content, found, default, campaigns)

    def _part(self, section: Section, node: yaml.Node, model: type[M]) -> M | None:
        known = len(self._problems)
        secrets = _secret_names(model)
        try:
            value = self._filled(section, section.plain(node), (), secrets)
            return model.model_validate(value) if len(self._problems) == known else None
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False):
                _explain(section, one, model, secrets)
        except RecursionError:
            section.complain((), "contains itself")
        return None

    def _providers(self, section: Section, node: yaml.Node) -> dict[str, Any]:
        """Read each provider by itself; those that are wrong are there with None, since campaigns may name them."""
        if not isinstance(node, yaml.MappingNode) or not node.value:
            section.complain((), "no provider below it")
            return {}
        providers: dict[str, Any] = {}
        for name, line, entry, repeat in section.pairs(node, ()):
            if not re.fullmatch(NAME, name):
                section.complain((name,), "not a name (1 to 64 of a-z, 0-9, _ and -)", line)
            if not repeat:
                providers[name] = self._provider(Section(f"providers.{name}", line, self._problems), entry)
        return providers

    def _provider(self, section: Section, node: yaml.Node) -> BaseModel | None:
        models = kinds()
        written = dict(_scalars(node)) if isinstance(node, yaml.MappingNode) else {}
        if not isinstance(node, yaml.MappingNode):
            section.complain((), _FIELDS)
        elif "type" not in written:
            section.complain((), f"has no type (write {_either(models)})")
        elif written["type"][0] not in models:
            kind, line = written["type"]
            close = difflib.get_close_matches(kind, models, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(models)}"
            section.complain(("type",), f"{quoted(kind)} is no type of provider; {hint}", line)
        else:
            return self._part(section, node, models[written["type"][0]])
        return None

    def _default(self, section: Section, node: yaml.Node, providers: Mapping[str, object]) -> str:
        name = self._filled(section, section.plain(node), (), frozenset())
        if not isinstance(name, str):
            section.complain((), f"{section.texts[()]} is not the name of a provider")
            return ""
        self._named(section, (), name, providers)
        return name

    def _campaigns(self, section: Section, node: yaml.Node, providers: Mapping[str, object]) -> dict[str, str]:
        value = section.plain(node)
        try:
            campaigns = _campaigns.validate_python(self._filled(section, value, (), frozenset()) or {}, strict=True)
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False):
                _explain(section, one, File, frozenset())
            return {}
        for campaign_id, name in campaigns.items():
            if not re.fullmatch(ID, campaign_id):
                section.complain((campaign_id,), "not a campaign's id (1 to 64 of a-z, 0-9, _ and -)")
            self._named(section, (campaign_id,), name, providers)
        return campaigns

    def _named(self, section: Section, place: Place, name: str, providers: Mapping[str, object]) -> None:
        if name not in providers:
            close = difflib.get_close_matches(name, providers, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(providers) or 'none'}"
            section.complain(place, f"{section.texts[place]} is no provider of this file; {hint}")

    def _filled(self, section: Section, value: object, place: Place, secrets: frozenset[str]) -> Any:
        """Put the environment's values in; where that cannot be, complain and leave what stands there."""
        if isinstance(value, dict):
            return {key: self._filled(section, each, (*place, key), secrets) for key, each in value.items()}
        if isinstance(value, list):
            return [self._filled(section, each, (*place, i), secrets) for i, each in enumerate(value)]
        if secrets.intersection(place) and value is not None and not re.search(_FROM_OUTSIDE, str(value)):
            section.complain(place, "is a secret; write ${NAME} here and set the variable of that name")
            return value
        if not isinstance(value, str):
            return value
        return _VARIABLE.sub(lambda found: self._variable(section, place, found), value)

    def _variable(self, section: Section, place: Place, found: re.Match[str]) -> str:
        name, closed = found.groups()
        if found[0].startswith("$$"):
            return found[0][1:]
        if not name or not closed:
            section.complain(place, "has ${ without a variable's name and } after it ($${ stands for ${ itself)")
        elif not (value := self._environment.get(name, "")):
            state = "is empty" if name in self._environment else "is not set"
            section.complain(place, f"the environment's {name} {state}")
        else:
            return value
        return found[0]


def _scalars(node: yaml.MappingNode) -> Iterator[tuple[str, tuple[str, int]]]:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode):
            yield key.value, (value.value, value.start_mark.line + 1)


def _either(names: Mapping[str, object]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _secret_names(model: type[BaseModel]) -> frozenset[str]:
    """List the fields of a model that hold secrets, themselves or in what lies directly within them."""
    found = set()
    for part in _parts(model.model_json_schema()):
        for name, field in part.get("properties", {}).items():
            if any(each.get("writeOnly") for each in _parts(field)):
                found.add(name)
    return frozenset(found)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Walk a schema without following references."""
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _parts(each)


def _explain(section: Section, error: ErrorDetails, model: type[BaseModel], secrets: frozenset[str]) -> None:
    """Put what pydantic found wrong into words."""
    place, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "missing":
        section.complain(place, "missing")
    elif kind == "extra_forbidden":
        section.complain(place, _unknown(str(place[-1]), _within(model, place[:-1])))
    else:
        key = quoted(str(place[-2])) if place[-1:] == ("[key]",) else ""
        at = section.nearest(place)
        phrase = _PHRASES[kind].format_map(context) if kind in _PHRASES else error["msg"]
        what = str(context.get("error", "")) or phrase
        written = "what stands here" if secrets.intersection(map(str, at)) else key or section.texts[at]
        of_several = kind == "value_error" and section.texts[at] == "a mapping"  # what does not go together
        section.complain(at, what if of_several else f"{written} {what}")


def _within(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """Find the model of what stands at a place, as far in as there is one."""
    for step in place:
        fields = {about.alias or name: about for name, about in model.model_fields.items()}
        annotation = fields[str(step)].annotation if str(step) in fields else None
        for each in (annotation, *get_args(annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                model = each
    return model


def _unknown(name: str, part: type[BaseModel]) -> str:
    names = [about.alias or own for own, about in part.model_fields.items()]
    close = difflib.get_close_matches(name, names, n=1)
    return "unknown field; " + (f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}")


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
