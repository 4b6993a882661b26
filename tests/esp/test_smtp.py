"""Mail by SMTP against a real server: what is sent, and what is made of every way in which a conversation can go wrong."""

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from connectors.esp.dkim import DkimKeyError, DkimSigner
from connectors.esp.smtp import Mailbox, Security, SmtpEsp
from state.letters import Answer, Email, Letter, Verdict
from tests.delivery.lettering import NOON, trigger
from tests.esp.mail_server import AUTHENTICATED, MailServer, certificate, serving

UNSUBSCRIBE = "https://content.shop.example/u/token"


def letter(to: str = "ann@example.com", **email: str) -> Letter:
    """Make a letter."""
    sound = {"subject": "Your cart", "html": "<p>Grüße & shoes</p>\n" * 40, "text": "Grüße\n.dot\n..dots\n"}
    return Letter(trigger("ann"), to, {}, Email(**(sound | email)), UNSUBSCRIBE)


def mailbox(port: int, **changes: Any) -> Mailbox:
    """Say where mail goes in."""
    sound: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "sender": "bounces@shop.example",
        "from_": "The Shop <hello@shop.example>",
        "reply_to": "help@shop.example",
        "domain": "shop.example",
        "security": Security.NONE,
    }
    return Mailbox(**(sound | changes))


def sent(where: Mailbox, *letters: Letter, **given: Any) -> list[Answer]:
    """Send letters one after the other."""

    async def run() -> list[Answer]:
        provider = SmtpEsp(where, given.get("signer"), 4, given.get("timeout", 5.0), lambda: NOON, given.get("trust"))
        answers = [await provider.send(each) for each in letters]
        await provider.close()
        return answers

    return asyncio.run(run())


@pytest.fixture
def server() -> MailServer:
    """A mail server."""
    return MailServer()


@pytest.fixture
def port(server: MailServer) -> Iterator[int]:
    """Where it listens."""
    with serving(server) as number:
        yield number


def test_a_letter_arrives_with_both_parts_and_the_headers_that_mailboxes_want(server: MailServer, port: int) -> None:
    """Gmail and Yahoo ask for one-click unsubscription; the Message-ID makes a repeat recognizable."""
    (answer,) = sent(mailbox(port), letter())
    assert answer == Answer(Verdict.ACCEPTED, "250", "2.0.0 queued as ABC")
    (message,) = server.messages()
    assert message["From"] == "The Shop <hello@shop.example>"
    assert message["To"] == "ann@example.com"
    assert message["Message-ID"] == f"<{trigger('ann').trigger_id}@shop.example>"
    assert message["Date"] == "Thu, 01 Jan 2026 12:00:00 +0000"
    assert message["List-Unsubscribe"] == f"<{UNSUBSCRIBE}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    text, html = message.iter_parts()
    assert text.get_content().splitlines() == ["Grüße", ".dot", "..dots"]
    assert html.get_content().splitlines() == ["<p>Grüße & shoes</p>"] * 40
    assert [part.get_content_type() for part in (text, html)] == ["text/plain", "text/html"]


def test_letters_share_a_connection(server: MailServer, port: int) -> None:
    """A handshake for each letter would halve the throughput and annoy the server."""
    assert {each.verdict for each in sent(mailbox(port), *[letter()] * 5)} == {Verdict.ACCEPTED}
    assert len(server.sessions) == 1


def test_a_connection_that_the_server_closed_while_it_was_idle_is_no_failure(server: MailServer) -> None:
    """Servers hang up on silent clients; the next letter goes out on a new connection."""
    with serving(server, timeout=0.2) as port:

        async def run() -> list[Answer]:
            provider = SmtpEsp(mailbox(port), None, 1, 5.0, lambda: NOON)
            first = await provider.send(letter())
            await asyncio.sleep(0.6)
            answers = [first, await provider.send(letter())]
            await provider.close()
            return answers

        assert [each.verdict for each in asyncio.run(run())] == [Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert len(server.letters) == 2


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("550 5.1.1 no such user", Verdict.REJECTED),
        ("552 5.2.2 mailbox full", Verdict.REJECTED),
        ("450 4.2.1 try later", Verdict.RETRY),
        ("451 4.7.1 greylisted", Verdict.RETRY),
        ("421 4.3.2 going down", Verdict.RETRY),
    ],
)
@pytest.mark.parametrize("at", ["recipient", "letter"])
def test_5xx_is_final_4xx_is_not_and_the_next_letter_goes_out(
    server: MailServer, port: int, at: str, answer: str, verdict: Verdict
) -> None:
    """Whether the recipient or the letter is refused; the connection is good for the next one, or replaced."""
    (server.to_recipients if at == "recipient" else server.answers).append(answer)
    first, second = sent(mailbox(port), letter(), letter())
    assert (first.verdict, first.reason) == (verdict, answer)
    assert second.verdict is Verdict.ACCEPTED
    assert len(server.letters) == 1


def test_an_address_that_the_server_repeats_is_not_written_down(server: MailServer, port: int) -> None:
    """Outcomes outlive a person's consent."""
    server.to_recipients.append("550 5.1.1 <ann@example.com>: no such user")
    (answer,) = sent(mailbox(port), letter())
    assert answer.reason == "550 5.1.1 (address) no such user"


def test_a_connection_lost_before_the_end_is_tried_again_and_one_lost_after_it_is_ambiguous(
    server: MailServer, port: int
) -> None:
    """After the final dot the server may have queued the letter; here it has."""
    server.hangs_up_at = "RCPT"
    (before,) = sent(mailbox(port), letter())
    server.hangs_up_at = None
    server.answers.append(None)
    (after,) = sent(mailbox(port), letter())
    assert (before.verdict, after.verdict) == (Verdict.RETRY, Verdict.AMBIGUOUS)
    assert len(server.letters) == 1


def test_a_server_that_is_not_there_or_says_nothing_is_tried_again() -> None:
    """Nothing was accepted by a server that does not listen, or greets nobody."""
    import socket  # noqa: PLC0415 - a listener that never answers

    with socket.create_server(("127.0.0.1", 0)) as silent:
        (mute,) = sent(mailbox(silent.getsockname()[1]), letter(), timeout=0.3)
        gone = silent.getsockname()[1]
    (absent,) = sent(mailbox(gone), letter())
    assert (mute.verdict, absent.verdict) == (Verdict.RETRY, Verdict.RETRY)


def test_nothing_goes_out_in_the_clear_where_tls_is_asked_for(server: MailServer, port: int, tmp_path: Path) -> None:
    """A server that offers no STARTTLS, and one whose certificate nobody vouches for, get nothing."""
    (refused,) = sent(mailbox(port, security=Security.STARTTLS), letter())
    shown, trusted = certificate(tmp_path)
    with serving(server, (shown, "")) as secured:
        (untrusted,) = sent(mailbox(secured, security=Security.STARTTLS), letter())
        (fine,) = sent(mailbox(secured, security=Security.STARTTLS), letter(), trust=trusted)
    assert [each.verdict for each in (refused, untrusted, fine)] == [Verdict.RETRY, Verdict.RETRY, Verdict.ACCEPTED]
    assert len(server.letters) == 1


def test_a_wrong_password_waits_for_someone_to_mend_it(server: MailServer, tmp_path: Path) -> None:
    """Mail is not lost over a password; the provider is left alone for a minute."""
    shown, trusted = certificate(tmp_path)
    with serving(server, (shown, ""), **AUTHENTICATED) as port:
        where = mailbox(port, security=Security.STARTTLS, username="shop", password="secret")  # noqa: S106
        (right,) = sent(where, letter(), trust=trusted)
        (wrong,) = sent(where._replace(password="guess"), letter(), trust=trusted)  # noqa: S106
    assert right.verdict is Verdict.ACCEPTED
    assert (wrong.verdict, wrong.retry_after) == (Verdict.RETRY, 60.0)


@pytest.mark.parametrize(
    ("to", "email"),
    [
        ("ann@example.com\r\nBcc: all@example.com", {}),
        ("ann@example.com", {"subject": "Hi\r\nBcc: all@example.com"}),
        ("not an address", {}),
        ("", {}),
    ],
)
def test_nobody_smuggles_a_header_in(server: MailServer, port: int, to: str, email: dict[str, str]) -> None:
    """Addresses and names come from the web."""
    (answer,) = sent(mailbox(port), letter(to, **email))
    assert answer.verdict is Verdict.REJECTED
    assert not server.letters


def test_international_addresses_are_sent_where_the_server_takes_them(server: MailServer, port: int) -> None:
    """SMTPUTF8, RFC 6531."""
    (answer,) = sent(mailbox(port), letter("дед@пример.example"))
    assert answer.verdict is Verdict.ACCEPTED
    assert server.recipients == ["дед@пример.example"]


def _keys() -> dict[str, tuple[str, bytes]]:
    private = rsa.generate_private_key(65537, 2048)
    edwards = ed25519.Ed25519PrivateKey.generate()
    shape = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = edwards.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {
        "rsa": (private.private_bytes(*shape).decode(), b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)),
        "ed25519": (edwards.private_bytes(*shape).decode(), b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)),
    }


KEYS = _keys()


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_signatures_hold_when_another_implementation_verifies_them(server: MailServer, port: int, kind: str) -> None:
    """As it arrives, after the journey; and a changed letter does not verify."""
    key, record = KEYS[kind]
    (answer,) = sent(
        mailbox(port), letter(subject="Grüße aus dem Laden, " * 8), signer=DkimSigner("shop.example", "s1", key)
    )
    assert answer.verdict is Verdict.ACCEPTED
    (arrived,) = server.letters

    def dns(name: bytes, timeout: int = 5) -> bytes:  # noqa: ARG001 - dkimpy's protocol
        assert name == b"s1._domainkey.shop.example."
        return record

    assert dkim.verify(arrived, dnsfunc=dns)
    assert b"list-unsubscribe:list-unsubscribe-post" in arrived
    assert not dkim.verify(arrived.replace(b"To: ann", b"To: ben"), dnsfunc=dns)


@pytest.mark.parametrize("key", ["", "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_sign_is_refused_at_the_start(key: str) -> None:
    """Not at the first letter."""
    with pytest.raises(DkimKeyError, match="PEM"):
        DkimSigner("shop.example", "s1", key)


def test_a_signature_takes_less_than_two_milliseconds(record_property: Callable[[str, object], None]) -> None:
    """Two hundred letters a second on a core that has other work: dkimpy's own arithmetic takes 5.6 ms a letter."""
    signer = DkimSigner("shop.example", "s1", KEYS["rsa"][0])
    message = b"From: a@shop.example\r\nTo: b@example.com\r\nSubject: hi\r\n\r\n" + b"hello world\r\n" * 1500
    began = time.process_time()
    for _ in range(50):
        signer.signed(message, 1)
    taken = (time.process_time() - began) / 50 * 1000
    record_property("milliseconds", taken)
    assert taken < 2
