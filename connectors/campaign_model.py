"""What a campaign file may say: pydantic models that check every field, and compile a campaign for the log."""

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from connectors.event_names import CANONICAL, canonical
from state.campaigns import Campaign, Filter, Items, Selector, Test
from state.clock import DAY, HOUR, MILLISECOND, MINUTE, NEVER, SECOND

_UNITS: Final = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)")
_LONGEST: Final = 3650 * DAY
_LARGEST: Final = 2**53
"""Beyond it a JSON number is no longer exact, so two that differ may compare equal."""
ID: Final = r"^[a-z0-9_-]{1,64}$"
OWN_EVENTS: Final = "own events"
"""Under which name the validation context holds the shop's own event names."""

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


def _event_name(name: str, info: ValidationInfo) -> str:
    return canonical(name, (info.context or {}).get(OWN_EVENTS, ()))


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
EventName = Annotated[Text, AfterValidator(_event_name), Field(examples=CANONICAL)]
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


class File(_Part):
    """The campaigns in force, by id."""

    model_config = ConfigDict(title="Waxmark campaigns")

    events: list[Text] = []
    """Events of your own whose names look like slips of known ones; they are taken as they are written."""
    campaigns: Annotated[
        dict[Annotated[str, Field(pattern=ID)], Declaration],
        Field(min_length=1, json_schema_extra={"additionalProperties": False}),
    ]
