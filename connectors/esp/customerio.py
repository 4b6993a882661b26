"""Customer.io, by events of its Track API that start a campaign there.

Its transactional call (`/v1/send/email`) takes no key, so it is not used: a lost answer would be ambiguous for nothing.
"""

import base64
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from connectors.esp.attributes import attributes
from connectors.esp.http import DAY_LESS_MARGIN, Heard, Request, judged
from state.letters import Answer, Letter, Unfit


class CustomerIo(msgspec.Struct, frozen=True, kw_only=True):
    """Sends an event named as the template, or as `templates` says.

    An event's `id`, a ULID as the trigger's is, is taken once; for how long, nobody says, so we count on a day. The event
    has no time of its own: one of more than 72 hours ago starts nothing, and a trigger may have waited.
    """

    url: str
    site_id: str
    key: str
    by_address: bool = False
    templates: dict[str, str] = {}

    renders: ClassVar[bool] = True
    remembers: ClassVar[float] = DAY_LESS_MARGIN

    def request(self, letter: Letter) -> Request:
        """Write the call. Raises Unfit where the person has no address to be known by."""
        trigger = letter.trigger
        person = letter.to if self.by_address else trigger.user_id
        if not person:
            raise Unfit("the person has no address, by which Customer.io would know them")
        body = {
            "name": self.templates.get(trigger.template_id, trigger.template_id),
            "id": trigger.trigger_id,
            "data": attributes(letter),
        }
        login = base64.b64encode(f"{self.site_id}:{self.key}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        url = f"{self.url}/api/v1/customers/{quote(person, safe='')}/events"
        return Request(url, headers, msgspec.json.encode(body))

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; a repeated id is answered like a new one."""
        said = heard.json()
        meta: Any = said.get("meta") if isinstance(said, dict) else None
        errors = (meta.get("errors") or meta.get("error")) if isinstance(meta, dict) else None
        return judged(heard, error="; ".join(map(str, errors)) if isinstance(errors, list) else str(errors or ""))
