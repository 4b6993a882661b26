"""Providers over HTTP against a real server: what is made of every way in which a call can go wrong."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connectors.esp.call_template import ADDRESS, compiled
from connectors.esp.customerio import CustomerIo
from connectors.esp.http import Heard, HttpEsp, Request, Vendor, judged
from connectors.esp.resend import Resend
from connectors.esp.sendgrid import SendGrid
from connectors.esp.webhook import Webhook
from state.clock import SECOND, to_datetime
from state.letters import Answer, Email, Letter, Unfit, Verdict
from tests.delivery.lettering import NOON, trigger
from tests.esp.http_server import Reply, VendorServer, serving
from tests.esp.mail_server import certificate

LETTER = Letter(trigger("ann-4711"), "ann@example.com", {}, Email("Your cart", "<p>Shoes</p>", "Shoes"))


def sendgrid(url: str) -> SendGrid:
    """Make a vendor without keys."""
    return SendGrid(url=url, key="SG.x", sender="The Shop <hello@shop.example>")


def sent(
    server: VendorServer, count: int = 1, *, vendor: Callable[[str], Any] = sendgrid, timeout: float = 5.0
) -> list[Answer]:
    """Send the letter so many times, one after the other."""

    async def run() -> list[Answer]:
        async with serving(server) as session:
            provider = HttpEsp(vendor(server.url), session, timeout, lambda: NOON)
            answers = [await provider.send(LETTER) for _ in range(count)]
            await provider.close()
            return answers

    return asyncio.run(run())


def called(url: str, timeout: float = 2.0, session: aiohttp.ClientSession | None = None) -> Answer:
    """Call something that is no vendor's server."""

    async def run() -> Answer:
        async with session or aiohttp.ClientSession() as opened:
            return await HttpEsp(sendgrid(url), opened, timeout, lambda: NOON).send(LETTER)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (202, Verdict.ACCEPTED),
        (400, Verdict.REJECTED),
        (404, Verdict.REJECTED),
        (408, Verdict.RETRY),
        (409, Verdict.REJECTED),
        (413, Verdict.REJECTED),
        (422, Verdict.REJECTED),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
        (502, Verdict.AMBIGUOUS),
        (503, Verdict.RETRY),
        (504, Verdict.AMBIGUOUS),
        (599, Verdict.RETRY),
    ],
)
def test_a_status_says_whether_trying_again_is_safe_and_of_use(status: int, verdict: Verdict) -> None:
    """A gateway's 502 and 504 may hide a call that was accepted behind it."""
    server = VendorServer()
    server.replies.append(Reply(status))
    (answer,) = sent(server)
    assert answer.verdict is verdict
    assert answer.reason.startswith(str(status))


@pytest.mark.parametrize("status", [401, 403, 301, 307, 308])
def test_mail_waits_while_the_configuration_is_wrong(status: int) -> None:
    """A key that was revoked, or an address that moved, would otherwise lose every email of that hour.

    A redirect is not followed: it would send the key elsewhere.
    """
    server = VendorServer()
    server.replies.append(Reply(status, headers={"Location": "http://127.0.0.1:1/elsewhere"}))
    (answer,) = sent(server)
    assert (answer.verdict, answer.retry_after) == (Verdict.RETRY, 60.0)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("17", 17.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        (format_datetime(to_datetime(NOON + 90 * SECOND), usegmt=True), 90.0),
        (format_datetime(to_datetime(NOON - 90 * SECOND), usegmt=True), 0.0),
        ("inf", 86_400.0),
        ("1e400", 86_400.0),
        ("nan", 0.0),
        ("soon", None),
        ("", None),
        ("Thu, 99 Foo 2026 12:00:00 GMT", None),
    ],
)
def test_a_provider_says_when_to_come_again_in_seconds_or_as_a_date(written: str, seconds: float | None) -> None:
    """And what is neither is as if it had not been said; an infinite one would stop a lane for good."""
    server = VendorServer()
    server.replies.append(Reply(429, headers={"Retry-After": written}))
    (answer,) = sent(server)
    assert (answer.verdict, answer.retry_after) == (Verdict.RETRY, seconds)


def test_a_timeout_after_the_call_was_made_is_ambiguous() -> None:
    """The server has accepted it by then."""
    server = VendorServer()
    server.replies.append(Reply(after=1.0))
    (answer,) = sent(server, timeout=0.3)
    assert answer.verdict is Verdict.AMBIGUOUS
    assert len(server.accepted) == 1


def test_a_connection_that_is_reset_after_the_call_was_made_is_ambiguous() -> None:
    """The server has accepted it by then; and a POST is not made a second time unasked."""
    server = VendorServer()
    server.replies.append(Reply(hangs_up=True))
    (answer,) = sent(server)
    assert answer.verdict is Verdict.AMBIGUOUS
    assert (len(server.accepted), len(server.calls)) == (1, 1)


def test_a_slow_answer_within_the_timeout_is_an_answer() -> None:
    """Vendors take seconds at times."""
    server = VendorServer()
    server.replies.append(Reply(after=0.5))
    (answer,) = sent(server, timeout=3.0)
    assert answer.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>welcome</html>"),
        Reply(200, b'{"id": '),
        Reply(200, b"[1, 2]"),
        Reply(200, b"\xff\xfe"),
        Reply(200, breaks_off=True),
    ],
)
def test_a_success_counts_whatever_is_wrong_with_its_body(reply: Reply) -> None:
    """The status has said it; to call again would send a second email."""
    server = VendorServer()
    server.replies.append(reply)
    (answer,) = sent(server, vendor=lambda url: Resend(url=url, key="re", sender="hello@shop.example"))
    assert (answer.verdict, answer.provider_id) == (Verdict.ACCEPTED, "")


def test_an_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    """A single read would lose an id that is split over two packets."""
    wanted = "x" * 40_000
    server = VendorServer(usual=lambda _: Reply(200, {"id": wanted}))
    (answer,) = sent(server, vendor=lambda url: Resend(url=url, key="re", sender="hello@shop.example"))
    assert answer.provider_id == wanted


def test_a_server_that_is_not_there_has_accepted_nothing() -> None:
    """Refused, without a name, with a certificate that nobody vouches for, and one that never gets to TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = listener.getsockname()[1]
    answers = [called(f"http://127.0.0.1:{gone}"), called("http://nobody.invalid")]
    assert [answer.verdict for answer in answers] == [Verdict.RETRY, Verdict.RETRY]


def test_no_call_is_made_to_a_server_whose_certificate_is_wrong(tmp_path: Path) -> None:
    """The handshake comes before the call."""
    shown, trusted = certificate(tmp_path)

    async def run(trust: ssl.SSLContext | bool) -> tuple[Answer, int]:
        heard = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heard
            await reader.readuntil(b"\r\n\r\n")
            heard += 1
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=shown) as listener:
            url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
                return await HttpEsp(sendgrid(url), session, 2.0, lambda: NOON).send(LETTER), heard

    answer, heard = asyncio.run(run(trust=True))
    assert (answer.verdict, heard) == (Verdict.RETRY, 0)
    answer, heard = asyncio.run(run(trusted))
    assert (answer.verdict, heard) == (Verdict.ACCEPTED, 1)


def test_a_handshake_that_never_ends_has_sent_nothing() -> None:
    """A server that takes the connection and says nothing, spoken to in TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = called(f"https://127.0.0.1:{silent.getsockname()[1]}", timeout=0.9)
    assert answer.verdict is Verdict.RETRY


def test_waiting_for_a_connection_of_ones_own_has_sent_nothing() -> None:
    """With a session of few connections a letter may wait for one longer than it may take: that is not ambiguous."""
    server = VendorServer()
    server.replies.extend([Reply(after=1.2), Reply()])

    async def run() -> list[Answer]:
        async with serving(server), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            provider = HttpEsp(sendgrid(server.url), session, 1.5, lambda: NOON)
            return await asyncio.gather(*[provider.send(LETTER) for _ in range(2)])

    first, second = asyncio.run(run())
    assert (first.verdict, second.verdict) == (Verdict.ACCEPTED, Verdict.RETRY)
    assert len(server.calls) == 1


def test_what_is_no_http_after_the_call_is_ambiguous() -> None:
    """Something answered; nobody knows what it did."""

    async def run() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            async with aiohttp.ClientSession() as session:
                return await HttpEsp(sendgrid(url), session, 2.0, lambda: NOON).send(LETTER)

    assert asyncio.run(run()).verdict is Verdict.AMBIGUOUS


@pytest.mark.parametrize(
    "message",
    [
        "ann@example.com is on the suppression list",
        "to: <ann@example.com>, (ann@example.com)",
        "no route /customers/ann%40example.com/events",
        "user ann-4711 not found",
        "Ann's other address is ann.other@example.org",
    ],
)
def test_nobody_is_named_in_what_is_written_down(message: str) -> None:
    """Outcomes outlive a person's consent; vendors like to repeat whom they could not reach."""
    server = VendorServer()
    server.replies.append(Reply(400, {"errors": [{"field": "personalizations.0.to", "message": message}]}))
    (answer,) = sent(server)
    assert answer.verdict is Verdict.REJECTED
    assert answer.reason.startswith("400 personalizations.0.to")
    for told in ("@", "%40", "4711", "example"):
        assert told not in answer.reason


def test_a_long_story_is_cut_short() -> None:
    """One answer must not fill a topic."""
    assert len(judged(Heard(400, {}, b""), error="no " * 10_000).reason) < 220


def test_a_call_that_cannot_be_written_is_no_crash() -> None:
    """A letter that is not fit for a provider, an address or a header that is none: that letter alone is refused."""

    class Odd:
        remembers, renders = 0.0, False

        def __init__(self, url: str, headers: dict[str, str]) -> None:
            self.url, self.headers = url, headers

        def request(self, letter: Letter) -> Request:
            if not self.url:
                raise Unfit("it lacks an address")
            return Request(self.url, self.headers, letter.to.encode())

        def judge(self, heard: Heard) -> Answer:
            return judged(heard)

    async def run() -> list[Answer]:
        server = VendorServer()
        async with serving(server) as session:
            odd = [Odd("", {}), Odd("http://[::1", {}), Odd("no address", {}), Odd(server.url, {"X": "a\r\nY: b"})]
            answers = [await HttpEsp(each, session, 2.0, lambda: NOON).send(LETTER) for each in odd]
            assert not server.calls
            return answers

    answers = asyncio.run(run())
    assert [answer.verdict for answer in answers] == [Verdict.REJECTED] * 4
    assert answers[0].reason == "it lacks an address"


@pytest.mark.parametrize("person", [".", ".."])
def test_a_person_whose_id_is_a_dot_or_two_does_not_choose_the_call(person: str) -> None:
    """`/customers/../events` would be resolved before it is sent, into another call of the same vendor."""
    server = VendorServer()

    async def run() -> list[Answer]:
        async with serving(server) as session:
            vendors: list[Vendor] = [
                CustomerIo(url=server.url, site_id="site", key="k"),
                Webhook(
                    url=compiled(f"{server.url}/users/{{{{ trigger.user_id }}}}/send", ADDRESS),
                    headers={},
                    body=None,
                    clock=lambda: NOON,
                ),
            ]
            letter = Letter(trigger(person), "ann@example.com", {}, LETTER.email)
            return [await HttpEsp(vendor, session, 2.0, lambda: NOON).send(letter) for vendor in vendors]

    assert [answer.verdict for answer in asyncio.run(run())] == [Verdict.REJECTED] * 2
    assert not server.calls


def test_what_one_made_of_a_letter_that_is_not_fit_names_nobody() -> None:
    """A refusal of our own is written down as a vendor's is."""

    class Talkative:
        remembers, renders = 0.0, False

        def request(self, letter: Letter) -> Request:
            raise Unfit(f"nothing is known of {letter.trigger.user_id} or {letter.to}")

        def judge(self, heard: Heard) -> Answer:
            return judged(heard)

    server = VendorServer()
    (answer,) = sent(server, vendor=lambda _: Talkative())
    assert (answer.verdict, answer.reason) == (Verdict.REJECTED, "nothing is known of (person) or (person)")


def test_a_put_is_repeated_under_its_key_and_no_other_is() -> None:
    """When a kept connection breaks, HTTP lets a PUT be made again at once: hence only to receivers that know ids."""

    async def run(method: str) -> tuple[list[Verdict], VendorServer]:
        server = VendorServer(lambda call: call.headers["x-id"] if len(server.calls) > 1 else "first")
        server.replies.extend([Reply(), Reply(hangs_up=True)])
        async with serving(server) as session:
            vendor = Webhook(
                url=compiled(server.url, ADDRESS),
                headers={},
                body=None,
                clock=lambda: NOON,
                method=method,
                key_header="X-Id",
            )
            provider = HttpEsp(vendor, session, 2.0, lambda: NOON)
            return [(await provider.send(LETTER)).verdict for _ in range(2)], server

    verdicts, server = asyncio.run(run("PUT"))
    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert (len(server.calls), server.accepted) == (3, ["first", LETTER.trigger.trigger_id])
    for method in ("POST", "PATCH"):
        verdicts, server = asyncio.run(run(method))
        assert verdicts == [Verdict.ACCEPTED, Verdict.AMBIGUOUS]
        assert len(server.calls) == 2


def test_two_hundred_calls_at_once_are_all_answered() -> None:
    """Any number may be under way."""
    server = VendorServer(usual=lambda _: Reply(202, after=0.2))

    async def run() -> list[Answer]:
        async with serving(server), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            provider = HttpEsp(sendgrid(server.url), session, 10.0, lambda: NOON)
            return await asyncio.gather(*[provider.send(LETTER) for _ in range(200)])

    assert {answer.verdict for answer in asyncio.run(run())} == {Verdict.ACCEPTED}
    assert len(server.calls) == 200
