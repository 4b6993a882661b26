"""Who may send and who may read: sources, readers and webhooks, from a YAML file or from the environment."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

M = TypeVar("M", bound=BaseModel)

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Tenant = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
Key = Annotated[SecretStr, Field(min_length=8, max_length=200)]


class KeysError(Exception):
    """Keys that cannot be used; the message names the place, never a key."""


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Source(_Closed):
    """A website, app or server that sends events. `write_key` is public where a browser uses it."""

    name: Name
    tenant: Tenant = "default"
    write_key: Key
    events_per_second: float = Field(default=0, ge=0)
    """On average, over every connection to this process; 0 sets no limit."""
    burst: int = Field(default=5_000, ge=2_500)
    """At once; at least one full batch."""


class Reader(_Closed):
    """A system that reads profiles, and may delete people only where that is said."""

    name: Name
    tenant: Tenant = "default"
    read_key: Key
    may_delete: bool = False
    requests_per_second: float = Field(default=0, ge=0)
    burst: int = Field(default=100, ge=1)


class Scheme(StrEnum):
    """How a webhook shows that it is who it says."""

    SHOPIFY = "shopify"
    STRIPE = "stripe"
    SENDGRID = "sendgrid"
    HMAC = "hmac"
    TOKEN = "token"  # noqa: S105 - the name of a scheme


class Webhook(_Closed):
    """A system that calls us at `/v1/webhooks/{name}`.

    `secret` is the shared one, for SendGrid its public key. `mapping` is the name of one of ours (shopify, stripe,
    sendgrid) or a file's. `header`, `encoding` and `prefix` are for `hmac` and `token` alone.
    """

    name: Name
    tenant: Tenant = "default"
    scheme: Scheme
    secret: Key
    mapping: str = ""
    header: str = "x-signature"
    encoding: str = Field(default="hex", pattern="^(hex|base64)$")
    prefix: str = ""
    events_per_second: float = Field(default=0, ge=0)
    burst: int = Field(default=5_000, ge=2_500)

    @field_validator("header")
    @classmethod
    def _lower(cls, header: str) -> str:
        return header.lower()

    @model_validator(mode="after")
    def _mapped(self) -> Self:
        if not self.mapping and self.scheme in {Scheme.HMAC, Scheme.TOKEN}:
            raise ValueError("a webhook of scheme hmac or token needs a mapping file")
        return self


class Keys(_Closed):
    """All keys of a collector. Every key and every name is used once."""

    sources: tuple[Source, ...] = ()
    readers: tuple[Reader, ...] = ()
    webhooks: tuple[Webhook, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        keys = [s.write_key.get_secret_value() for s in self.sources]
        keys += [r.read_key.get_secret_value() for r in self.readers]
        names = [webhook.name for webhook in self.webhooks]
        if len(set(keys)) != len(keys):
            raise ValueError("a key is given twice; write keys are public, so none may be a read key too")
        if len(set(names)) != len(names):
            raise ValueError("two webhooks have one name")
        return self


def load(path: Path, environment: Mapping[str, str]) -> Keys:
    """Read a keys file; `${NAME}` in it stands for a variable. Raises KeysError."""
    try:
        return read(path, Keys, lambda found: _filled(found or {}, environment))
    except KeyError as error:
        raise KeysError(f"{path}: the environment has no {error.args[0]}") from None


def read(path: Path, model: type[M], changed: Callable[[Any], Any] = lambda found: found) -> M:
    """Read a YAML file as a model. Raises KeysError with the place at fault."""
    try:
        return model.model_validate(changed(yaml.safe_load(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise KeysError(f"{path}:{mark.line + 1 if mark else 1}: not YAML") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise KeysError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, environment) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environment) for each in value]
    return _VARIABLE.sub(lambda found: environment[found[1]], value) if isinstance(value, str) else value
