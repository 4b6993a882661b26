"""Delivery as it really runs: processes of their own, killed with SIGKILL, before providers that misbehave."""

import time

from benchmarks.delivery import decide, over_kills, stage
from connectors.redis_streams import connect
from state.deliveries import Status


def test_every_trigger_has_one_outcome_over_kills_and_none_is_accepted_twice() -> None:
    """Half go to a mail server that knows no keys; what is perhaps accepted is counted, and not sent again.

    The long form is `make bench-delivery`: ten thousand triggers and twenty kills.
    """
    with stage() as on:
        found = over_kills(on, triggers=400, kills=4)
    assert found.kills == 4
    assert (found.lost, found.twice_ended) == (0, 0)
    assert (found.accepted_twice_with_keys, found.accepted_twice_without_keys) == (0, 0)
    assert (found.accepted_and_not_known, found.known_and_not_accepted) == (0, 0)
    assert set(found.statuses) <= {"accepted", "duplicate", "ambiguous"}
    assert found.statuses["accepted"] > 200


def test_a_stop_is_graceful_and_the_next_start_sends_nothing_again() -> None:
    """SIGTERM in the middle of the work: code 0, and nobody gets two emails."""
    with stage(calm=True) as on:
        for name in ("mail", "keyed", "delivery"):
            on.start(name)
        with connect(on.url) as client:
            for number in range(300):
                decide(client, number, time.time_ns() // 1000)
        while not on.outcomes():
            time.sleep(0.02)
        assert on.stop("delivery") == 0
        on.start("delivery")
        deadline = time.monotonic() + 30
        while len(outcomes := on.outcomes()) < 300:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert on.stop("delivery") == 0
        assert {outcome.status for outcome in outcomes} == {Status.ACCEPTED}
        assert set((on.accepted("mail") + on.accepted("keyed")).values()) == {1}
