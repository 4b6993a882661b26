"""Providers over HTTP: a vendor says what to ask and how to read the answer; how to ask is here, the same for all."""

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol

import aiohttp
import msgspec

from state.clock import SECOND, to_micros
from state.letters import Answer, Letter, Verdict

REFUSED_KEY_SECONDS: Final = 60.0
"""A wrong key is a fault of the configuration: letters wait until somebody has mended it, rather than being lost."""

_MOST_ANSWER_BYTES: Final = 64 * 1024
_TOLD: Final = 200

Clock = Callable[[], int]


class Request(NamedTuple):
    """One call."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


class Heard(NamedTuple):
    """An answer as it came. Header names are in lower case; `retry_after` is in seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    retry_after: float | None = None

    def json(self) -> Any:
        """Read the body; None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


class Vendor(Protocol):
    """What is particular to one provider; pure."""

    @property
    def remembers(self) -> float:
        """For how many seconds a repeated trigger id is taken once; 0 where no key is taken."""

    @property
    def renders(self) -> bool:
        """Tell whether the provider renders."""

    def request(self, letter: Letter) -> Request:
        """Write the call for a letter. Raises Unfit where there can be none."""

    def judge(self, heard: Heard) -> Answer:
        """Read an answer; `judged` does what most need."""


def judged(heard: Heard, provider_id: str = "", error: str = "") -> Answer:
    """Judge an answer by its status, with what the vendor's body said of the id or of the error.

    408, 429, 500 and 503 say that nothing was accepted; 502 and 504 come from a gateway that may have passed the call on. A
    refused key is the configuration's fault, not the letter's.
    """
    status = heard.status
    reason = f"{status} {shortened(error)}".strip()
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer(Verdict.ACCEPTED, str(status), provider_id)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Answer(Verdict.RETRY, f"{reason}: the provider refuses our key", retry_after=REFUSED_KEY_SECONDS)
    if status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}:
        return Answer(Verdict.AMBIGUOUS, reason, retry_after=heard.retry_after)
    busy = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if status in busy or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Answer(Verdict.RETRY, reason, retry_after=heard.retry_after)
    return Answer(Verdict.REJECTED, reason)


def shortened(error: str) -> str:
    """Shorten what a provider said, without the addresses in it: it goes into a record that outlives the person's consent."""
    words = ["(address)" if "@" in word else word for word in error.split()]
    return " ".join(words)[:_TOLD]


class HttpEsp:
    """A provider over HTTP; opened in the event loop that uses it.

    Args:
        vendor: what is particular to the provider.
        session: shared by all; whoever opened it closes it.
        timeout: seconds for the whole call, of which a third at most for the connection.
        clock: gives the time in microseconds UTC, for a Retry-After that is a date.
    """

    def __init__(self, vendor: Vendor, session: aiohttp.ClientSession, timeout: float, clock: Clock) -> None:
        self._vendor, self._session, self._clock = vendor, session, clock
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=timeout / 3)

    @property
    def remembers(self) -> float:
        """For how many seconds a repeated trigger id is taken once."""
        return self._vendor.remembers

    @property
    def renders(self) -> bool:
        """Tell whether the provider renders."""
        return self._vendor.renders

    async def send(self, letter: Letter) -> Answer:
        """Make the call."""
        asked = self._vendor.request(letter)
        calling = self._session.request(
            asked.method,
            asked.url,
            data=asked.body,
            headers=asked.headers,
            timeout=self._timeout,
            allow_redirects=False,
        )
        try:
            async with calling as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = await response.content.read(_MOST_ANSWER_BYTES)
                heard = Heard(response.status, headers, body, self._retry_after(headers.get("retry-after")))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            return Answer(Verdict.RETRY, f"no connection: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError) as error:
            return Answer(Verdict.AMBIGUOUS, f"no answer: {type(error).__name__}")
        return self._vendor.judge(heard)

    async def close(self) -> None:
        """Let go of nothing: the session is shared."""

    def _retry_after(self, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            pass
        try:
            when: datetime = parsedate_to_datetime(text)
        except ValueError:
            return None
        return max(0.0, (to_micros(when) - self._clock()) / SECOND)
