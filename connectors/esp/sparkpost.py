"""SparkPost: sends what was rendered here, once per Idempotency-Key."""

from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec

from connectors.esp.http import DAY_LESS_MARGIN, Heard, Request, judged, mailbox, one_click
from state.letters import Answer, Letter, Unfit, Verdict

_OTHER_BODY: Final = "1600"
"""Its key was used, for another text: the letter of a call whose answer was lost, made again with the prices of now."""
_UNDER_WAY: Final = "1601"
_OVER_THE_LIMIT: Final = 420
"""The account's daily or hourly limit; not a status of HTTP."""
_LIMIT_SECONDS: Final = 60.0


class SparkPost(msgspec.Struct, frozen=True, kw_only=True):
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
            raise Unfit("SparkPost needs a rendered email")
        if not letter.to:
            raise Unfit("the person has no address")
        content: dict[str, Any] = {
            "from": mailbox(self.sender),
            # A header goes through its template engine whatever the options say; "{{" in a product's name must not.
            "subject": email.subject.replace("{{", "{ {"),
            "html": email.html,
            "text": email.text,
            "headers": one_click(letter.unsubscribe_url),
        }
        if self.reply_to:
            content["reply_to"] = self.reply_to
        body = {
            "campaign_id": trigger.campaign_id,
            "metadata": {"trigger_id": trigger.trigger_id},
            "recipients": [{"address": {"email": letter.to}}],
            # It would fill in what stands between braces, and leave holes where it knows of nothing.
            "options": {"perform_substitutions": False},
            "content": content,
        }
        headers = {
            "Authorization": self.key,
            "Content-Type": "application/json",
            "Idempotency-Key": trigger.trigger_id,
        }
        return Request(f"{self.url}/api/v1/transmissions", headers, msgspec.json.encode(body))

    def judge(self, heard: Heard) -> Answer:
        """Read the answer; one that is given again says so in a header."""
        said = heard.json()
        body: dict[str, Any] = said if isinstance(said, dict) else {}
        codes, error = _errors(body)
        if heard.status == HTTPStatus.CONFLICT and _OTHER_BODY in codes:
            return Answer(Verdict.DUPLICATE, f"{heard.status} {_OTHER_BODY}")
        if heard.status == HTTPStatus.CONFLICT and _UNDER_WAY in codes:
            return Answer(Verdict.AMBIGUOUS, f"{heard.status} {_UNDER_WAY}", retry_after=heard.retry_after)
        if heard.status == _OVER_THE_LIMIT:
            return Answer(
                Verdict.RETRY, f"{heard.status} sending limit", retry_after=heard.retry_after or _LIMIT_SECONDS
            )
        results = body.get("results")
        results = results if isinstance(results, dict) else {}
        answer = judged(heard, str(results.get("id") or ""), error)
        if answer.verdict is not Verdict.ACCEPTED:
            return answer
        if results.get("total_accepted_recipients") == 0:
            return Answer(Verdict.REJECTED, f"{heard.status} no recipient was accepted")
        again = heard.headers.get("x-idempotent-replayed", "").lower() == "true"
        return answer._replace(verdict=Verdict.DUPLICATE) if again else answer


def _errors(body: dict[str, Any]) -> tuple[set[str], str]:
    errors = body.get("errors")
    told = [error for error in (errors if isinstance(errors, list) else ()) if isinstance(error, dict)]
    texts = [f"{error.get('message', '')} {error.get('description') or ''}".strip() for error in told]
    return {str(error.get("code", "")) for error in told}, "; ".join(texts)
