"""The full job's benchmark measures what it says: the whole job, of all events, with parts that add up."""

import json
from pathlib import Path

import pytest

from benchmarks import document, full_job
from benchmarks.job_log import CAMPAIGNS, KAFKA_RATE, Day, of_peers, of_shop, shortened
from benchmarks.job_parts import Steps, parts
from benchmarks.job_run import NotSane, Run, Setup, over_redis
from connectors import campaign_file
from simulator.shop import Sent
from state.events import Event, decode

EVENTS, USERS = 6_000, 500


@pytest.fixture(scope="module")
def day() -> Day:
    """Some minutes of a small shop."""
    return of_shop(EVENTS, USERS, 20.0)


def test_a_run_reads_every_event_and_the_parts_add_up(tmp_path: Path) -> None:
    """Real workers over a real Redis; what they cost is what the parts cost, and what is left over is one of them."""
    results = tmp_path / "full_job.json"
    full_job.main(
        [
            *("--events", str(EVENTS), "--users", str(USERS), "--runs", "1"),
            *("--no-kafka", "--results", str(results)),
        ]
    )
    kept = json.loads(results.read_text())
    third, whole = (Run(**run) for run in kept["runs"][full_job.REDIS.name][0])

    assert (third.events, whole.events) == (EVENTS // 3, EVENTS)
    assert third.users < whole.users == kept["users"]
    assert 0 < third.triggers < whole.triggers
    assert sum(kept["parts"].values()) == pytest.approx(
        (whole.cpu - third.cpu) / (EVENTS - EVENTS // 3) * 1e6, abs=1e-6
    )


def test_a_log_too_short_to_say_what_an_event_costs_is_reported_without_a_figure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a busy machine the whole of 6,000 events once used no more CPU than their third, and the report divided by zero."""
    third = Run(2_000, cpu=0.77, wall=0.9, peak_mb=103, users=312, triggers=101, decisions=196, dead_letters=3)
    whole = third._replace(events=6_000, wall=0.8, triggers=407)
    pairs = {setup.name: [(third, whole)] for setup in (full_job.REDIS, full_job.NO_SNAPSHOTS, full_job.BARE)}
    full_job.report(pairs, {})

    assert "events/CPU s nan; whole run 7,792; events/s nan" in capsys.readouterr().out


def test_a_run_that_lost_somebody_is_found_out(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that skips records is fast; its figures must not be kept."""
    users = day.users()
    monkeypatch.setattr(Day, "users", lambda _: users | {"somebody who never came"})

    with pytest.raises(NotSane, match=f"{len(users)} profiles of {len(users) + 1} users"):
        over_redis(day, Setup("one is missing"))


def test_the_parts_of_two_logs_are_those_of_the_events_between_them() -> None:
    """Each step does all that the steps before it did, so that a part is a difference; composing is a share of the fold."""
    third = Steps(source=1, decode=1, bare=3, share=0.2, plain=4, whole=5, redis=1, sinks=1)
    whole = Steps(source=2, decode=3, bare=8, share=0.2, plain=10, whole=13, redis=2, sinks=3)
    found = parts(third, whole, 1_000_000)

    assert [*found.values()] == pytest.approx([1, 2, 2, 1, 1, 2, 1, 2])


@pytest.mark.parametrize("generate", [of_shop, of_peers])
def test_a_days_events_are_appended_when_they_say_that_they_happened(generate: full_job.Generate) -> None:
    """Both kinds of traffic end now: an old one would be late, trimmed, or fire months of timers at its end."""
    day = generate(EVENTS, USERS, 20.0)
    events = [(sent, seen) for sent in day.sent if isinstance(seen := decode(sent.value, sent.log_time), Event)]

    assert len(day.sent) == EVENTS
    assert len(events) > 0.98 * EVENTS
    assert all(-1 <= (sent.log_time - seen.time) / 1e6 <= 35 for sent, seen in events)
    assert day.seconds == pytest.approx(EVENTS / 20, rel=0.2)


def test_campaigns_are_shortened_as_the_day_is(tmp_path: Path) -> None:
    """On Kafka half a day is appended within seconds, and carts must be abandoned in that time."""
    day = Day([Sent(0, "", b"")] * int(KAFKA_RATE), seconds=1000.0)
    before = {each.id: each.wait for each in campaign_file.load(CAMPAIGNS)}
    after = {each.id: each.wait for each in shortened(day, tmp_path / "campaigns.yaml")}

    assert day.faster == 1000
    assert after == {name: wait // 1000 for name, wait in before.items()}


def test_tables_are_put_into_their_places_and_nowhere_else(tmp_path: Path) -> None:
    """A figure that landed in another table would be believed."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- one -->\nold\n<!-- /one -->\nbetween\n<!-- two -->\nold\n<!-- /two -->\nafter\n")
    document.put("two", document.table("a | b", [["1", "2"]]), page)

    new = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert (
        page.read_text()
        == f"before\n<!-- one -->\nold\n<!-- /one -->\nbetween\n<!-- two -->\n{new}\n<!-- /two -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no place for three"):
        document.put("three", ["x"], page)


@pytest.mark.parametrize("name", ["job", "job-parts", "latency"])
def test_the_page_has_a_place_for_every_table(name: str, tmp_path: Path) -> None:
    """Half an hour of measuring must not end with an error."""
    page = tmp_path / "page.md"
    page.write_text(document.DOCUMENT.read_text())
    document.put(name, ["figures"], page)

    assert f"<!-- {name} -->\nfigures\n<!-- /{name} -->" in page.read_text()
