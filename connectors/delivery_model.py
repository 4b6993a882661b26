"""What a delivery file may say: whose emails they are, who takes them, and which campaign goes to whom."""

import re
from collections.abc import Iterable, Mapping
from email.utils import parseaddr
from typing import Annotated, Final, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connectors.campaign_model import ID
from connectors.esp.options import Provider

NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_ADDRESS: Final = re.compile(r'[^\s@<>()\[\],;:"\\]+@[^\s@<>()\[\],;:"\\]+')
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_AT_HOME: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# What a validator raises is the end of a sentence that begins with what was written.


def _line(text: str) -> str:
    if _UNPRINTABLE.search(text):
        raise ValueError("is more than one line, or holds characters that nobody sees")
    return text


def _mailbox(text: str) -> str:
    name, address = parseaddr(text)
    ends = text.endswith(f"<{address}>") if name else text == address
    if not _ADDRESS.fullmatch(address) or not ends:
        raise ValueError('is not an address (write hello@shop.example, or "Our Shop <hello@shop.example>")')
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or re.search(r"\s", text):
        raise ValueError("is not a web address (write https://shop.example)")
    return text


def _content_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme == "http" and parts.hostname not in _AT_HOME:
        raise ValueError("is not https; mail programs unsubscribe by https alone, and pictures would be passed over")
    if parts.query or parts.fragment:
        raise ValueError("has something after its path; the links of an email are put there")
    return text.rstrip("/")


Line = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_line)]
Mailbox = Annotated[Line, AfterValidator(_mailbox)]
WebAddress = Annotated[Line, AfterValidator(_web_address)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Shop(_Part):
    """Whose emails they are. What is left out here is as templates/shop.yaml has it."""

    from_: Mailbox = Field(alias="from")
    """The address that emails come from, with the name that people see: "Our Shop <hello@shop.example>"."""
    reply_to: Mailbox | None = None
    """Where answers go, if not to `from`."""
    name: Line | None = None
    """The shop's name, in templates {{ shop.name }}."""
    url: WebAddress | None = None
    """Its website, in templates {{ shop.url }}."""
    address: Line | None = None
    """Its postal address, which the law of most countries wants below each email; {{ shop.address }}."""
    texts: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Line] = {}
    """Whatever else templates use of the shop, by its name there: promise_1 is {{ shop.promise_1 }}."""

    def over(self, shop: Mapping[str, str]) -> dict[str, str]:
        """Lay what is said here over the texts of the templates' own shop.yaml."""
        own = {"name": self.name, "url": self.url, "address": self.address}
        return {**shop, **self.texts, **{key: text for key, text in own.items() if text is not None}}


class Content(_Part):
    """What emails show when they are opened, and their unsubscribe links."""

    url: Annotated[WebAddress, AfterValidator(_content_address)]
    """Where the content endpoints are seen from outside, over https; http is for this machine alone."""


class File(_Part):
    """How emails leave: the shop, its providers, and which campaign goes to which."""

    model_config = ConfigDict(title="Waxmark delivery")

    shop: Shop
    content: Content | None = None
    """Left out, emails have no links of ours: no cart of now, no countdown and no unsubscribing with one click."""
    providers: Annotated[
        dict[Annotated[str, Field(pattern=NAME)], Provider],
        Field(min_length=1, json_schema_extra={"additionalProperties": False}),
    ]
    """Who takes emails, each under a name of yours."""
    default: Annotated[str, Field(pattern=NAME)]
    """The provider of all campaigns that are not named below."""
    campaigns: Annotated[
        dict[Annotated[str, Field(pattern=ID)], Annotated[str, Field(pattern=NAME)]],
        Field(json_schema_extra={"additionalProperties": False}),
    ] = {}
    """Campaigns that go to another provider than the default, by their ids in campaigns.yaml."""


class Delivery(NamedTuple):
    """A delivery file that was read, its secrets filled in."""

    shop: Shop
    content: Content | None
    providers: Mapping[str, Provider]
    default: str
    campaigns: Mapping[str, str]

    def provider_for(self, campaign_id: str) -> str:
        """Name the provider of a campaign."""
        return self.campaigns.get(campaign_id, self.default)

    def strangers(self, campaign_ids: Iterable[str]) -> list[str]:
        """List the campaigns named here that are none of these: a slip would send their emails to the default."""
        return sorted(self.campaigns.keys() - set(campaign_ids))


def kinds() -> dict[str, type[BaseModel]]:
    """List the models of providers' settings by their `type`."""
    union = get_args(Provider)[0]
    return {_kind(model): model for model in get_args(union)}


def _kind(model: type[BaseModel]) -> str:
    (kind,) = get_args(model.model_fields["type"].annotation)
    return str(kind)
