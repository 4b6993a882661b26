"""The demo's inbox: a mail server that takes everything, and remembers the last letters and how long they took."""

from collections import deque
from email import message_from_bytes, policy
from time import time_ns
from typing import Any, Final, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope, Session

_REMEMBERED: Final = 10_000
_SHOWN: Final = 8


class Arrived(NamedTuple):
    """A letter that came: for whom, what about, for which trigger, and when in microseconds UTC."""

    to: str
    subject: str
    trigger_id: str
    at: int


class Inbox:
    """Every mailbox there is, on a port of this machine; a context manager."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self.last: deque[Arrived] = deque(maxlen=_SHOWN)
        self._times: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED)
        self._controller = Controller(self, "127.0.0.1", port, enable_SMTPUTF8=True)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop(no_assert=True)

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - its name
        """Take a letter."""
        content = envelope.content or b""
        message = message_from_bytes(content if isinstance(content, bytes) else content.encode(), policy=policy.default)
        trigger_id = str(message["Message-ID"] or "").strip("<>").partition("@")[0]
        arrived = Arrived(", ".join(envelope.rcpt_tos), str(message["Subject"]), trigger_id, time_ns() // 1000)
        self.count += 1
        self.last.append(arrived)
        self._times.append((trigger_id, arrived.at))
        return "250 2.0.0 in the inbox"

    def taken(self, decided: dict[str, int]) -> list[float]:
        """Say in seconds, in order, how long letters took from their decision, of those whose decision is known."""
        # Copied first: letters come in on the server's own thread.
        return sorted((at - decided[id_]) / 1e6 for id_, at in tuple(self._times) if id_ in decided)
