"""Resend: sends what was rendered here, once per Idempotency-Key."""

from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec

from connectors.esp.http import DAY_LESS_MARGIN, Heard, Request, judged, one_click, shortened
from state.letters import Answer, Letter, Unfit, Verdict

_OTHER_BODY: Final = "invalid_idempotent_request"
"""Its key was used, for another text: the letter of a call whose answer was lost, made again with the prices of now."""
_UNDER_WAY: Final = "concurrent_idempotent_requests"


class Resend(msgspec.Struct, frozen=True, kw_only=True):
    """Sends emails as `sender`; the trigger's id is the key, which is known for 24 hours."""

    url: str
    key: str
    sender: str
    reply_to: str = ""

    renders: ClassVar[bool] = False
    remembers: ClassVar[float] = DAY_LESS_MARGIN

    def request(self, letter: Letter) -> Request:
        """Write the call. Raises Unfit for a letter without an email or an address."""
        email, trigger = letter.email, letter.trigger
        if email is None:
            raise Unfit("Resend needs a rendered email")
        if not letter.to:
            raise Unfit("the person has no address")
        body: dict[str, Any] = {
            "from": self.sender,
            "to": [letter.to],
            "subject": email.subject,
            "html": email.html,
            "text": email.text,
            "headers": one_click(letter.unsubscribe_url),
            "tags": [{"name": "campaign_id", "value": trigger.campaign_id}],
        }
        if self.reply_to:
            body["reply_to"] = self.reply_to
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": trigger.trigger_id,
        }
        return Request(f"{self.url}/emails", headers, msgspec.json.encode(body))

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; a repeated key with the same text gets the first answer again."""
        said = heard.json()
        body: dict[str, Any] = said if isinstance(said, dict) else {}
        name = str(body.get("name", ""))
        if heard.status == HTTPStatus.CONFLICT and name == _OTHER_BODY:
            return Answer(Verdict.DUPLICATE, f"{heard.status} {name}")
        if heard.status == HTTPStatus.CONFLICT and name == _UNDER_WAY:
            return Answer(Verdict.AMBIGUOUS, f"{heard.status} {name}", retry_after=heard.retry_after)
        return judged(heard, str(body.get("id") or ""), shortened(f"{name} {body.get('message', '')}"))
