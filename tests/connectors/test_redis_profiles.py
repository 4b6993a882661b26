"""Profiles as they stand in a real Redis, and what becomes of a write that Redis refuses."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from connectors.outbox import Outboxes
from connectors.recorder import Metrics
from connectors.redis_line import AT_ONCE
from connectors.redis_profiles import KEPT, ProfileSink, profile_key
from connectors.redis_streams import UnsafeRedis
from connectors.stopping import Stop
from state.outputs import ProfileUpdate

Fields = dict[str, str | int | float]


class Writer:
    """The sink of a worker that writes nothing but profiles."""

    def __init__(self, redis_url: str, ttl: int = 0) -> None:
        self._outboxes = Outboxes(redis_url, Stop())
        self._part = ProfileSink(self._outboxes, ttl, Metrics(enabled=False)).build("profiles", 0, 1)

    def write(self, *updates: ProfileUpdate) -> None:
        """Write a batch, and wait until it is written."""
        self._part.write_batch([*updates])
        self._outboxes.settle()

    def close(self) -> None:
        """Hang up."""
        self._part.close()


def update(user_id: str, fields: Fields | None) -> ProfileUpdate:
    """Make an update of a user."""
    return ProfileUpdate("shop", user_id, fields, 1)


def read(client: Any, user_id: str) -> dict[str, str]:
    """Read a profile as text."""
    return {name.decode(): value.decode() for name, value in client.hgetall(profile_key("shop", user_id)).items()}


def test_every_kind_of_value_is_written_as_python_says_it(redis_url: str, client: Any) -> None:
    """Numbers, empty texts, texts with the protocol's own line ends, and texts that are as long as a cart may be."""
    fields: Fields = {"n": -3, "x": 1.5, "whole": 2.0, "tiny": 1e-7, "empty": "", "lines": "a\r\n$3\r\nb"}
    fields |= {"short": "s" * (KEPT - 1), "long": "l" * KEPT, "longest": "m" * (3 * AT_ONCE)}
    Writer(redis_url).write(update("ann", fields))
    assert read(client, "ann") == {name: str(value) for name, value in fields.items()}


@pytest.mark.parametrize("user_id", ["ann", "Анна"])
@pytest.mark.parametrize("text", ["ascii", "Café", "円", "\N{SHOPPING TROLLEY}"])
def test_texts_of_every_script_are_written_whole(redis_url: str, client: Any, user_id: str, text: str) -> None:
    """A length in the protocol counts bytes, and a text's length counts characters."""
    fields: Fields = {"name": text, "events": 3, "total": 95.9}
    Writer(redis_url).write(update("before", {"a": "b"}), update(user_id, fields), update("after", {"c": "d"}))
    assert read(client, user_id) == {"name": text, "events": "3", "total": "95.9"}
    assert (read(client, "before"), read(client, "after")) == ({"a": "b"}, {"c": "d"})


def test_a_batch_larger_than_what_is_sent_at_once_is_written_whole(redis_url: str, client: Any) -> None:
    """It goes out in several pieces; no update falls between two of them."""
    updates = [update(f"user-{n}", {"n": n, "text": "x" * 100}) for n in range(3000)]
    Writer(redis_url).write(*updates)
    assert client.dbsize() == 3000
    assert all(read(client, f"user-{n}")["n"] == str(n) for n in range(3000))


def test_fields_that_an_update_leaves_out_stay(redis_url: str, client: Any) -> None:
    """Only what changed is written."""
    writer = Writer(redis_url)
    writer.write(update("ann", {"a": 1, "b": 1}))
    writer.write(update("ann", {"b": 2}))
    assert read(client, "ann") == {"a": "1", "b": "2"}


def test_a_user_who_is_forgotten_leaves_no_profile(redis_url: str, client: Any) -> None:
    """Deletion comes as an update without fields, in its place among the others."""
    writer = Writer(redis_url, ttl=7200)
    writer.write(update("ann", {"a": 1}), update("ann", None), update("bob", {"a": 1}))
    assert client.keys() == [profile_key("shop", "bob").encode()]


def test_a_time_to_live_is_renewed_by_each_write(redis_url: str, client: Any) -> None:
    """Whoever is active keeps a profile."""
    writer = Writer(redis_url, ttl=7200)
    writer.write(update("ann", {"a": 1}))
    client.expire(profile_key("shop", "ann"), 10)
    writer.write(update("ann", {"a": 2}))
    assert 7000 < client.ttl(profile_key("shop", "ann")) <= 7200


def test_a_refused_write_stops_the_worker_and_the_others_of_its_batch_are_written(redis_url: str, client: Any) -> None:
    """Nothing that Redis refuses may pass for written. Later answers still belong to their own commands."""
    client.set(profile_key("shop", "bob"), "not a hash")
    writer = Writer(redis_url)
    batch = [update("ann", {"a": 1}), update("bob", {"a": 1}), update("cem", {"a": 1})]
    for _ in range(2):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            writer.write(*batch)
    assert (read(client, "ann"), read(client, "cem")) == ({"a": "1"}, {"a": "1"})
    writer.write(update("dan", {"a": 1}))
    assert read(client, "dan") == {"a": "1"}


def test_a_redis_that_evicts_is_refused_before_anything_is_written(redis_url: str, client: Any) -> None:
    """By whatever command the worker was started: profiles may be all that it has in Redis."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "1gb")
    try:
        with pytest.raises(UnsafeRedis):
            Writer(redis_url)
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Serve as a Redis that agrees to whatever is asked on connecting, then gives these answers and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while b"HSET" not in (asked := connection.recv(65536)):
                    if b"CONFIG" in asked:
                        connection.sendall(b"*0\r\n")
                    elif b"HELLO" in asked:
                        connection.sendall(b"-ERR unknown command 'HELLO'\r\n")
                    else:
                        connection.sendall(b"+OK\r\n" * asked.count(b"*"))
                for answer in answers:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0?protocol=2"
        thread.join()


def test_a_redis_that_hangs_up_stops_the_worker() -> None:
    """One answer of two: whether the other was written, nobody knows."""
    with answering(b":1\r\n") as url:
        writer = Writer(url)
        with pytest.raises(redis.ConnectionError, match="hung up"):
            writer.write(update("ann", {"a": 1}), update("bob", {"a": 1}))
        writer.close()


def test_answers_that_come_in_pieces_between_other_news_are_counted_right() -> None:
    """Redis may push news between answers, and a packet may end anywhere; an answer that is missing is still missed."""
    news = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n"
    with answering(b":", b"1\r", b"\n" + news + b"-OOM co", b"mmand not allowed\r\n:1\r\n") as url:
        writer = Writer(url)
        with pytest.raises(redis.ResponseError, match="OOM command not allowed"):
            writer.write(*[update(name, {"a": 1}) for name in ("ann", "bob", "cem")])
        writer.close()
