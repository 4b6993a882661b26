"""Liquid filters for emails: money, dates in the person's zone, first names, and web addresses that are ones."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache, wraps
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError, dates, numbers
from liquid import RenderContext, escape
from liquid.exceptions import LiquidError
from liquid.filter import with_context
from liquid.undefined import is_undefined

escaped: Final = escape

MAX_NAME: Final = 30

_WEB: Final = re.compile(
    r"https?://(?:[^\s/?#@:<>\"'\\\x00-\x20]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?(?:[/?#][^\s<>\"'\\`\x00-\x20]*)?"
)
_MAIL: Final = re.compile(r"[^\s@<>()\"',;:?&%#\\]{1,64}@[^\s@<>()\"',;:?&%#\\/]{1,255}")
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{3,8}|[a-zA-Z]{3,20}")
_NO_NAME: Final = frozenset({"null", "none", "undefined", "nil", "n/a", "na", "test", "unknown", "customer", "guest"})
_NAMED_FORMATS: Final = frozenset({"short", "medium", "long", "full"})


class Unfit(LiquidError):
    """A value that cannot be shown as the template asks. The reason tells nothing of the value."""

    def __init__(self, reason: str, expression: object = None) -> None:
        super().__init__(reason, token=None)
        self.reason, self.variable = reason, None if expression is None else str(expression)


def is_web_address(text: object) -> bool:
    """Tell whether a text is a whole http or https address, of which nothing reads as markup."""
    return isinstance(text, str) and len(text) <= 2_048 and _WEB.fullmatch(text) is not None  # noqa: PLR2004 - as browsers


def web_url(value: object) -> object:
    """Pass a web address; a template's links and images go through this unasked."""
    text = str(value).strip()
    if not is_web_address(text):
        raise Unfit("is no http or https address")
    return text


def mail_address(value: object) -> object:
    """Pass an email address: one, and nothing after it."""
    if not _MAIL.fullmatch(str(value)):
        raise Unfit("is no email address")
    return value


def colour(value: object) -> object:
    """Pass a colour: `#rrggbb` or a name."""
    if not _COLOUR.fullmatch(str(value)):
        raise Unfit("is no colour")
    return value


@with_context
def money(value: object, currency: object = None, *, context: RenderContext) -> str:
    """Write an amount in a currency, as the shop's locale writes it. The currency is the given one, else the data's."""
    code = currency if currency is not None else context.get(["currency"], token=None)
    if not re.fullmatch(r"[A-Z]{3}", str(code)):
        raise Unfit("needs a currency (three capital letters)")
    text = str(value)  # raises where it is missing
    if not _is_number(value) or abs(Decimal(text)) > 10**12:
        raise Unfit("is no amount")
    return _money(Decimal(text), str(code), _locale(context))


@with_context
def date(value: object, written: object = "long", *, context: RenderContext) -> str:
    """Write the day of an ISO 8601 time where the person is: short, medium, long, full, or a pattern like `EEEE d MMMM`."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise Unfit("is no time (ISO 8601)") from None
    local = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(_zone_of(context))
    locale = _locale(context)
    if str(written) in _NAMED_FORMATS:
        return dates.format_date(local.date(), str(written), locale=locale)
    return dates.format_datetime(local, str(written), locale=locale)


def first_name(value: object, otherwise: object = None) -> object:
    """Find what to call somebody, in their traits or in one text; `otherwise` where there is nothing fit for a greeting.

    Sign-up forms are used to send others one's own text, "Hi Win 1000 $ at evil.example": what is no name greets nobody.
    """
    if is_undefined(value):
        told: list[object] = []
    elif isinstance(value, Mapping):
        told = [value.get(key) for key in ("first_name", "firstName", "firstname", "given_name", "name")]
    else:
        told = [value]
    for text in told:
        if isinstance(text, str) and (words := text.split()) and _is_name(words[0]):
            return words[0]
    if otherwise is None:
        raise Unfit("holds no first name")
    return otherwise


def join(values: object, separator: object = ", ") -> object:
    """Join a list of which no part is missing."""
    parts = [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
    if any(part is None or is_undefined(part) or not str(part).strip() for part in parts):
        raise Unfit("has a part that is missing")
    return str(separator).join(str(part) for part in parts)


def strict(function: Callable[..., Any], *, of_numbers: bool) -> Callable[..., Any]:
    """Let one of Liquid's own filters take nothing that is missing, which several of them read as 0 or as blank."""

    @wraps(function)
    def checked(*values: object, **named: Any) -> Any:
        for value in (*values, *named.values()):
            if is_undefined(value):
                str(value)  # raises, with the path that is missing
            if value is None:
                raise Unfit("has a part that is missing")
        if of_numbers and not all(_is_number(value) for value in values):
            raise Unfit("is no number")
        return function(*values, **named)

    return checked


def as_it_is(value: object) -> object:
    """Change nothing."""
    return str(value)


ARITHMETIC: Final = (
    "abs at_least at_most ceil divided_by floor minus modulo plus round times".split()  # noqa: SIM905 - a list of words
)
FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "web_url": web_url,
    "mail_address": mail_address,
    "colour": colour,
    "color": colour,
    "money": money,
    "date": date,
    "first_name": first_name,
    "join": join,
}


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool) and Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _is_name(word: str) -> bool:
    letters = sum(each.isalpha() for each in word)
    looks_odd = any(each in '@/\\:<>{}[]()&%$#=+*_|~"0123456789' for each in word) or "." in word[:-1]
    return bool(letters) and not looks_odd and len(word) <= MAX_NAME and word.lower() not in _NO_NAME


@lru_cache(maxsize=4096)
def _money(amount: Decimal, currency: str, locale: Locale) -> str:
    return numbers.format_currency(amount, currency, locale=locale)


def _locale(context: RenderContext) -> Locale:
    told = context.get(["locale"], token=None)
    return _parsed("en_US" if is_undefined(told) else str(told))


@lru_cache(maxsize=64)
def _parsed(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        raise Unfit("cannot be written: the shop's locale is none") from None


def _zone_of(context: RenderContext) -> tzinfo:
    for path in (["profile", "traits", "timezone"], ["shop", "timezone"]):
        told = context.get(list(path), token=None)
        if not is_undefined(told) and (zone := _zone(str(told))):
            return zone
    return UTC


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not known, not a name, a folder
        return None
