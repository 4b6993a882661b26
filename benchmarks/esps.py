"""Providers that misbehave, each a process of its own: `python -m benchmarks.esps mail|keyed PORT FILE [--calm]`.

What is accepted is in FILE, a line each, before the answer is given: it outlives SIGKILL. Unless calm, they are in turn well,
busy (429 or 451), broken (500 or 421), slow, and forgetful: they accept and hang up without an answer.
"""

import argparse
import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

MOODS: Final = ("well", "well", "busy", "well", "broken", "well", "slow", "well", "forgetful")
MOOD_SECONDS: Final = 0.7
SLOW_SECONDS: Final = 0.3


class Ledger:
    """What was accepted."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.known = {line.split()[0] for line in file.read_text().splitlines()}

    def accept(self, key: str) -> None:
        """Write a key down."""
        os.write(self._file, f"{key} {time.time():.6f}\n".encode())
        self.known.add(key)


class Mood:
    """How the provider is just now."""

    def __init__(self, *, calm: bool) -> None:
        self._calm = calm

    @property
    def now(self) -> str:
        """Name the mood."""
        return "well" if self._calm else MOODS[int(time.monotonic() / MOOD_SECONDS) % len(MOODS)]


class Mail:
    """A mail server, which knows no keys."""

    def __init__(self, ledger: Ledger, mood: Mood) -> None:
        self._ledger, self._mood = ledger, mood

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - its name
        """Take a letter, or not."""
        mood = self._mood.now
        if mood in {"busy", "broken"}:
            return "451 4.3.2 busy" if mood == "busy" else "421 4.3.0 broken"
        if mood == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        content = envelope.content or b""
        _, _, rest = (content if isinstance(content, bytes) else content.encode()).partition(b"Message-ID: <")
        self._ledger.accept(rest.partition(b"@")[0].decode())
        if mood == "forgetful":
            server.transport.abort()
        return "250 2.0.0 queued"


class Keyed:
    """An HTTP provider that takes an Idempotency-Key once."""

    def __init__(self, ledger: Ledger, mood: Mood) -> None:
        self._ledger, self._mood = ledger, mood

    async def take(self, request: web.Request) -> web.Response:
        """Take a letter, or not."""
        await request.read()
        mood, key = self._mood.now, request.headers["Idempotency-Key"]
        if mood == "busy":
            return web.json_response({"message": "too many requests"}, status=429, headers={"Retry-After": "1"})
        if mood == "broken":
            return web.json_response({"message": "broken"}, status=500)
        if mood == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if key not in self._ledger.known:
            self._ledger.accept(key)
        if mood == "forgetful" and request.transport is not None:
            request.transport.abort()
        return web.json_response({"id": f"email-{key}"})


async def serve(kind: str, port: int, ledger: Ledger, mood: Mood) -> None:
    """Serve until killed."""
    if kind == "mail":
        mail = Mail(ledger, mood)
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: SMTP(mail, enable_SMTPUTF8=True), "127.0.0.1", port)
    else:
        application = web.Application()
        application.router.add_post("/emails", Keyed(ledger, mood).take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["mail", "keyed"])
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--calm", action="store_true")
    given = parser.parse_args()
    given.file.touch()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.kind, given.port, Ledger(given.file), Mood(calm=given.calm)))
