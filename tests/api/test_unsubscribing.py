"""Leaving by one click: it works for programs and people, for good, and for nobody who merely follows links."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from api.unsubscribing import unsubscribed
from connectors import redis_server
from connectors.redis_streams import scan
from connectors.topics import EVENTS
from rendering.signed import Link, Seals
from state.clock import HOUR, MINUTE, from_iso
from state.events import Event, decode
from tests.api.collecting import PARTITIONS, records
from tests.api.opening import OLD_SECRET, SECRET, TRIGGER_ID, Serving, cart_token, leaving_token
from tests.shopping import START, Story, added_to_cart

ONE_CLICK = "List-Unsubscribe=One-Click"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A process that the tests here share; each has people of its own."""
    with redis_server.running(tmp_path_factory.mktemp("leaving-redis")) as url:
        found = Serving(
            url, tmp_path_factory.mktemp("leaving"), "--shop-name", "Wick", "--shop-url", "https://w.example"
        )
        yield found
        code = found.stop()
    assert code == 0, found.log()


def of(serving: Serving, user_id: str) -> list[dict[str, Any]]:
    """What the log has of somebody."""
    return [record for record in records(serving.redis_url) if record.get("userId") == user_id]


def test_following_the_link_changes_nothing(serving: Serving) -> None:
    """Scanners of mail follow every link, by GET and by HEAD."""
    url = f"/u/{leaving_token('careful')}"
    shown = serving.http.get(url)
    assert shown.status_code == serving.http.head(url).status_code == 200
    assert of(serving, "careful") == []


def test_the_page_has_one_button_and_can_be_used_by_everybody(serving: Serving) -> None:
    """A language, a title, a heading, a real button; no script, no image, nothing from elsewhere."""
    page = serving.http.get(f"/u/{leaving_token('reader')}")
    assert '<html lang="en">' in page.text
    assert page.text.count("<h1>") == page.text.count("<button") == page.text.count('<form method="post">') == 1
    assert "<title>Unsubscribe" in page.text
    assert 'name="viewport"' in page.text
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("user", "body", "headers"),
    [
        ("by-mail-program", ONE_CLICK, FORM),
        ("by-button", "List-Unsubscribe=One-Click&x=", FORM),
        ("by-nothing", "", {}),
        (
            "by-multipart",
            "--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b--",
            {"content-type": "multipart/form-data; boundary=b"},
        ),
        ("by-megabyte", "x" * 1_000_000, FORM),
    ],
)
def test_one_click_is_in_the_log_when_it_is_answered(
    serving: Serving, user: str, body: str, headers: dict[str, str]
) -> None:
    """Both kinds of form that RFC 8058 allows, no cookie, no redirect; the body is no matter."""
    answer = serving.http.post(f"/u/{leaving_token(user)}", content=body, headers=headers)
    assert answer.status_code == 200
    assert "unsubscribed" in answer.text
    (record,) = of(serving, user)
    assert (record["type"], record["event"], record["tenant"]) == ("track", "Unsubscribed", "default")
    assert record["properties"] == {"trigger_id": TRIGGER_ID}


def test_the_fold_sends_nothing_after_it(serving: Serving) -> None:
    """Ann and Ben fill their carts; Ann leaves; an hour later Ben gets an email, and Ann's is a decision with its reason."""
    assert serving.http.post(f"/u/{leaving_token('ann')}", content=ONE_CLICK, headers=FORM).status_code == 200
    (record,) = of(serving, "ann")
    value = next(each for each in raw(serving) if b'"ann"' in each)
    event = decode(value, 2**60)
    assert isinstance(event, Event)
    story, now = Story(), from_iso(record["receivedAt"])
    for user in ("ann", "ben"):
        story.append(added_to_cart(now - MINUTE, user=user), now - MINUTE)
    story.append(value, now)
    story.append(value, now + MINUTE)
    story.read_to(now + 2 * HOUR)
    assert [trigger["user_id"] for trigger in story.triggers()] == ["ben"]
    assert story.reasons() == ["unsubscribed"]


def raw(serving: Serving) -> list[bytes]:
    """All that is in the log, as bytes."""
    with redis.Redis.from_url(serving.redis_url) as client:
        return [fields[b"v"] for part in range(PARTITIONS) for _, fields in scan(client, EVENTS, part)]


def test_asking_twice_is_asking_once_but_leaving_again_later_is_heard() -> None:
    """Programs repeat within minutes: one message id, taken once. Who came back, and leaves by the old email, leaves."""
    link = Link(0, "default", "ann", TRIGGER_ID)

    def message_id(link: Link, now: int) -> str:
        event = decode(unsubscribed(link, now), now)
        assert isinstance(event, Event)
        return event.message_id

    assert message_id(link, START) == message_id(link, START + 59 * MINUTE)
    others = {message_id(link, START + HOUR), message_id(Link(0, "default", "ben", TRIGGER_ID), START)}
    others.add(message_id(Link(0, "other", "ann", TRIGGER_ID), START))
    assert len(others | {message_id(link, START)}) == 4


def test_coming_back_and_leaving_again_by_the_old_email_works() -> None:
    """The trait that takes an unsubscription back must not make the link a dead one."""
    link, story = Link(0, "default", "ann", TRIGGER_ID), Story()
    story.append(unsubscribed(link, START + MINUTE), START + MINUTE)
    back = b'{"type":"identify","messageId":"i","userId":"ann","timestamp":"2026-01-01T02:00:00Z","traits":{"subscribed":true}}'
    story.append(back, START + 2 * HOUR)
    story.append(unsubscribed(link, START + 3 * HOUR), START + 3 * HOUR)
    story.append(added_to_cart(START + 4 * HOUR), START + 4 * HOUR)
    story.read_to(START + 6 * HOUR)
    assert story.triggers() == []


def test_a_link_that_is_not_ours_says_so_kindly(serving: Serving) -> None:
    """Cut off by a mail program, made up, of a cart, or by a stranger: no event, no error, 404."""
    ours = leaving_token("forged")
    for token in (ours[:-4], ours[:-1] + "!", cart_token("forged"), leaving_token("forged", seals=Seals(["x" * 32]))):
        for method in ("GET", "POST"):
            answer = serving.http.request(method, f"/u/{token}")
            assert answer.status_code == 404
            assert "does not work" in answer.text
    assert of(serving, "forged") == []


def test_a_link_of_the_secret_before_still_works(serving: Serving) -> None:
    """Old emails are left by, too."""
    assert serving.http.post(f"/u/{leaving_token('rotated', seals=Seals([OLD_SECRET]))}").status_code == 200
    assert len(of(serving, "rotated")) == 1


def test_other_methods_are_refused(serving: Serving) -> None:
    """405, and nothing happens."""
    assert serving.http.put(f"/u/{leaving_token('putter')}").status_code == 405
    assert of(serving, "putter") == []


def test_while_the_log_is_away_the_click_is_put_off_and_not_lost(tmp_path: Path) -> None:
    """503 with Retry-After, which mail programs heed, and the button again for people; then it works."""
    port, path = redis_server.free_port(), f"/u/{leaving_token('stubborn')}"
    with redis_server.running(tmp_path / "redis", port) as url:
        serving = Serving(url, tmp_path)
        assert serving.http.get("/readyz").status_code == 200
    try:
        away = serving.http.post(path, content=ONE_CLICK, headers=FORM)
        assert away.status_code == 503
        assert int(away.headers["retry-after"]) >= 1
        assert "<button" in away.text
        assert serving.http.get(path).status_code == 200, "the page needs no log"
        with redis_server.running(tmp_path / "redis", port):
            for _ in range(100):
                if serving.http.post(path, content=ONE_CLICK, headers=FORM).status_code == 200:
                    break
                time.sleep(0.05)
            assert {record["messageId"] for record in of(serving, "stubborn")} != set()
    finally:
        assert serving.stop() == 0, serving.log()
    assert SECRET not in serving.log()
    assert "stubborn" not in serving.log()
