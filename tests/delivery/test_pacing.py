"""How fast a provider is called, when again, and when not at all."""

from itertools import pairwise

from operators.pacing import LONGEST_PAUSE, Breaker, TokenBucket, next_try
from state.clock import MINUTE, SECOND
from tests.delivery.lettering import NOON


def test_pauses_double_up_to_a_limit_and_no_two_triggers_come_back_together() -> None:
    """A thousand letters that failed together must not all be tried again in the same second."""
    pauses = [next_try("a", number, NOON) - NOON for number in range(1, 40)]
    assert all(later > earlier for earlier, later in pairwise(pauses[:9]))
    assert max(pauses) <= LONGEST_PAUSE
    firsts = {next_try(f"trigger-{n}", 1, NOON) - NOON for n in range(1000)}
    assert len(firsts) > 900
    assert min(firsts) >= SECOND // 2
    assert max(firsts) <= SECOND


def test_the_same_trigger_waits_equally_long_every_time() -> None:
    """Jitter is drawn from the id: what is decided twice is decided alike."""
    assert next_try("a", 3, NOON) == next_try("a", 3, NOON)


def test_a_provider_that_names_a_time_is_taken_at_its_word_within_reason() -> None:
    """A Retry-After of a day would outlive every campaign."""
    assert next_try("a", 1, NOON, retry_after=90) == NOON + 90 * SECOND
    assert next_try("a", 1, NOON, retry_after=86_400) == NOON + LONGEST_PAUSE


def test_a_bucket_gives_the_burst_at_once_and_then_its_rate() -> None:
    """Ten a second, five at once: the sixth is good a tenth of a second later."""
    bucket = TokenBucket(rate=10, burst=5)
    assert [bucket.take(NOON) for _ in range(5)] == [NOON] * 5
    assert [bucket.take(NOON) - NOON for _ in range(3)] == [100_000, 200_000, 300_000]
    assert bucket.take(NOON + 10 * SECOND) == NOON + 10 * SECOND


def test_a_clock_that_is_set_back_gives_no_tokens_and_takes_none() -> None:
    """The host's clock is corrected by a second while mail goes out."""
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.take(NOON) == NOON
    assert bucket.take(NOON - 5 * SECOND) == NOON + SECOND


def test_a_breaker_opens_after_failures_in_a_row_and_one_success_closes_it() -> None:
    """While it is open, one call in five seconds looks whether the provider is back."""
    breaker = Breaker(failures=3, rest=5 * SECOND)
    for _ in range(3):
        assert breaker.allows(NOON) == NOON
        breaker.heard(NOON, well=False)
    was_open = breaker.is_open
    assert breaker.allows(NOON) == NOON + 5 * SECOND
    later = NOON + 6 * SECOND
    assert breaker.allows(later) == later
    assert breaker.allows(later) == later + 5 * SECOND
    breaker.heard(later, well=True)
    assert (was_open, breaker.is_open) == (True, False)
    assert breaker.allows(NOON + MINUTE) == NOON + MINUTE


def test_a_breaker_rests_longer_after_each_look_that_failed_and_not_for_the_calls_that_were_under_way() -> None:
    """A provider that is down for the night is asked twice a minute; sixteen calls that fail together are one failure."""
    breaker = Breaker(failures=3, rest=SECOND, longest=4 * SECOND)
    for _ in range(16):
        breaker.heard(NOON, well=False)
    looks, now = [], NOON
    for _ in range(5):
        now = breaker.allows(now)
        assert breaker.allows(now) == now
        breaker.heard(now, well=False)
        looks.append((now - NOON) // SECOND)
    assert looks == [1, 3, 7, 11, 15]


def test_failures_that_are_not_in_a_row_open_nothing() -> None:
    """One letter in three fails: that is the letters, not the provider."""
    breaker = Breaker(failures=3)
    for number in range(30):
        breaker.heard(NOON, well=number % 3 == 0)
    assert not breaker.is_open
