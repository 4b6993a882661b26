"""Profiles for whoever composes an email, and the deletion of a person with its proof."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Refused, bad_request, unavailable
from api.bodies import body
from api.doors import Door, Doors
from api.keys import Reader
from connectors.appending import Appender, Away, Entry, Unavailable
from connectors.redis_people import Deletion, RedisPeople
from state.wire import Delete, encoder

MAX_PROFILES: Final = 1_000
MAX_ID: Final = 255

_TEXTS: Final = frozenset({"email", "consent", "as_of", "first_seen", "last_seen"})
"""Fields that stay as they are; of the others, what reads as JSON is JSON."""

_json: Final = msgspec.json.Encoder(order="deterministic").encode

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Field = Annotated[str, Meta(min_length=1, max_length=100)]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """Which profiles, by user id and by address, and which of their fields; all where none are named."""

    user_ids: Annotated[list[Id], Meta(max_length=MAX_PROFILES)] = []
    emails: Annotated[list[Id], Meta(max_length=MAX_PROFILES)] = []
    fields: Annotated[list[Field], Meta(max_length=100)] = []


R = TypeVar("R")

_asked: Final = msgspec.json.Decoder(Asked)


class Profiles:
    """The handlers of profiles and deletions. `clock` gives the time in microseconds UTC."""

    def __init__(
        self, people: RedisPeople, log: Appender, doors: Doors, clock: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self._people, self._log, self._doors, self._clock, self._new_id = people, log, doors, clock, new_id

    async def one(self, request: Request) -> Response:
        """Read one profile."""
        tenant = self._reader(request).owner.tenant
        user_id = request.path_params["user_id"]
        (found,) = await self._found(tenant, [user_id])
        if found is None:
            raise _unknown("user")
        return _tagged(request, _profile(user_id, found, _fields(request)))

    async def of_address(self, request: Request) -> Response:
        """Read the profiles of an email address: of everyone whose address it is now."""
        tenant = self._reader(request).owner.tenant
        address = request.query_params.get("email", "")
        if not address:
            raise bad_request("name an address: ?email=")
        (profiles,) = await self._sharing(tenant, [address], _fields(request))
        if not profiles:
            raise _unknown("address")
        return _tagged(request, {"profiles": profiles})

    async def many(self, request: Request) -> Response:
        """Read up to 1,000 profiles."""
        tenant = self._reader(request).owner.tenant
        try:
            asked = _asked.decode(await body(dict(request.scope["headers"]), request.receive))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise bad_request(str(error).replace("`", "")) from None
        if len(asked.user_ids) + len(asked.emails) > MAX_PROFILES:
            raise bad_request(f"at most {MAX_PROFILES} profiles at once")
        found = await self._found(tenant, asked.user_ids)
        named = list(zip(asked.user_ids, found, strict=True))
        profiles = [_profile(user_id, fields, asked.fields) for user_id, fields in named if fields is not None]
        unknown = {"user_ids": [user_id for user_id, fields in named if fields is None], "emails": list[str]()}
        for address, sharing in zip(asked.emails, await self._sharing(tenant, asked.emails, asked.fields), strict=True):
            profiles += sharing
            if not sharing:
                unknown["emails"].append(address)
        return _answer(200, {"profiles": profiles, "unknown": unknown})

    async def delete(self, request: Request) -> Response:
        """Record in the log that a person is to be forgotten; 202 once the log has it."""
        tenant = self._eraser(request).owner.tenant
        user_id, deletion_id, now = request.path_params["user_id"], self._new_id(), self._clock()
        if not 0 < len(user_id) <= MAX_ID:
            raise bad_request(f"a user id has 1 to {MAX_ID} characters")
        record = encoder.encode(Delete(tenant=tenant, user_id=user_id))
        await _kept(self._people.begin_deletion(tenant, user_id, deletion_id, now))
        try:
            (place,) = await self._log.append([Entry(user_id, record)])
        except Unavailable as away:
            await _kept(self._people.withdraw_deletion(tenant, user_id, deletion_id))
            raise unavailable(str(away), away.retry_after) from away
        await _kept(self._people.recorded_deletion(tenant, deletion_id, place))
        found = await _kept(self._people.deletion(tenant, deletion_id))
        return _answer(202, _proof(found), [("location", f"/v1/deletions/{deletion_id}")])

    async def deletion(self, request: Request) -> Response:
        """Say where a deletion stands: the proof that it was recorded, and that it is done."""
        tenant = self._eraser(request).owner.tenant
        found = await _kept(self._people.deletion(tenant, request.path_params["deletion_id"]))
        if found is None:
            raise _unknown("deletion")
        return _answer(200, _proof(found))

    def _reader(self, request: Request) -> Door[Reader]:
        door = self._doors.reader(dict(request.scope["headers"]))
        door.pass_through(1, self._clock())
        return door

    def _eraser(self, request: Request) -> Door[Reader]:
        door = self._reader(request)
        if not door.owner.may_delete:
            raise Refused(403, "forbidden", "this key may read, and not delete")
        return door

    async def _found(self, tenant: str, user_ids: list[str]) -> list[dict[str, str] | None]:
        return await _kept(self._people.profiles(tenant, user_ids)) if user_ids else []

    async def _sharing(self, tenant: str, addresses: list[str], fields: list[str]) -> list[list[dict[str, Any]]]:
        """Read the profiles of each address, of those whose it is now."""
        told = await _kept(self._people.of_addresses(tenant, addresses)) if addresses else []
        everyone = sorted({user_id for user_ids in told for user_id in user_ids})
        found = dict(zip(everyone, await self._found(tenant, everyone), strict=True))
        return [
            [
                _profile(user_id, profile, fields)
                for user_id in user_ids
                if (profile := found[user_id]) is not None and _is_of(profile, address)
            ]
            for address, user_ids in zip(addresses, told, strict=True)
        ]


async def _kept(reading: Awaitable[R]) -> R:
    try:
        return await reading
    except Away as away:
        raise unavailable(str(away), away.retry_after) from away


def _is_of(profile: dict[str, str], address: str) -> bool:
    return profile.get("email", "").strip().lower() == address.strip().lower()


def _fields(request: Request) -> list[str]:
    return [name for name in request.query_params.get("fields", "").split(",") if name]


def _profile(user_id: str, found: dict[str, str], fields: Iterable[str]) -> dict[str, Any]:
    names = [name for name in fields if name in found] or ([] if fields else list(found))
    return {"user_id": user_id, **{name: _value(name, found[name]) for name in names}}


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _proof(found: Deletion | None) -> dict[str, Any]:
    if found is None:
        raise unavailable("the deletion is recorded, its proof is not yet", 1)
    place = found.place._asdict()
    status = "done" if found.is_done else "recorded"
    return {"deletion_id": found.deletion_id, "status": status, "requested_at": found.requested_at, "record": place}


def _unknown(what: str) -> Refused:
    return Refused(404, "not_found", f"no such {what}")


def _tagged(request: Request, content: dict[str, Any]) -> Response:
    data = _json(content)
    tag = f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"'
    asked = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if tag in asked or "*" in asked:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="application/json", headers=headers)


def _answer(status: int, content: dict[str, Any], headers: Iterable[tuple[str, str]] = ()) -> Response:
    return Response(_json(content), status, dict(headers), "application/json")
