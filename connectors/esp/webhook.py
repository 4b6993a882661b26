"""Any HTTP endpoint: a call written by Liquid templates, signed so that its receiver knows whose it is."""

import hashlib
import hmac
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from liquid import BoundTemplate

from connectors.esp.call_template import filled
from connectors.esp.http import Clock, Heard, Request, judged
from state.clock import SECOND
from state.letters import Answer, Letter, Unfit, Verdict

SIGNATURE: Final = "Waxmark-Signature"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Calls a receiver of one's own.

    Args:
        url: template of the address.
        headers: templates by name.
        body: template of the body; without one, the trigger, `to`, `data` and `email` go as JSON.
        content_type: of the body; a body that should be JSON and is none is not sent.
        method: POST, PUT or PATCH.
        secret: signs time and body by HMAC-SHA256, if given.
        key_header: carries the trigger's id, if given.
        remembers: for how many seconds the receiver takes an id once; 0 where it does not.
        renders: whether the receiver renders, so that there is no `email`.
        duplicate_status: by which the receiver says that it knew the id.
        clock: gives the time of the signature, in microseconds UTC.
    """

    url: BoundTemplate
    headers: dict[str, BoundTemplate]
    body: BoundTemplate | None
    clock: Clock
    content_type: str = "application/json"
    method: str = "POST"
    secret: str = ""
    key_header: str = ""
    remembers: float = 0.0
    renders: bool = False
    duplicate_status: int | None = None

    def request(self, letter: Letter) -> Request:
        """Write the call. Raises Unfit where a template lacks something, or makes no address or no JSON."""
        data = _data(letter)
        url = filled(self.url, data)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Unfit("the call's address is not http or https")
        body = msgspec.json.encode(data) if self.body is None else filled(self.body, data).encode()
        if self.content_type.endswith("json"):
            _check_json(body)
        headers = {"Content-Type": self.content_type}
        headers |= {name: filled(template, data) for name, template in self.headers.items()}
        if self.key_header:
            headers[self.key_header] = letter.trigger.trigger_id
        if self.secret:
            headers[SIGNATURE] = signature(self.secret, body, self.clock() // SECOND)
        return Request(url, headers, body, self.method)

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; an `id` in its JSON is the provider's."""
        if heard.status == self.duplicate_status:
            return Answer(Verdict.DUPLICATE, str(heard.status))
        said = heard.json()
        body: dict[str, Any] = said if isinstance(said, dict) else {}
        error = body.get("message") or body.get("error") or ""
        return judged(heard, str(body.get("id") or ""), error if isinstance(error, str) else "")


def signature(secret: str, body: bytes, at: int) -> str:
    """Sign a body at a time in seconds since 1970: `t=TIME,v1=HEX`, the HMAC-SHA256 of `TIME.BODY`.

    A receiver computes the same and compares in constant time; it refuses times of more than some minutes ago, so that a call
    that was overheard cannot be made again.
    """
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def _data(letter: Letter) -> dict[str, Any]:
    trigger: dict[str, Any] = msgspec.to_builtins(letter.trigger)
    email = letter.email
    return {
        **letter.data,
        "trigger": trigger,
        "to": letter.to,
        "email": None if email is None else email._asdict(),
        "unsubscribe_url": letter.unsubscribe_url,
    }


def _check_json(body: bytes) -> None:
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Unfit(f"the call's body is no JSON: {error}") from None
