"""Mail by SMTP, by the standard library on threads: it lets us see how far a letter came when a connection breaks.

aiosmtplib sends a message in one step, and a server that dies in it leaves open whether the final dot was sent: what is surely
not accepted, and may be sent again, could not be told from what is ambiguous.
"""

import asyncio
import queue
import re
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from typing import Final, NamedTuple

from connectors.esp.dkim import DkimSigner
from connectors.esp.http import REFUSED_KEY_SECONDS, Clock, shortened
from state.clock import SECOND, to_datetime
from state.letters import Answer, Letter, Unfit, Verdict

_ADDRESS: Final = re.compile(r'[^\s@<>()\[\],;:"\\]+@[^\s@<>()\[\],;:"\\]+')
_OK: Final = 250
_GO_ON: Final = 354
_ACCEPTED: Final = frozenset({250, 251, 252})
_CREDENTIALS: Final = frozenset({454, 530, 534, 535, 538})
_DONE: Final = range(200, 300)
_NOT_YET: Final = 400
_PERMANENT: Final = 500
_BROKEN: Final = (smtplib.SMTPServerDisconnected, OSError)


class Security(StrEnum):
    """How a connection is protected."""

    STARTTLS = "starttls"
    """Begins in the clear, and goes no further without TLS."""
    TLS = "tls"
    NONE = "none"


class Mailbox(NamedTuple):
    """Where mail goes in, and as whom. `domain` is that of the Message-IDs, `sender` the envelope's (bounces go there)."""

    host: str
    port: int
    sender: str
    from_: str
    reply_to: str
    domain: str
    security: Security = Security.STARTTLS
    username: str = ""
    password: str = ""
    hello: str | None = None


class SmtpEsp:
    """A mail server. It takes no keys: a letter whose answer was lost is ambiguous.

    Args:
        mailbox: where and as whom.
        signer: signs every letter, if given.
        connections: how many at a time.
        timeout: seconds for each step of the conversation.
        clock: gives the time in microseconds UTC.
        trust: certificates to trust instead of the system's.
    """

    remembers: Final = 0.0
    renders: Final = False

    def __init__(
        self,
        mailbox: Mailbox,
        signer: DkimSigner | None,
        connections: int,
        timeout: float,
        clock: Clock,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._mailbox, self._signer, self._timeout, self._clock = mailbox, signer, timeout, clock
        self._trust = trust or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="smtp")
        self._idle: queue.LifoQueue[smtplib.SMTP] = queue.LifoQueue()

    async def send(self, letter: Letter) -> Answer:
        """Send one letter."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, letter)

    async def close(self) -> None:
        """Say goodbye on all connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            _hang_up(self._idle.get())

    def _send(self, letter: Letter) -> Answer:
        try:
            message = self._written(letter)
        except (ValueError, MessageError, Unfit) as error:
            return Answer(Verdict.REJECTED, f"no message can be written: {shortened(str(error))}")
        try:
            connection = self._ready(letter.to)
        except Unfit as unfit:
            return Answer(Verdict.REJECTED, str(unfit))
        except smtplib.SMTPResponseException as refused:
            return _refused(refused.smtp_code, refused.smtp_error)
        except (smtplib.SMTPException, *_BROKEN) as error:
            return Answer(Verdict.RETRY, f"no connection: {type(error).__name__}")
        answer, is_sound = _handed_over(connection, letter.to, message)
        if is_sound:
            self._idle.put(connection)
        else:
            connection.close()
        return answer

    def _ready(self, to: str) -> smtplib.SMTP:
        """Find a connection, or make one, and begin a letter on it; one that the server closed while it was idle is no loss."""
        while True:
            try:
                connection, is_fresh = self._idle.get_nowait(), False
            except queue.Empty:
                connection, is_fresh = self._connected(), True
            try:
                options = [] if to.isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
                if options and not connection.has_extn("smtputf8"):
                    self._idle.put(connection)
                    raise Unfit("the server takes no international addresses")
                code, said = connection.mail(self._mailbox.sender, options)
                if code == _OK:
                    return connection
            except _BROKEN:
                connection.close()
                if is_fresh:
                    raise
                continue
            connection.close()
            if is_fresh:
                raise smtplib.SMTPResponseException(code, said)

    def _connected(self) -> smtplib.SMTP:
        mailbox, timeout = self._mailbox, self._timeout
        connection: smtplib.SMTP
        if mailbox.security is Security.TLS:
            connection = smtplib.SMTP_SSL(
                mailbox.host, mailbox.port, mailbox.hello, timeout=timeout, context=self._trust
            )
        else:
            connection = smtplib.SMTP(mailbox.host, mailbox.port, mailbox.hello, timeout)
        try:
            if mailbox.security is Security.STARTTLS:
                connection.starttls(context=self._trust)
            connection.ehlo_or_helo_if_needed()
            if mailbox.username:
                _log_in(connection, mailbox)
        except BaseException:
            connection.close()
            raise
        return connection

    def _written(self, letter: Letter) -> bytes:
        email, mailbox, now = letter.email, self._mailbox, self._clock()
        if email is None:
            raise Unfit("SMTP needs a rendered email")
        if _ADDRESS.fullmatch(letter.to) is None:
            raise Unfit("the person's address is none")
        message = EmailMessage(policy.SMTP if letter.to.isascii() else policy.SMTPUTF8)
        message["From"] = mailbox.from_
        if mailbox.reply_to:
            message["Reply-To"] = mailbox.reply_to
        message["To"] = letter.to
        message["Subject"] = email.subject
        message["Date"] = format_datetime(to_datetime(now))
        message["Message-ID"] = f"<{letter.trigger.trigger_id}@{mailbox.domain}>"
        message["Feedback-ID"] = f"{letter.trigger.campaign_id}:{letter.trigger.tenant}:waxmark"
        if letter.unsubscribe_url:
            message["List-Unsubscribe"] = f"<{letter.unsubscribe_url}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(email.text, cte="base64")
        message.add_alternative(email.html, subtype="html", cte="base64")
        written = message.as_bytes()
        return written if self._signer is None else self._signer.signed(written, now // SECOND)


def _log_in(connection: smtplib.SMTP, mailbox: Mailbox) -> None:
    """Log in. Servers that hang up on a wrong password, rather than saying so, are understood."""
    try:
        connection.login(mailbox.username, mailbox.password)
    except smtplib.SMTPServerDisconnected as error:
        raise smtplib.SMTPAuthenticationError(535, "hung up at the login") from error


def _handed_over(connection: smtplib.SMTP, to: str, message: bytes) -> tuple[Answer, bool]:
    """Hand over a letter that has been begun; say what came of it, and whether the connection is good for another."""
    try:
        code, said = connection.rcpt(to)
        if code in _ACCEPTED:
            code, said = connection.docmd("DATA")
        if code != _GO_ON:
            return _refused(code, said), _is_reset(connection)
        connection.send(_stuffed(message))
    except (smtplib.SMTPException, *_BROKEN) as error:
        return Answer(Verdict.RETRY, f"the connection broke before the end: {type(error).__name__}"), False
    try:
        connection.send(b".\r\n")
        code, said = connection.getreply()
    except (smtplib.SMTPException, *_BROKEN) as error:
        return Answer(Verdict.AMBIGUOUS, f"no answer after the end: {type(error).__name__}"), False
    if code in _DONE:
        return Answer(Verdict.ACCEPTED, str(code), shortened(said.decode(errors="replace"))), True
    if code < _NOT_YET:  # no sentence of SMTP, or none that belongs here: the letter is there all the same
        return Answer(Verdict.AMBIGUOUS, f"{code} after the end"), False
    return _refused(code, said), _is_reset(connection)


def _refused(code: int, said: bytes | str) -> Answer:
    text = said if isinstance(said, str) else said.decode(errors="replace")
    reason = f"{code} {shortened(text)}".strip()
    if code in _CREDENTIALS:
        return Answer(Verdict.RETRY, reason, retry_after=REFUSED_KEY_SECONDS)
    return Answer(Verdict.REJECTED if code >= _PERMANENT else Verdict.RETRY, reason)


def _is_reset(connection: smtplib.SMTP) -> bool:
    try:
        return connection.rset()[0] == _OK
    except _BROKEN:
        return False


def _stuffed(message: bytes) -> bytes:
    """Double the dots that begin a line, and end the last line."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n"


def _hang_up(connection: smtplib.SMTP) -> None:
    try:
        connection.quit()
    except (smtplib.SMTPException, *_BROKEN):
        connection.close()
