"""Klaviyo, by events that start a flow there.

Never its bulk call: there, one repeated event fails all that came with it.
"""

import re
from typing import Any, ClassVar, Final

import msgspec

from connectors.esp.attributes import attributes
from connectors.esp.http import DAY_LESS_MARGIN, Heard, Request, judged
from state.letters import Answer, Letter, Unfit

_CURRENCY: Final = re.compile("[A-Z]{3}")


class Klaviyo(msgspec.Struct, frozen=True, kw_only=True):
    """Sends an event of the metric named as the template, or as `templates` says.

    Of events with the same `unique_id`, profile and metric only the first is recorded; no end of that is documented, and we
    count on a day. Without a time of its own an event is of now, and starts its flow.
    """

    url: str
    key: str
    revision: str
    by_address: bool = True
    templates: dict[str, str] = {}

    renders: ClassVar[bool] = True
    remembers: ClassVar[float] = DAY_LESS_MARGIN

    def request(self, letter: Letter) -> Request:
        """Write the call. Raises Unfit where the person has no address to be known by."""
        trigger, shown = letter.trigger, attributes(letter)
        if self.by_address and not letter.to:
            raise Unfit("the person has no address, by which Klaviyo would know them")
        person = {"email": letter.to} if self.by_address else {"external_id": trigger.user_id}
        name = self.templates.get(trigger.template_id, trigger.template_id)
        event: dict[str, Any] = {
            "unique_id": trigger.trigger_id,
            "properties": shown,
            "metric": {"data": {"type": "metric", "attributes": {"name": name}}},
            "profile": {"data": {"type": "profile", "attributes": person}},
        }
        if isinstance(total := shown.get("total"), int | float):
            event["value"] = total
            # A website may write "€" or "eur"; the whole event would be refused for it.
            if _CURRENCY.fullmatch(currency := str(shown.get("currency", "")).upper()):
                event["value_currency"] = currency
        headers = {
            "Authorization": f"Klaviyo-API-Key {self.key}",
            "Content-Type": "application/vnd.api+json",
            "Accept": "application/vnd.api+json",
            "revision": self.revision,
        }
        body = {"data": {"type": "event", "attributes": event}}
        return Request(f"{self.url}/api/events", headers, msgspec.json.encode(body))

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; a repeated `unique_id` is answered like a new one."""
        said = heard.json()
        errors = said.get("errors") if isinstance(said, dict) else None
        told = [
            f"{error.get('code', '')}: {error.get('detail') or error.get('title') or ''}"
            for error in (errors if isinstance(errors, list) else ())
            if isinstance(error, dict)
        ]
        return judged(heard, error="; ".join(told))
