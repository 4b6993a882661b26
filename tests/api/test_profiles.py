"""Profiles as an email is composed from them, and the deletion of a person, over the running dataflow."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis

from connectors import redis_server
from connectors.redis_streams import scan
from operators.fold import Fold, Limits
from state.people import user_key
from state.records import Batch, Record
from state.shard import Shard
from tests.api.collecting import ERASER, OTHER_KEY, PARTITIONS, READER, WRITE_KEY, Collector, personalization, track
from tests.api.test_browser import CAMPAIGNS


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector and the dataflow behind it."""
    folder = tmp_path_factory.mktemp("profiles")
    (folder / "campaigns.yaml").write_text(CAMPAIGNS.replace("wait: 2s", "wait: 1h"))
    with redis_server.running(folder / "redis") as url:
        collector = Collector(url, folder).start()
        with personalization(url, folder, folder / "campaigns.yaml"):
            yield collector
        code = collector.stop()
    assert code == 0


def cart(user: str, email: str, tenant_key: str = WRITE_KEY) -> dict[str, Any]:
    """Write a batch of someone who tells an address and fills a cart."""
    added = {"product_id": "p1", "name": "Shoes", "price": 50, "quantity": 2, "cart_id": "c1"}
    identify = {"type": "identify", "userId": user, "traits": {"email": email, "first_name": "A", "age": 30}}
    batch = [identify, track(user, "Product Added", properties=added)]
    return {"batch": batch, "writeKey": tenant_key}


def wait_for(collector: Collector, path: str, status: int = 200, headers: Any = READER) -> Any:
    """Ask until the answer has a status."""
    end = time.monotonic() + 15
    while (answer := collector.http.get(path, headers=headers)).status_code != status:
        assert time.monotonic() < end, answer.text
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="module")
def ann(running: Collector) -> Collector:
    """A collector that knows ann, and ben who shares a mailbox with cid."""
    for user, email in (("ann", "ann@example.com"), ("ben", "Both@example.com"), ("cid", "both@example.com")):
        assert running.post("/v1/batch", cart(user, email)).status_code == 200
    assert running.post("/v1/batch", cart("ann", "other@example.com"), key=OTHER_KEY).status_code == 200
    for user in ("ann", "ben", "cid"):
        wait_for(running, f"/v1/profiles/{user}")
    return running


def test_a_profile_has_values_of_their_types(ann: Collector) -> None:
    """What is a number is a number, the cart is a list: nobody has to parse texts within JSON."""
    profile = ann.http.get("/v1/profiles/ann", headers=READER).json()
    assert (profile["user_id"], profile["email"], profile["events"]) == ("ann", "ann@example.com", 2)
    assert (profile["cart_items"], profile["cart_total"]) == (1, 100.0)
    assert profile["cart"][0]["name"] == "Shoes"
    assert profile["traits"]["age"] == 30


def test_fields_are_selected(ann: Collector) -> None:
    """Those that exist, in the order asked."""
    profile = ann.http.get("/v1/profiles/ann?fields=cart_items,email,no_such", headers=READER)
    assert profile.json() == {"cart_items": 1, "email": "ann@example.com", "user_id": "ann"}


def test_an_etag_saves_the_body(ann: Collector) -> None:
    """304 as long as nothing of what was asked for has changed."""
    first = ann.http.get("/v1/profiles/ann?fields=email", headers=READER)
    again = ann.http.get("/v1/profiles/ann?fields=email", headers=READER | {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = ann.http.get("/v1/profiles/ann?fields=events", headers=READER | {"if-none-match": first.headers["etag"]})
    assert other.status_code == 200


def test_who_is_not_known_is_404(ann: Collector) -> None:
    """As JSON."""
    answer = ann.http.get("/v1/profiles/nobody", headers=READER)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert ann.http.get("/v1/profiles?email=nobody@example.com", headers=READER).status_code == 404
    assert ann.http.get("/v1/profiles", headers=READER).status_code == 400


def test_an_address_finds_everyone_whose_it_is(ann: Collector) -> None:
    """However it is written; two who share a mailbox stay two people, and one who has moved on is not found."""
    found = ann.http.get("/v1/profiles?email=BOTH@example.com&fields=cart_items", headers=READER).json()
    assert [each["user_id"] for each in found["profiles"]] == ["ben", "cid"]
    moved = {"userId": "dan", "traits": {"email": "dan@old.example"}}
    assert ann.post("/v1/identify", moved).status_code == 200
    wait_for(ann, "/v1/profiles?email=dan@old.example")
    assert ann.post("/v1/identify", moved | {"traits": {"email": "dan@new.example"}}).status_code == 200
    wait_for(ann, "/v1/profiles?email=dan@new.example")
    assert ann.http.get("/v1/profiles?email=dan@old.example", headers=READER).status_code == 404


def test_many_profiles_at_once(ann: Collector) -> None:
    """By ids and addresses together; who is not known is named. A thousand is the most."""
    asked = {"user_ids": ["ann", "nobody"], "emails": ["both@example.com", "x@y.z"], "fields": ["email"]}
    found = ann.http.post("/v1/profiles:batch", json=asked, headers=READER).json()
    assert [each["user_id"] for each in found["profiles"]] == ["ann", "ben", "cid"]
    assert found["unknown"] == {"user_ids": ["nobody"], "emails": ["x@y.z"]}
    most = {"user_ids": [f"user-{number}" for number in range(1_000)]}
    assert len(ann.http.post("/v1/profiles:batch", json=most, headers=READER).json()["unknown"]["user_ids"]) == 1_000
    wrongs: list[Any] = [{"user_ids": [*most["user_ids"], "x"]}, {"user_ids": [1]}, {"ids": []}, [], {"user_ids": [""]}]
    for wrong in wrongs:
        assert ann.http.post("/v1/profiles:batch", json=wrong, headers=READER).status_code == 400
    too_many = most | {"emails": ["a@b.c"]}
    assert ann.http.post("/v1/profiles:batch", json=too_many, headers=READER).status_code == 400


def test_only_a_read_key_reads_and_only_its_own_tenant(ann: Collector) -> None:
    """A write key stands in every browser."""
    for headers in ({}, {"authorization": f"Bearer {WRITE_KEY}"}, {"authorization": "Bearer"}):
        assert ann.http.get("/v1/profiles/ann", headers=headers).status_code == 401
        assert ann.http.post("/v1/profiles:batch", json={}, headers=headers).status_code == 401
        assert ann.http.delete("/v1/users/ann", headers=headers).status_code == 401
    assert ann.http.delete("/v1/users/ann", headers=READER).status_code == 403
    assert ann.http.get("/v1/profiles?email=other@example.com", headers=READER).status_code == 404
    assert ann.http.get("/v1/profiles/ann", auth=("read-key-of-the-esp", "")).status_code == 200


def test_a_deleted_person_is_gone_and_that_can_be_proved(ann: Collector) -> None:
    """State, waits, profile and addresses: unknown at once, done when the fold has read the record.

    A person who comes back later starts anew.
    """
    user, email = "erased/ed é", "ed@example.com"
    assert ann.post("/v1/batch", cart(user, email)).status_code == 200
    path = "/v1/profiles/erased%2Fed%20%C3%A9"
    wait_for(ann, path)
    answer = ann.http.delete(path.replace("profiles", "users"), headers=ERASER)
    assert answer.status_code == 202, answer.text
    assert ann.http.get(path, headers=READER).status_code == 404
    assert ann.http.get(f"/v1/profiles?email={email}", headers=READER).status_code == 404

    place = answer.json()["record"]
    with redis.Redis.from_url(ann.redis_url) as client:
        (entry,) = client.xrange(f"waxmark:events:{place['partition']}", place["position"], place["position"])
    record = msgspec.json.decode(entry[1][b"v"])
    assert (record["type"], record["userId"]) == ("delete", user)

    end = time.monotonic() + 15
    while (proof := ann.http.get(answer.headers["location"], headers=ERASER).json())["status"] != "done":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert proof["record"] == place
    with redis.Redis.from_url(ann.redis_url) as client:
        keys = [key for key in client.scan_iter("*") if b"events" not in key]
        left = [key for key in keys if user.encode() in key or user.encode() in _all(client, key)]
    assert left == []
    assert all(shard.find(user_key("default", user)) is None for shard in _shards(ann))

    assert (
        ann.post("/v1/batch", {"batch": [track(user, "Product Viewed", properties={"product_id": 1})]}).status_code
        == 200
    )
    back = wait_for(ann, path).json()
    assert (back["events"], back["cart_items"], back["email"]) == (1, 0, "")
    assert ann.http.get("/v1/deletions/no-such", headers=ERASER).status_code == 404
    assert ann.http.get(answer.headers["location"], headers=READER).status_code == 403


def _all(client: Any, key: bytes) -> bytes:
    kind = client.type(key)
    if kind == b"hash":
        return repr(client.hgetall(key)).encode()
    if kind == b"set":
        return b" ".join(client.smembers(key))
    return (
        b" ".join(fields.get(b"v", b"") for _, fields in client.xrange(key)) if kind == b"stream" else client.get(key)
    )


def _shards(collector: Collector) -> list[Shard]:
    """Read the log into fresh shards, as a replay does."""
    shards = []
    with redis.Redis.from_url(collector.redis_url) as client:
        for partition in range(PARTITIONS):
            fold = Fold(Shard(partition), Limits())
            for position, fields in scan(client, "events", partition):
                now = int(position.partition("-")[0]) * 1000
                fold.apply(Batch(partition, [Record(position, now, fields[b"v"])], 0))
            shards.append(fold.shard)
    return shards


def test_an_unsent_email_of_a_deleted_person_is_not_sent(ann: Collector) -> None:
    """The wait goes with the person: after the campaign's hour, nothing is left to be due."""
    user = "erased-with-a-cart"
    assert ann.post("/v1/batch", cart(user, "gone@example.com")).status_code == 200
    wait_for(ann, f"/v1/profiles/{user}")
    answer = ann.http.delete(f"/v1/users/{user}", headers=ERASER)
    assert answer.status_code == 202
    shards = _shards(ann)
    assert not any(shard.due(user_key("default", user)) for shard in shards)
    assert any(shard.due(user_key("default", "ann")) for shard in shards)
