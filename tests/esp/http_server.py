"""An HTTP server for tests that behaves as vendors do: it takes keys, and it misbehaves when it is told to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import web


class Call(NamedTuple):
    """A call as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Reply(NamedTuple):
    """What to answer; `after` seconds later, or not at all where `hangs_up`."""

    status: int = 202
    body: bytes | dict[str, Any] = b""
    headers: Mapping[str, str] = _NONE
    after: float = 0.0
    hangs_up: bool = False
    breaks_off: bool = False


class VendorServer:
    """Counts what it accepted by key; `replies` are given to the next calls instead of the usual answer.

    Args:
        key_of: finds the idempotency key of a call; without one, every call is accepted anew.
        usual: the answer to a call that is accepted.
        again: the answer to one whose key is known; the usual one if left out.
    """

    def __init__(
        self,
        key_of: Callable[[Call], str] | None = None,
        usual: Callable[[Call], Reply] = lambda _: Reply(),
        again: Callable[[Call], Reply] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.accepted: list[str] = []
        self.replies: deque[Reply] = deque()
        self.url = ""
        self._key_of, self._usual, self._again = key_of, usual, again or usual

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a call. One that is accepted is, whatever becomes of the answer."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, request.raw_path, headers, await request.read())
        self.calls.append(call)
        key = self._key_of(call) if self._key_of else str(len(self.calls))
        known = key in self.accepted
        reply = self.replies.popleft() if self.replies else (self._again if known else self._usual)(call)
        if (reply.status < 300 or reply.hangs_up) and not known:
            self.accepted.append(key)
        await asyncio.sleep(reply.after)
        assert request.transport is not None
        if reply.hangs_up:
            request.transport.close()
        if isinstance(reply.body, dict):
            return web.json_response(reply.body, status=reply.status, headers=reply.headers)
        if reply.breaks_off:
            response = web.StreamResponse(status=reply.status, headers={**reply.headers, "Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"id": ')
            request.transport.close()
            return response
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)


@asynccontextmanager
async def serving(server: VendorServer) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve on a free port, and yield a session to call it with."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, handler_cancellation=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            yield session
    finally:
        await runner.cleanup()
