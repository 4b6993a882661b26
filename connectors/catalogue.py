"""The catalogue in Redis: what each product costs now, and whether there is any; hashes `catalogue:{tenant}:{product_id}`.

What is not told is absent, and a product without a stock counts as available: a shop that loads prices alone has not sold out.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from connectors.appending import Away
from connectors.catalogue_file import Product
from connectors.redis_people import MARK
from connectors.redis_profiles import profile_key
from connectors.redis_streams import connect
from state.clock import to_iso

FIELDS: Final = ("name", "price", "currency", "image_url", "url", "stock", "updated_at")
MAX_LINES: Final = 50
"""As many as a cart has."""

_NUMBERS: Final = frozenset({"price", "stock"})
_BATCH: Final = 1000

_CART: Final = f"""
local profile = redis.call('HGETALL', KEYS[1])
local cart, orders = '[]', '0'
if #profile == 0 then return false end
for i = 1, #profile, 2 do
  local name = profile[i]
  if string.sub(name, 1, {len(MARK)}) == '{MARK}' then return false end
  if name == 'cart' then cart = profile[i + 1] elseif name == 'orders' then orders = profile[i + 1] end
end
local products = {{}}
for i, line in ipairs(cjson.decode(cart)) do
  if i > {MAX_LINES} then break end
  products[i] = redis.call('HMGET', ARGV[1] .. line.product_id, {", ".join(f"'{name}'" for name in FIELDS)})
end
return {{cart, orders, products}}
"""
"""The products are named in the profile alone, so asking from here would take two round trips."""

_lines: Final = msgspec.json.Decoder(list[dict[str, Any]])


class Cart(NamedTuple):
    """A person's cart as it is now: its lines as the profile has them, each with what the catalogue says, and their orders."""

    lines: list[tuple[dict[str, Any], dict[str, Any]]]
    orders: int


class Catalogue:
    """The catalogue for commands; waits for Redis. Raises redis.RedisError, and UnsafeRedis at once."""

    def __init__(self, url: str) -> None:
        self._client: Any = connect(url)

    def load(self, tenant: str, products: Iterable[Product], now: int) -> int:
        """Write products, and return how many. What a product does not tell stays as it is; what it clears is taken out.

        Loaded twice is loaded once. A load that breaks off has written some of them: load again.
        """
        count, remaining = 0, iter(products)
        while batch := list(islice(remaining, _BATCH)):
            pipe = self._client.pipeline(transaction=False)
            for product in batch:
                key = product_key(tenant, product.product_id)
                pipe.hset(key, mapping={"updated_at": to_iso(now), **product.fields})
                if product.cleared:
                    pipe.hdel(key, *product.cleared)
            pipe.execute()
            count += len(batch)
        return count

    def lookup(self, tenant: str, product_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Read products by id, in one round trip; those that are unknown are left out."""
        wanted = list(dict.fromkeys(product_ids))
        pipe = self._client.pipeline(transaction=False)
        for product_id in wanted:
            pipe.hmget(product_key(tenant, product_id), FIELDS)
        return _known(wanted, pipe.execute())

    def close(self) -> None:
        """Let go of Redis."""
        self._client.close()


class AsyncCatalogue:
    """The catalogue for servers and delivery. Every method raises Away where Redis cannot be reached in time.

    Of more who ask at once than there are connections the rest wait their turn: redis-py's own pool refuses the 101st.
    """

    def __init__(self, url: str, *, timeout: float = 2.0, connections: int = 32) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self._client: Any = Redis.from_pool(pool)
        self._cart = self._client.register_script(_CART)

    async def lookup(self, tenant: str, product_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Read products by id, in one round trip; those that are unknown are left out."""
        wanted = list(dict.fromkeys(product_ids))
        if not wanted:
            return {}
        pipe = self._client.pipeline(transaction=False)
        for product_id in wanted:
            pipe.hmget(product_key(tenant, product_id), FIELDS)
        try:
            return _known(wanted, await pipe.execute())
        except (redis.RedisError, OSError) as error:
            raise Away("the catalogue cannot be reached") from error

    async def cart(self, tenant: str, user_id: str) -> Cart | None:
        """Read a person's cart and its products, in one round trip; None for one who is unknown or asked to be deleted."""
        try:
            found = await self._cart(keys=[profile_key(tenant, user_id)], args=[product_key(tenant, "")])
        except (redis.RedisError, OSError) as error:
            raise Away("profiles cannot be reached") from error
        if found is None:
            return None
        cart, orders, products = found
        lines = _lines.decode(cart)[:MAX_LINES]
        return Cart([(line, _typed(values)) for line, values in zip(lines, products, strict=True)], int(orders))

    async def is_ready(self) -> bool:
        """Tell whether Redis answers."""
        try:
            await self._client.ping()
        except (redis.RedisError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Let go of Redis."""
        await self._client.aclose()


def product_key(tenant: str, product_id: str) -> str:
    """Name a product's hash."""
    return f"catalogue:{tenant}:{product_id}"


def _known(product_ids: list[str], found: Sequence[Sequence[bytes | None]]) -> dict[str, dict[str, Any]]:
    typed = zip(product_ids, map(_typed, found), strict=True)
    return {product_id: product for product_id, product in typed if product}


def _typed(values: Sequence[bytes | None]) -> dict[str, Any]:
    told = {
        name: value.decode(errors="replace") for name, value in zip(FIELDS, values, strict=True) if value is not None
    }
    return {name: float(text) if name in _NUMBERS else text for name, text in told.items()}
