"""People as the HTTP edge reads them from Redis: profiles, who told which address, and deletions with their proof.

A deletion's proof is a mark in the user's profile, set before the deletion is recorded in the log. Nothing takes the mark
away but the fold's own deletion of the whole profile, in the step that forgets the user's state; so when it is gone, it is
done. Addresses are kept as digests; a found user's profile says whether the address is still theirs.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from connectors.appending import Away, Place
from connectors.redis_profiles import profile_key
from state.clock import to_iso

MARK: Final = "deletion:"
MAX_SHARED: Final = 100
"""How many users one address finds; a mailbox that hundreds told is nobody's."""

_KNOWN_ADDRESSES: Final = 20_000


class Deletion(NamedTuple):
    """Where a deletion stands. Times are ISO 8601 UTC; `place` is that of its record in the log."""

    deletion_id: str
    requested_at: str
    place: Place
    is_done: bool


class RedisPeople:
    """A client of the profiles' Redis. Every method raises Away where it cannot be reached in time."""

    def __init__(self, url: str, *, timeout: float = 2.0) -> None:
        self._client: Any = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._noted: dict[tuple[str, str, str], None] = {}

    async def close(self) -> None:
        """Let go of Redis."""
        await self._client.aclose()

    async def note(self, told: Sequence[tuple[str, str, str]]) -> None:
        """Remember (tenant, address, user id); what was remembered lately costs nothing."""
        fresh = [each for each in told if each not in self._noted]
        if not fresh:
            return
        pipe = self._client.pipeline(transaction=False)
        for tenant, address, user_id in fresh:
            pipe.sadd(_address_key(tenant, address), user_id)
            pipe.sadd(_addresses_key(tenant, user_id), _digest(address))
        await self._run(pipe)
        self._noted.update(dict.fromkeys(fresh))
        while len(self._noted) > _KNOWN_ADDRESSES:
            del self._noted[next(iter(self._noted))]

    async def of_addresses(self, tenant: str, addresses: Sequence[str]) -> list[list[str]]:
        """Find the users who told each address, in order of their ids; their profiles say whether it still holds."""
        pipe = self._client.pipeline(transaction=False)
        for address in addresses:
            pipe.smembers(_address_key(tenant, address))
        return [sorted(found)[:MAX_SHARED] for found in await self._run(pipe)]

    async def profiles(self, tenant: str, user_ids: Sequence[str]) -> list[dict[str, str] | None]:
        """Read profiles, in the order asked; None for those unknown, or whose deletion was asked for."""
        pipe = self._client.pipeline(transaction=False)
        for user_id in user_ids:
            pipe.hgetall(profile_key(tenant, user_id))
        found = await self._run(pipe)
        return [None if not fields or any(map(_is_mark, fields)) else fields for fields in found]

    async def begin_deletion(self, tenant: str, user_id: str, deletion_id: str, now: int) -> None:
        """Mark a user's profile, which from here on is unknown to readers, and forget their addresses."""
        pipe = self._client.pipeline(transaction=False)
        pipe.smembers(_addresses_key(tenant, user_id))
        (digests,) = await self._run(pipe)
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(profile_key(tenant, user_id), MARK + deletion_id, to_iso(now))
        pipe.persist(profile_key(tenant, user_id))  # an expired mark would be taken for a deletion that is done
        for digest in digests:
            pipe.srem(_digest_key(tenant, digest), user_id)
        pipe.delete(_addresses_key(tenant, user_id))
        pipe.hset(_deletion_key(tenant, deletion_id), mapping={"requested_at": to_iso(now), "user_id": user_id})
        await self._run(pipe)
        self._noted = {each: None for each in self._noted if (each[0], each[2]) != (tenant, user_id)}

    async def recorded_deletion(self, tenant: str, deletion_id: str, place: Place) -> None:
        """Remember where in the log a deletion stands."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hset(_deletion_key(tenant, deletion_id), mapping=place._asdict())
        await self._run(pipe)

    async def withdraw_deletion(self, tenant: str, user_id: str, deletion_id: str) -> None:
        """Take a mark back: the deletion could not be recorded, and its sender was told so."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hdel(profile_key(tenant, user_id), MARK + deletion_id)
        pipe.delete(_deletion_key(tenant, deletion_id))
        await self._run(pipe)

    async def deletion(self, tenant: str, deletion_id: str) -> Deletion | None:
        """Look where a deletion stands; once it is done, nothing of the user is kept here either."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(_deletion_key(tenant, deletion_id))
        (kept,) = await self._run(pipe)
        if "position" not in kept:
            return None
        is_done = True
        if "user_id" in kept:
            pipe = self._client.pipeline(transaction=False)
            pipe.hexists(profile_key(tenant, kept["user_id"]), MARK + deletion_id)
            is_done = not (await self._run(pipe))[0]
            if is_done:
                pipe = self._client.pipeline(transaction=False)
                pipe.hdel(_deletion_key(tenant, deletion_id), "user_id")
                await self._run(pipe)
        return Deletion(deletion_id, kept["requested_at"], Place(int(kept["partition"]), kept["position"]), is_done)

    async def _run(self, pipe: Any) -> list[Any]:
        try:
            return list(await pipe.execute())
        except (redis.RedisError, OSError) as error:
            raise Away("profiles cannot be reached") from error


def _is_mark(field: str) -> bool:
    return field.startswith(MARK)


def _digest(address: str) -> str:
    return hashlib.blake2b(address.strip().lower().encode(errors="replace"), digest_size=16).hexdigest()


def _address_key(tenant: str, address: str) -> str:
    return _digest_key(tenant, _digest(address))


def _digest_key(tenant: str, digest: str) -> str:
    return f"waxmark:address:{tenant}:{digest}"


def _addresses_key(tenant: str, user_id: str) -> str:
    return f"waxmark:addresses:{tenant}:{user_id}"


def _deletion_key(tenant: str, deletion_id: str) -> str:
    return f"waxmark:deletion:{tenant}:{deletion_id}"
