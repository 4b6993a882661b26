"""The types of providers' settings. What a validator raises is the end of a sentence that begins with what was written."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter

from connectors.campaign_model import Duration
from connectors.esp.call_template import ADDRESS, BODY, HEADER, compiled
from connectors.esp.webhook import SIGNATURE
from state.clock import SECOND

_OURS: Final = frozenset({"content-type", "content-length", "host", "transfer-encoding", SIGNATURE.lower()})
_duration: Final = TypeAdapter(Duration)


def _seconds(value: object) -> object:
    return _duration.validate_python(value) / SECOND if isinstance(value, str) else value


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(each.isspace() for each in text):
        raise ValueError("is not a web address (write https://api.example)")
    return text.rstrip("/")


def _address_template(text: str) -> str:
    if not text.startswith(("https://", "http://")) or "{" in text.partition("//")[2].partition("/")[0]:
        raise ValueError(
            "does not begin with https:// or http:// and a host without Liquid: a person's data could name another"
        )
    compiled(text, ADDRESS)
    return text


def _body_template(text: str) -> str:
    compiled(text, BODY)
    return text


def _header_template(text: str) -> str:
    if not text.isprintable():
        raise ValueError("is more than one line, or holds characters that nobody sees")
    compiled(text, HEADER)
    return text


def _header_name(name: str) -> str:
    if name.lower() in _OURS:
        raise ValueError("is a header that is written for you")
    return name


def _secret(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise ValueError("is more than one line, or holds characters that nobody sees")
    return secret


Seconds = Annotated[
    float, BeforeValidator(_seconds, float | Annotated[str, Field(pattern="^[0-9]{1,9}(ms|s|m|h|d|w)$")])
]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
Domain = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
Secret = Annotated[SecretStr, Field(min_length=1), AfterValidator(_secret)]
WebAddress = Annotated[Text, AfterValidator(_web_address)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"), AfterValidator(_header_name)]
AddressTemplate = Annotated[Text, AfterValidator(_address_template)]
BodyTemplate = Annotated[str, Field(max_length=100_000), AfterValidator(_body_template)]
HeaderTemplate = Annotated[str, Field(max_length=2_000), AfterValidator(_header_template)]
Names = dict[Text, Text]
