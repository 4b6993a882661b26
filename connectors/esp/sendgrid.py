"""SendGrid, by v3 Mail Send. It takes no keys: a letter whose answer was lost is ambiguous."""

from typing import Any, ClassVar

import msgspec

from connectors.esp.attributes import attributes
from connectors.esp.http import Heard, Request, judged, mailbox, one_click
from state.letters import Answer, Letter, Unfit


class SendGrid(msgspec.Struct, frozen=True, kw_only=True):
    """Sends what was rendered here, or with `renders` a dynamic template of its own, named as the template or in `templates`.

    The trigger's id goes along as a custom argument, which comes back with every event about the email: by it a person finds
    out what became of the ambiguous.
    """

    url: str
    key: str
    sender: str
    reply_to: str = ""
    renders: bool = False
    templates: dict[str, str] = {}

    remembers: ClassVar[float] = 0.0

    def request(self, letter: Letter) -> Request:
        """Write the call. Raises Unfit for a letter without an address, or without the email where it is rendered here."""
        email, trigger = letter.email, letter.trigger
        if not letter.to:
            raise Unfit("the person has no address")
        to: dict[str, Any] = {
            "to": [{"email": letter.to}],
            "custom_args": {"trigger_id": trigger.trigger_id, "campaign_id": trigger.campaign_id},
        }
        body: dict[str, Any] = {
            "personalizations": [to],
            "from": mailbox(self.sender),
            "headers": one_click(letter.unsubscribe_url),
            "categories": [trigger.campaign_id],
        }
        if self.reply_to:
            body["reply_to"] = mailbox(self.reply_to)
        if self.renders:
            body["template_id"] = self.templates.get(trigger.template_id, trigger.template_id)
            to["dynamic_template_data"] = attributes(letter)
        elif email is None:
            raise Unfit("SendGrid needs a rendered email")
        else:
            body["subject"] = email.subject
            body["content"] = [
                {"type": "text/plain", "value": email.text},
                {"type": "text/html", "value": email.html},
            ]
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        return Request(f"{self.url}/v3/mail/send", headers, msgspec.json.encode(body))

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; the message's id is in a header."""
        said = heard.json()
        errors = said.get("errors") if isinstance(said, dict) else None
        told = [
            f"{error.get('field') or ''} {error.get('message') or ''}".strip()
            for error in (errors if isinstance(errors, list) else ())
            if isinstance(error, dict)
        ]
        return judged(heard, heard.headers.get("x-message-id", ""), "; ".join(told))
