"""Braze, by its two calls that send a campaign to one person."""

from typing import Any, ClassVar, Final
from urllib.parse import quote

import msgspec

from connectors.esp.attributes import attributes
from connectors.esp.http import DAY_LESS_MARGIN, Heard, Request, judged, shortened
from state.letters import Answer, Letter, Verdict

_QUEUED_BEFORE: Final = "external reference has been queued"
"""What it says of an `external_send_id` that it knows."""


class Braze(msgspec.Struct, frozen=True, kw_only=True):
    """Sends the campaign whose id the template's is, or stands for it in `templates`.

    Transactional campaigns take a key, `external_send_id`, that is known for 24 hours; API-triggered ones take none. The
    address goes along as an attribute, which Braze sets before it sends: a call of its own beforehand would race.
    """

    url: str
    key: str
    transactional: bool
    templates: dict[str, str] = {}

    renders: ClassVar[bool] = True

    @property
    def remembers(self) -> float:
        """For how many seconds a repeated trigger id is taken once."""
        return DAY_LESS_MARGIN if self.transactional else 0.0

    def request(self, letter: Letter) -> Request:
        """Write the call."""
        trigger = letter.trigger
        campaign = self.templates.get(trigger.template_id, trigger.template_id)
        person: dict[str, Any] = {"external_user_id": trigger.user_id}
        if letter.to:
            person["attributes"] = {"email": letter.to}
        if self.transactional:
            path = f"/transactional/v1/campaigns/{quote(campaign, safe='')}/send"
            body: dict[str, Any] = {
                "external_send_id": trigger.trigger_id,
                "trigger_properties": attributes(letter),
                "recipient": person,
            }
        else:
            path = "/campaigns/trigger/send"
            # Without it, whom Braze does not know yet is passed over in silence.
            person |= {"trigger_properties": attributes(letter), "send_to_existing_only": "attributes" not in person}
            body = {"campaign_id": campaign, "broadcast": False, "recipients": [person]}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        return Request(self.url + path, headers, msgspec.json.encode(body))

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; a success that names an error of the only recipient is none."""
        said = heard.json()
        body: dict[str, Any] = said if isinstance(said, dict) else {}
        message = str(body.get("message", ""))
        if self.transactional and _QUEUED_BEFORE in message:
            return Answer(Verdict.DUPLICATE, f"{heard.status} {shortened(message)}")
        answer = judged(heard, str(body.get("dispatch_id") or ""), message)
        if answer.verdict is Verdict.ACCEPTED and (wrong := _wrong_with_the_recipient(body)):
            return Answer(Verdict.REJECTED, f"{heard.status} {shortened(wrong)}")
        return answer


def _wrong_with_the_recipient(body: dict[str, Any]) -> str:
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and error.get("input_array") == "recipients":
            return str(error.get("type", "the recipient was refused"))
    return ""
