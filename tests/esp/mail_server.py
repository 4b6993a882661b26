"""A mail server for tests: real SMTP by aiosmtpd, on a thread of its own, that misbehaves when it is told to."""

import datetime as dt
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

QUEUED = "250 2.0.0 queued as ABC"


class MailServer:
    """Takes mail; `answers` are given to the next letters instead of the usual, None hangs up instead of answering."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.recipients: list[str] = []
        self.sessions: set[int] = set()
        self.answers: deque[str | None] = deque()
        self.to_recipients: deque[str] = deque()
        self.hangs_up_at: str | None = None

    def messages(self) -> list[EmailMessage]:
        """Read what came."""
        return [message_from_bytes(letter, policy=policy.default) for letter in self.letters]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if self.hangs_up_at == "RCPT":
            server.transport.abort()
        if self.to_recipients:
            return self.to_recipients.popleft()
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        self.sessions.add(id(session))
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        """Take or refuse a letter; it is here when this is called."""
        answer = self.answers.popleft() if self.answers else QUEUED
        if answer is None or answer == QUEUED:
            content = envelope.content
            assert isinstance(content, bytes)
            self.letters.append(content)
            self.recipients += envelope.rcpt_tos
        if answer is None:
            server.transport.abort()
            return QUEUED
        return answer


def _authenticated(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:  # noqa: ARG001
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"shop", b"secret")
    return AuthResult(success=known)


@contextmanager
def serving(server: MailServer, trust: tuple[ssl.SSLContext, str] | None = None, **given: Any) -> Iterator[int]:
    """Serve on a free port, with STARTTLS where there is a certificate."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if trust is not None:
        given |= {"tls_context": trust[0], "require_starttls": True}
    controller = Controller(server, "127.0.0.1", port, decode_data=False, enable_SMTPUTF8=True, **given)
    controller.start()
    try:
        yield port
    finally:
        controller.stop(no_assert=True)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1; return what a server shows and what a client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(tz=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return shown, ssl.create_default_context(cafile=str(folder / "cert.pem"))


AUTHENTICATED = {"authenticator": _authenticated, "auth_required": True}
