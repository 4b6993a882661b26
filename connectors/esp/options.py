"""What may be set about each kind of provider, and how it is called."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from connectors.esp.dkim import DkimSigner
from connectors.esp.http import DAY_LESS_MARGIN
from connectors.esp.option_types import (
    AddressTemplate,
    BodyTemplate,
    Domain,
    HeaderName,
    HeaderTemplate,
    Host,
    Names,
    Seconds,
    Secret,
    Text,
    WebAddress,
)

_SMTP_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class _Options(_Part):
    rate: Annotated[float, Field(gt=0, le=10_000)] = 50.0
    """Calls a second, on average. Keep below what the provider allows."""
    burst: Annotated[float, Field(ge=1, le=10_000)] | None = None
    """Calls at once after a rest; as many as `rate` if left out."""
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Calls under way at a time."""
    timeout: Annotated[Seconds, Field(gt=0, le=600)] = 30.0
    """How long a call may take: seconds, or a duration like 30s."""
    give_up_after: Annotated[Seconds, Field(gt=0, le=30 * 24 * 3600)] = 4 * 3600.0
    """How long after its first attempt a trigger is tried: seconds, or a duration like 4h."""

    @property
    def remembers(self) -> float:
        """For how many seconds the provider takes a repeated trigger id once."""
        return 0.0

    @model_validator(mode="after")
    def _gives_up_in_time(self) -> "_Options":
        # Beyond it a call that was lost could not be asked about any more, and an email could go out twice.
        if 0 < self.remembers <= self.give_up_after:
            raise ValueError(
                f"give_up_after ({self.give_up_after:g} seconds) is not below the {self.remembers:g} seconds for which we"
                " count on this provider to know a trigger's id"
            )
        return self


class Dkim(_Part):
    """How letters are signed."""

    domain: Domain
    """Whose key it is; the domain of the shop's address, or one above it."""
    selector: Domain
    """Under which name the public key stands in DNS: SELECTOR._domainkey.DOMAIN."""
    private_key: Annotated[SecretStr, Field(min_length=1)]
    """RSA or Ed25519, in PEM; \\n may stand for its line breaks."""

    def signer(self) -> DkimSigner:
        """Make the signer."""
        return DkimSigner(self.domain, self.selector, self.private_key.get_secret_value().replace("\\n", "\n"))

    @model_validator(mode="after")
    def _signs(self) -> "Dkim":
        self.signer()
        return self


class SmtpOptions(_Options):
    """A mail server. It takes no keys."""

    type: Literal["smtp"]
    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """587 with starttls, 465 with tls, 25 with none, if left out."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """starttls begins in the clear and goes no further without TLS; tls is TLS from the start."""
    username: Text | None = None
    password: Secret | None = None
    bounces_to: Annotated[str, Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$")] | None = None
    """Where mail comes back to that cannot be delivered; the shop's address if left out."""
    hello: Host | None = None
    """As whom we introduce ourselves; the machine's name if left out."""
    message_id_domain: Domain | None = None
    """What stands after the @ of Message-IDs; the domain of the shop's address if left out."""
    dkim: Dkim | None = None

    @property
    def entry(self) -> int:
        """The port."""
        return _SMTP_PORTS[self.security] if self.port is None else self.port

    @model_validator(mode="after")
    def _logs_in(self) -> "SmtpOptions":
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.password is not None and self.security == "none" and self.host not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("security none would send the password in the clear")
        return self


class WebhookOptions(_Options):
    """An HTTP endpoint of one's own."""

    type: Literal["webhook"]
    url: AddressTemplate
    """Liquid; what it prints is percent-encoded."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[HeaderName, HeaderTemplate] = {}
    """Liquid, by name."""
    token: Secret | None = None
    """Goes as Authorization: Bearer TOKEN."""
    body: BodyTemplate | None = None
    """Liquid; what it prints is escaped as JSON. Everything that is known goes as JSON if left out."""
    content_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]+$")] = "application/json"
    secret: Secret | None = None
    """Signs each call (HMAC-SHA256)."""
    key_header: HeaderName | None = None
    """A header for the trigger's id, such as Idempotency-Key."""
    knows_keys_for: Annotated[Seconds, Field(ge=0, le=30 * 24 * 3600)] = 0.0
    """For how long the receiver takes an id once; 0 if it does not. A margin is taken off."""
    duplicate_status: Annotated[int, Field(ge=200, le=499)] | None = None
    """The status by which the receiver says that it knew the id, if it does."""
    renders: bool = False
    """true where the receiver makes the email, so that none is made here."""

    @property
    def remembers(self) -> float:
        """For how many seconds a repeated trigger id is taken once."""
        return self.knows_keys_for * DAY_LESS_MARGIN / (24 * 3600)

    @model_validator(mode="after")
    def _is_told_the_key(self) -> "WebhookOptions":
        told = [self.key_header or "", self.url, self.body or "trigger.trigger_id", *self.headers.values()]
        if self.knows_keys_for and not self.key_header and not any("trigger.trigger_id" in each for each in told):
            raise ValueError(
                "knows_keys_for needs key_header, or trigger.trigger_id in the call: it knows no key otherwise"
            )
        # HTTP calls a PUT idempotent, so aiohttp makes it again by itself when a kept connection breaks.
        if self.method == "PUT" and not self.knows_keys_for:
            raise ValueError("method PUT may be made twice when a connection breaks: it needs knows_keys_for")
        if self.token is not None and "authorization" in {name.lower() for name in self.headers}:
            raise ValueError("token and a header Authorization are two of the same")
        return self


class SendGridOptions(_Options):
    """SendGrid. It takes no keys."""

    type: Literal["sendgrid"]
    api_key: Secret
    url: WebAddress = "https://api.sendgrid.com"
    """https://api.eu.sendgrid.com for accounts in the EU."""
    renders: bool = False
    """true to send its dynamic templates instead of ours."""
    templates: Names = {}
    """Ids of its dynamic templates by the template's name in campaigns.yaml, where they differ."""


class BrazeOptions(_Options):
    """Braze, which renders by itself. Transactional campaigns take keys, others take none."""

    type: Literal["braze"]
    api_key: Secret
    url: WebAddress
    """Its REST endpoint, such as https://rest.iad-01.braze.com."""
    transactional: bool = False
    """true for transactional email campaigns, which a contract has to include."""
    templates: Names = {}
    """Ids of its campaigns by the template's name in campaigns.yaml, where they differ."""

    @property
    def remembers(self) -> float:
        """For how many seconds a repeated trigger id is taken once."""
        return DAY_LESS_MARGIN if self.transactional else 0.0


class _Keyed(_Options):
    @property
    def remembers(self) -> float:
        """For how many seconds a repeated trigger id is taken once."""
        return DAY_LESS_MARGIN


class CustomerIoOptions(_Keyed):
    """Customer.io, which renders by itself."""

    type: Literal["customerio"]
    site_id: Text
    api_key: Secret
    """Of the Track API."""
    url: WebAddress = "https://track.customer.io"
    """https://track-eu.customer.io for accounts in the EU."""
    identify_by: Literal["id", "email"] = "id"
    templates: Names = {}
    """Names of events by the template's name in campaigns.yaml, where they differ."""


class KlaviyoOptions(_Keyed):
    """Klaviyo, which renders by itself."""

    type: Literal["klaviyo"]
    api_key: Secret
    url: WebAddress = "https://a.klaviyo.com"
    revision: Annotated[str, Field(pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$")] = "2026-07-15"
    identify_by: Literal["id", "email"] = "email"
    """id: as Klaviyo's external_id."""
    templates: Names = {}
    """Names of metrics by the template's name in campaigns.yaml, where they differ."""


class ResendOptions(_Keyed):
    """Resend."""

    type: Literal["resend"]
    api_key: Secret
    url: WebAddress = "https://api.resend.com"


class SparkPostOptions(_Keyed):
    """SparkPost."""

    type: Literal["sparkpost"]
    api_key: Secret
    url: WebAddress = "https://api.sparkpost.com"
    """https://api.eu.sparkpost.com for accounts in the EU."""


Provider = Annotated[
    SmtpOptions
    | WebhookOptions
    | SendGridOptions
    | BrazeOptions
    | CustomerIoOptions
    | KlaviyoOptions
    | ResendOptions
    | SparkPostOptions,
    Field(discriminator="type"),
]
