"""Providers over HTTP: a vendor says what to ask and how to read the answer; how to ask is here, the same for all."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parseaddr, parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from state.clock import SECOND, to_micros
from state.letters import Answer, Letter, Unfit, Verdict

REFUSED_KEY_SECONDS: Final = 60.0
"""A wrong key is a fault of the configuration: letters wait until somebody has mended it, rather than being lost."""

DAY_LESS_MARGIN: Final = 23 * 3600.0
"""How long we count on a key that is known for 24 hours: clocks differ, and a call takes its time."""

_MOST_ANSWER_BYTES: Final = 64 * 1024
_MOST_RETRY_AFTER: Final = 24 * 3600.0
_TOLD: Final = 200
_TELLING: Final = 4
"""Letters of an id from which on it tells of somebody; a shorter one may be part of any word."""
_ADDRESS: Final = re.compile(r"\S*(?:@|%40)\S*")

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
    refused key and an address that moved are the configuration's fault, not the letter's.
    """
    status = heard.status
    reason = f"{status} {shortened(error)}".strip()
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer(Verdict.ACCEPTED, str(status), provider_id)
    if status < HTTPStatus.BAD_REQUEST:
        return Answer(Verdict.RETRY, f"{status}: the provider has another address", retry_after=REFUSED_KEY_SECONDS)
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
    return " ".join(_ADDRESS.sub("(address)", error).split())[:_TOLD]


def one_click(unsubscribe_url: str | None) -> dict[str, str]:
    """Write the headers by which mail programs unsubscribe (RFC 8058), if there is an address for it."""
    if not unsubscribe_url:
        return {}
    return {"List-Unsubscribe": f"<{unsubscribe_url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def mailbox(written: str) -> dict[str, str]:
    """Take an address with a name apart, as most vendors want it."""
    name, address = parseaddr(written)
    return {"email": address, "name": name} if name else {"email": address}


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
        # `connect` covers names and the wait for a connection too: nothing has been sent when it runs out.
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=timeout / 3, sock_connect=timeout / 3)

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
        try:
            asked = self._vendor.request(letter)
        except Unfit as unfit:
            return Answer(Verdict.REJECTED, _without(str(unfit), letter))
        if _climbs(asked.url):
            return Answer(Verdict.REJECTED, "no call can be written: its address would lead elsewhere")
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
                heard = await self._read(response)
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
        ) as error:  # a wrong certificate is a ValueError too
            return Answer(Verdict.RETRY, f"no connection: {type(error).__name__}")
        except (aiohttp.InvalidURL, ValueError) as error:  # an address or a header that no template should have made
            return Answer(Verdict.REJECTED, f"no call can be written: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(Verdict.AMBIGUOUS, f"no answer: {type(error).__name__}")
        answer = self._vendor.judge(heard)
        return answer._replace(reason=_without(answer.reason, letter))

    async def _read(self, response: aiohttp.ClientResponse) -> Heard:
        """Read an answer; where the body breaks off, the status has been heard all the same."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = b""
        try:
            while chunk := await response.content.read(_MOST_ANSWER_BYTES - len(body)):
                body += chunk
        except (aiohttp.ClientError, TimeoutError, OSError):
            body = b""
        return Heard(response.status, headers, body, self._retry_after(headers.get("retry-after")))

    async def close(self) -> None:
        """Let go of nothing: the session is shared."""

    def _retry_after(self, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            return min(max(0.0, float(text)), _MOST_RETRY_AFTER)
        except ValueError:
            pass
        try:
            when: datetime = parsedate_to_datetime(text)
        except ValueError:
            return None
        return min(max(0.0, (to_micros(when) - self._clock()) / SECOND), _MOST_RETRY_AFTER)


def _climbs(url: str) -> bool:
    """Tell whether a part of the path is a dot or two, such as somebody's id: it would be resolved, into another call."""
    try:
        return any(unquote(part) in {".", ".."} for part in urlsplit(url).path.split("/"))
    except ValueError:  # no address at all, which is told apart when it is called
        return False


def _without(reason: str, letter: Letter) -> str:
    """Take out who the letter was for; providers like to repeat it."""
    for told in (letter.to, letter.trigger.user_id):
        if len(told) >= _TELLING:
            reason = reason.replace(told, "(person)")
    return reason
