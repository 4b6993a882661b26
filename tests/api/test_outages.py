"""The log goes away under load: what was acknowledged is in it, what was not comes again, nobody waits."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from rudderstack.analytics import client as rudder  # type: ignore[import-untyped]  # ships no types
from rudderstack.analytics import request as rudder_requests
from segment.analytics import client as segment  # type: ignore[import-untyped]  # ships no types
from segment.analytics import request as segment_requests

from connectors import redis_server
from connectors.redis_streams import log_time, scan
from connectors.topics import EVENTS
from operators.fold import Fold, Limits
from state.records import Batch, Record
from state.shard import Shard
from tests.api.collecting import PARTITIONS, WRITE_KEY, Collector, track

KILLS = 3


class Broker:
    """A Redis that syncs at each write, and can be killed and started again on its port, with what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, redis_server.free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Start, or start again."""
        self._stack.enter_context(redis_server.running(self._folder, self._port))
        with redis.Redis.from_url(self.url) as client:
            client.config_set("appendfsync", "always")

    def signal(self, number: signal.Signals) -> None:
        """Signal the server's process."""
        with redis.Redis.from_url(self.url) as client:
            info: Any = client.info("server")
        os.kill(info["process_id"], number)
        self._last = info["process_id"]

    def resume(self) -> None:
        """Let a stopped one go on."""
        os.kill(self._last, signal.SIGCONT)

    def close(self) -> None:
        """Stop."""
        self._stack.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A Redis of the test's own."""
    broker = Broker(tmp_path / "redis")
    broker.start()
    yield broker
    broker.close()


@pytest.fixture
def collector(broker: Broker, tmp_path: Path) -> Iterator[Collector]:
    """A collector over it."""
    collector = Collector(broker.url, tmp_path).start()
    yield collector
    assert collector.stop() == 0, collector.log()


class Sender(threading.Thread):
    """Posts batches one after the other, each until it gets 200, as SDKs do."""

    def __init__(self, collector: Collector, name: str, until: threading.Event) -> None:
        super().__init__()
        self._url, self._sender, self._until = collector.url, name, until
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()
        self.slowest = 0.0

    def run(self) -> None:
        """Send."""
        number = 0
        with httpx.Client(base_url=self._url, auth=(WRITE_KEY, ""), timeout=20) as http:
            while not self._until.is_set():
                ids = [f"{self._sender}-{number}-{each}" for each in range(20)]
                batch = {"batch": [track(f"{self._sender}-{number}", messageId=id_) for id_ in ids]}
                while True:
                    began = time.monotonic()
                    status = http.post("/v1/batch", json=batch).status_code
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.statuses.add(status)
                    if status == 200:
                        break
                    time.sleep(0.1)
                self.acknowledged += ids
                number += 1


def read(url: str) -> list[list[Record]]:
    """Read the log, by partition."""
    with redis.Redis.from_url(url) as client:
        return [
            [Record(position, log_time(position), fields[b"v"]) for position, fields in scan(client, EVENTS, p)]
            for p in range(PARTITIONS)
        ]


def test_what_was_acknowledged_is_in_the_log_after_redis_was_killed(broker: Broker, collector: Collector) -> None:
    """Three SIGKILLs under load, counted by message id; what got no 200 came again, and the fold takes it once."""
    done = threading.Event()
    senders = [Sender(collector, f"sender-{number}", done) for number in range(4)]
    for sender in senders:
        sender.start()
    errors: list[Exception] = []
    sdk = segment.Client(
        WRITE_KEY,
        host=collector.url,
        upload_interval=0.05,
        upload_size=10,
        on_error=lambda error, _: errors.append(error),
    )
    sent = 0
    for _ in range(KILLS):
        for _ in range(60):
            sdk.track(f"sdk-{sent // 20}", "E", message_id=f"sdk-{sent}")
            sent += 1
            time.sleep(0.01)
        broker.signal(signal.SIGKILL)
        time.sleep(0.4)
        broker.start()
        time.sleep(0.6)
    done.set()
    for sender in senders:
        sender.join()
    sdk.flush()
    sdk.join()
    segment_requests._session.close()  # noqa: SLF001 - the library never closes its one session

    log = read(broker.url)
    in_the_log = [each["messageId"] for each in collector.records()]
    acknowledged = [id_ for sender in senders for id_ in sender.acknowledged]
    assert len(acknowledged) > 1_000
    assert set(acknowledged) - set(in_the_log) == set()
    assert errors == []
    assert {f"sdk-{number}" for number in range(sent)} - set(in_the_log) == set()
    assert set.union(*(sender.statuses for sender in senders)) == {200, 503}
    assert max(sender.slowest for sender in senders) < 5

    profiles: dict[str, Any] = {}
    for partition, records in enumerate(log):
        out = Fold(Shard(partition), Limits()).apply(Batch(partition, records, 0))
        profiles |= {update.user_id: update.fields for update in out.profiles}
    counts = {user: fields["events"] for user, fields in profiles.items()}
    assert set(counts.values()) == {20}
    assert sum(counts.values()) == len(set(in_the_log)) == len(acknowledged) + sent


def test_while_redis_is_away_everybody_is_put_off_at_once_and_it_goes_on_by_itself(
    broker: Broker, collector: Collector
) -> None:
    """503 with Retry-After in milliseconds, readiness follows, liveness does not."""
    assert collector.http.get("/readyz").status_code == 200
    broker.signal(signal.SIGKILL)
    time.sleep(0.2)
    collector.post("/v1/track", track("first to notice"))
    began = time.monotonic()
    answers = [collector.post("/v1/track", track("away")) for _ in range(20)]
    assert time.monotonic() - began < 1
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["code"] == "unavailable"
    assert answers[0].headers["retry-after"] == "1"
    assert collector.http.get("/readyz").status_code == 503
    assert collector.http.get("/healthz").status_code == 200
    broker.start()
    end = time.monotonic() + 5
    while collector.http.get("/readyz").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert collector.post("/v1/track", track("back")).status_code == 200


def test_a_library_that_gives_up_hears_of_503(broker: Broker, collector: Collector) -> None:
    """With the messages that it gave up, so that whoever runs it can keep them.

    RudderStack's does when it is told to try once; Segment's comes back for half an hour, as long as we say when.
    """
    broker.signal(signal.SIGKILL)
    time.sleep(0.2)
    collector.post("/v1/track", track("first to notice"))
    heard: list[tuple[Any, list[dict[str, Any]]]] = []
    sdk = rudder.Client(
        WRITE_KEY, host=collector.url, max_retries=0, on_error=lambda error, batch: heard.append((error, batch))
    )
    sdk.track("given-up", "E")
    sdk.flush()
    sdk.join()
    rudder_requests._session.close()  # noqa: SLF001 - the library never closes its one session
    ((error, batch),) = heard
    assert (error.status, error.code) == (503, "unavailable")
    assert [message["userId"] for message in batch] == ["given-up"]
    broker.start()


def test_a_redis_that_hangs_is_away_too(broker: Broker, collector: Collector) -> None:
    """It neither answers nor closes: senders wait for two seconds once, and then no more."""
    broker.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert collector.post("/v1/track", track("hung")).status_code == 503
        assert time.monotonic() - began < 4
        began = time.monotonic()
        assert collector.post("/v1/track", track("hung")).status_code == 503
        assert time.monotonic() - began < 0.5
    finally:
        broker.resume()
    end = time.monotonic() + 8
    while collector.post("/v1/track", track("unhung")).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_full_queue_sheds_load(broker: Broker, tmp_path: Path) -> None:
    """More waits than there is memory for: 503 at once for the rest, and none of what waits is lost."""
    folder = tmp_path / "small"
    folder.mkdir()
    small = Collector(broker.url, folder, WAXMARK_COLLECT_QUEUE_MEGABYTES="1").start()
    body = {"batch": [track("flood", properties={"text": "x" * 20_000}) for _ in range(20)]}
    statuses: list[int] = []

    def post(http: httpx.Client) -> None:
        with http:
            statuses.append(http.post("/v1/batch", json=body).status_code)

    clients = [httpx.Client(base_url=small.url, auth=(WRITE_KEY, ""), timeout=20) for _ in range(12)]
    broker.signal(signal.SIGSTOP)
    threads = [threading.Thread(target=post, args=(http,)) for http in clients]
    for thread in threads:
        thread.start()
    time.sleep(0.8)
    early = list(statuses)
    broker.resume()
    for thread in threads:
        thread.join()
    assert small.stop() == 0, small.log()
    assert set(early) == {503}
    assert statuses.count(200) in range(1, 12)
    assert sum(each.get("userId") == "flood" for each in small.records()) >= 20 * statuses.count(200)


def test_a_redis_that_keeps_nothing_is_refused(tmp_path: Path, redis_url: str) -> None:
    """Acknowledging what a restart forgets would be a lie; the command says so in a line."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("appendonly", "no")
        try:
            with pytest.raises(AssertionError, match="appendonly yes"):
                Collector(redis_url, tmp_path).start()
        finally:
            client.config_set("appendonly", "yes")


def test_a_stop_under_load_answers_what_it_took_and_loses_nothing(broker: Broker, tmp_path: Path) -> None:
    """SIGTERM while requests are under way, as every release does: code 0, and each that got 200 is in the log."""
    folder = tmp_path / "stopped"
    folder.mkdir()
    stopped = Collector(broker.url, folder).start()
    acknowledged: list[str] = []
    others: set[int] = set()

    def send(name: int, http: httpx.Client) -> None:
        number = 0
        with contextlib.suppress(httpx.TransportError), http:
            while True:
                ids = [f"stop-{name}-{number}-{each}" for each in range(10)]
                batch = {"batch": [track(f"stop-{name}-{number}", messageId=id_) for id_ in ids]}
                status = http.post("/v1/batch", json=batch).status_code
                if status == 200:
                    acknowledged.extend(ids)
                else:
                    others.add(status)
                number += 1

    clients = [httpx.Client(base_url=stopped.url, auth=(WRITE_KEY, ""), timeout=20) for _ in range(4)]
    threads = [threading.Thread(target=send, args=each) for each in enumerate(clients)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    assert stopped.stop() == 0, stopped.log()
    for thread in threads:
        thread.join()
    assert len(acknowledged) > 100
    assert others == set()
    assert set(acknowledged) - {each["messageId"] for each in stopped.records()} == set()
