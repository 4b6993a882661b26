"""Reading metrics back, as the live view of the demo does."""

import socket
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.scrape import exposition_quantile, exposition_sum, fetch
from connectors.telemetry import Telemetry

LATENCY = "waxmark_event_to_profile_seconds"


def histogram(*series: tuple[str, str]) -> str:
    """Write one histogram as it stands in an exposition; each series is its `le` and its cumulated count."""
    return f"# TYPE {LATENCY} histogram\n" + "".join(f'{LATENCY}_bucket{{le="{le}"}} {count}\n' for le, count in series)


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    """Of ten values between 0.1 and 0.2, the third of four quarters stands at three quarters of the way."""
    text = histogram(("0.1", "0"), ("0.2", "10"), ("0.5", "10"), ("+Inf", "10"))
    assert exposition_quantile(text, LATENCY, 0.75) == pytest.approx(0.175)
    assert exposition_quantile(text, LATENCY, 1) == pytest.approx(0.2)
    assert exposition_quantile(text, LATENCY, 0) == pytest.approx(0.1)


def test_a_quantile_in_the_first_bucket_is_interpolated_from_zero() -> None:
    """Latencies are not negative, so the first bucket starts at 0."""
    assert exposition_quantile(histogram(("0.1", "4"), ("+Inf", "4")), LATENCY, 0.5) == pytest.approx(0.05)


def test_a_quantile_above_the_highest_bound_is_that_bound() -> None:
    """Infinity would be of no use on a screen; PromQL answers with the highest bound too."""
    assert exposition_quantile(histogram(("0.1", "1"), ("60.0", "2"), ("+Inf", "9")), LATENCY, 0.99) == 60.0


@pytest.mark.parametrize("text", ["", histogram(("0.1", "0"), ("+Inf", "0"))], ids=["no series", "no values"])
def test_there_is_no_quantile_of_nothing(text: str) -> None:
    """In the first second of the demo nothing has been measured; it must show a dash and not a 0."""
    assert exposition_quantile(text, LATENCY, 0.5) is None


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_outside_of_zero_to_one_is_refused(q: float) -> None:
    """99 for 0.99 must not quietly answer the maximum."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        exposition_quantile(histogram(("0.1", "1"), ("+Inf", "1")), LATENCY, q)


def test_texts_of_several_processes_add_up() -> None:
    """The live view watches as many processes as there are workers, and shows one figure."""
    fast = histogram(("0.1", "10"), ("0.2", "10"), ("+Inf", "10"))
    slow = histogram(("0.1", "0"), ("0.2", "10"), ("+Inf", "10"))
    assert exposition_quantile(fast + slow, LATENCY, 0.5) == pytest.approx(0.1)
    assert exposition_quantile(fast + slow, LATENCY, 0.75) == pytest.approx(0.15)


@given(st.lists(st.floats(min_value=0, max_value=59), min_size=1), st.floats(min_value=0, max_value=1))
def test_an_estimate_lies_in_the_bucket_of_the_true_quantile(values: list[float], q: float) -> None:
    """Whatever the values, the estimate may be off by the width of one bucket and no more."""
    bounds = [0.5, 1, 2, 4, 8, 16, 32, 60]
    upto = [sum(value <= bound for value in values) for bound in bounds]
    text = histogram(*((str(b), str(n)) for b, n in zip(bounds, upto, strict=True)), ("+Inf", str(len(values))))
    estimate = exposition_quantile(text, LATENCY, q)
    assert estimate is not None
    at = next(i for i, n in enumerate(upto) if n >= q * len(values) and n)
    low = bounds[at - 1] if at else 0.0
    assert low <= estimate <= bounds[at] + 1e-9


def test_a_sum_is_over_the_series_that_have_the_labels() -> None:
    """The live view counts sends over all campaigns, and all triggers of one campaign."""
    text = (
        "# TYPE waxmark_triggers_total counter\n"
        'waxmark_triggers_total{campaign="cart",kind="send"} 3\n'
        'waxmark_triggers_total{campaign="browse",kind="send"} 2\n'
        'waxmark_triggers_total{campaign="cart",kind="cancel"} 1\n'
        "# TYPE waxmark_triggers_of_another_kind gauge\n"
        "waxmark_triggers_of_another_kind 100\n"
    )
    assert exposition_sum(text, "waxmark_triggers_total") == 6
    assert exposition_sum(text, "waxmark_triggers_total", kind="send") == 5
    assert exposition_sum(text, "waxmark_triggers_total", kind="send", campaign="cart") == 3
    assert exposition_sum(text, "waxmark_triggers_total", campaign="welcome") == 0


def test_what_was_recorded_is_what_is_read_back() -> None:
    """From recorder over HTTP to a figure on the screen: half of the values at 10 ms, half at 1 s."""
    with Telemetry(metrics_port=0) as telemetry:
        telemetry.metrics.profile_latency([0.01] * 50 + [1.0] * 50)
        telemetry.metrics.shard(0, users=5, timers=2, open_carts=1)
        telemetry.metrics.shard(1, users=7, timers=0, open_carts=0)
        text = fetch("127.0.0.1", telemetry.port or 0)
    assert exposition_quantile(text, LATENCY, 0.5) == pytest.approx(0.01)
    assert exposition_quantile(text, LATENCY, 0.99) == pytest.approx(1.0, abs=0.01)
    assert exposition_sum(text, "waxmark_users") == 12
    assert exposition_sum(text, "waxmark_users", partition="1") == 7


def test_a_process_that_is_not_there_yet_is_an_os_error() -> None:
    """The live view starts before the workers do, and has one kind of error to wait through."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        fetch("127.0.0.1", port)


@pytest.mark.parametrize(
    "answer", [b"NOT HTTP\r\n\r\n", b"HTTP/1.0 500 Oh\r\n\r\n"], ids=["another protocol", "an error"]
)
def test_what_answers_but_serves_no_metrics_is_an_os_error_that_says_so(answer: bytes) -> None:
    """A wrong port, say that of Redis, must not end the live view with a parser's error."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectionError, match="does not serve metrics"):
            fetch("127.0.0.1", server.getsockname()[1])
        thread.join()
