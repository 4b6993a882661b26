"""The door for webhooks: check the signature, map, find whose it is, append."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.answers import Refused, bad_request, unauthorised, unavailable
from api.bodies import body
from api.intake import Intake
from api.keys import Scheme, Webhook
from api.messages import Envelope
from api.rates import Bucket
from api.webhooks.mapping import Told, Translation, apply, load
from api.webhooks.signatures import Verify, verifier
from connectors.appending import Away
from connectors.redis_people import RedisPeople

MAX_BODY: Final = 2 * 1024 * 1024
"""Other systems put whole orders, or thousands of items, into one request."""

_OURS: Final = {Scheme.SHOPIFY: "shopify", Scheme.STRIPE: "stripe", Scheme.SENDGRID: "sendgrid"}
_log: Final = logging.getLogger("waxmark.webhooks")


class _Hook(NamedTuple):
    webhook: Webhook
    verify: Verify
    translation: Translation
    bucket: Bucket


class Webhooks:
    """The handler of `/v1/webhooks/{name}`.

    Raises KeysError where a webhook's secret or mapping file cannot be used; `folder` is where mapping files are looked
    for. `clock` gives the time in microseconds UTC.
    """

    def __init__(
        self,
        webhooks: Sequence[Webhook],
        folder: Path,
        intake: Intake,
        people: RedisPeople,
        clock: Callable[[], int],
    ) -> None:
        self._hooks = {
            each.name: _Hook(
                each,
                verifier(each),
                load(each.mapping or _OURS.get(each.scheme, ""), folder),
                Bucket(each.events_per_second, each.burst),
            )
            for each in webhooks
        }
        self._intake, self._people, self._clock = intake, people, clock

    async def __call__(self, request: Request) -> Response:
        """Take one call in.

        What can never be understood is counted and passed over with 200: these senders repeat a refused call for days, and
        some then switch the webhook off.
        """
        hook = self._hooks.get(request.path_params["name"])
        if hook is None:
            raise Refused(404, "not_found", "no such webhook")
        now = self._clock()
        data = await body(dict(request.scope["headers"]), request.receive, MAX_BODY)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not hook.verify(headers, data, now):
            raise unauthorised("the signature does not fit")
        try:
            posted = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise bad_request("the body is not JSON") from None
        told = list(apply(hook.translation, posted, headers, hook.webhook.name))
        wait = hook.bucket.take(len(told), now)
        if wait:
            raise Refused(429, "rate_limited", "this webhook is over its rate limit", retry_after=wait)
        messages, nobodys = await self._addressed(hook.webhook.tenant, told)
        taken = await self._intake.take(messages, Envelope(hook.webhook.tenant, now))
        for _, why in taken.refused:
            _log.warning("webhook message refused", extra={"webhook": hook.webhook.name, "reason": why.reason.value})
        ignored = {"accepted": taken.accepted, "refused": len(taken.refused), "unknown_people": nobodys}
        return JSONResponse({"success": True, **ignored})

    async def _addressed(self, tenant: str, told: list[Told]) -> tuple[list[bytes], int]:
        """Say whose messages are that name only an address: everyone's who told it. Also count those that are nobody's."""
        messages: list[bytes] = []
        nobodys = 0
        for message, email in told:
            if "userId" in message or "anonymousId" in message:
                messages.append(msgspec.json.encode(message))
                continue
            users = await self._users(tenant, email)
            messages += [msgspec.json.encode(message | {"userId": user_id}) for user_id in users]
            nobodys += not users
        return messages, nobodys

    async def _users(self, tenant: str, email: str) -> list[str]:
        try:
            return (await self._people.of_addresses(tenant, [email]))[0] if email else []
        except Away as away:
            raise unavailable(str(away), away.retry_after) from away
