"""`waxmark shoppers`: simulated shoppers who send to a collector what Segment's libraries would, as they would."""

import base64
import contextlib
import http.client
from collections.abc import Iterator
from time import monotonic, sleep, time_ns
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from simulator.shop import Shop, visits
from state.clock import MILLISECOND, SECOND, to_iso

_BATCH: Final = 100
_INTERVAL: Final = 0.1
_PATIENCE: Final = 30.0
_out = Console(highlight=False)


class NotTaken(Exception):
    """A collector that cannot be reached, or refuses what an SDK sends."""


def shoppers(
    to: str = "http://127.0.0.1:8080",
    *,
    write_key: str,
    events: int = 10_000,
    seed: int = 1,
    rate: float = 100.0,
    people: int = 2000,
) -> None:
    """Let simulated shoppers visit, and post what they do in batches, by the protocol of Segment's libraries.

    Example: `waxmark shoppers --to http://127.0.0.1:8080 --write-key a-key-of-your-own --events 1000`

    Parameters
    ----------
    to
        The collector.
    write_key
        A key that it knows.
    events
        How many events.
    seed
        Equal seeds give equal shops.
    rate
        Events per second, on average.
    people
        How many people there are.
    """
    # What is cut or ill encoded, no library can send.
    shop = Shop(shoppers=people, rate=rate, pace=0.05, malformed=0)
    door = _Door(to, write_key)
    for batch in _batches(shop, seed, events):
        door.post(batch)
    door.close()
    _out.print(f"sent {events} events")


def _batches(shop: Shop, seed: int, events: int) -> Iterator[list[bytes]]:
    """Gather what happens within an interval, and wait for it to have happened."""
    now = time_ns() // 1_000 // MILLISECOND * MILLISECOND
    batch: list[bytes] = []
    due = now
    for sent in visits(shop, seed, now, events=events):
        if batch and (sent.log_time > due or len(batch) == _BATCH):
            sleep(max(0.0, due / SECOND - time_ns() / 1e9))
            yield batch
            batch = []
        if not batch:
            due = sent.log_time + int(_INTERVAL * SECOND)
        batch.append(sent.value)
    if batch:
        yield batch


class _Door:
    """A connection to the collector that keeps what was not taken, and comes back with it as it was told."""

    def __init__(self, to: str, write_key: str) -> None:
        parts = urlsplit(to)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"the collector must be a URL such as http://127.0.0.1:8080, not {to!r}")
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=10)
        authorization = "Basic " + base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {"authorization": authorization, "content-type": "application/json"}

    def post(self, messages: list[bytes]) -> None:
        """Post a batch until it is taken. Raises NotTaken after 30 seconds, or for what coming back would not help."""
        end = monotonic() + _PATIENCE
        while True:
            sent_at = to_iso(time_ns() // 1_000).encode()
            body = b'{"sentAt":"' + sent_at + b'","batch":[' + b",".join(messages) + b"]}"
            status, wait, said = self._send(body)
            if status == http.client.OK:
                return
            if status not in {None, http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE}:
                raise NotTaken(f"the collector answers {status}: {said}")
            if monotonic() > end:
                raise NotTaken(f"the collector did not take a batch for {_PATIENCE:.0f} s: {said}")
            sleep(wait)

    def _send(self, body: bytes) -> tuple[int | None, float, str]:
        try:
            self._connection.request("POST", "/v1/batch", body, self._headers)
            answer = self._connection.getresponse()
            said = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return None, 0.2, str(error)
        return answer.status, float(answer.headers.get("retry-after", "1")), said

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._connection.close()
