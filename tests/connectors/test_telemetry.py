"""Telemetry against the real things: Prometheus' own tool and parsers, and an OTLP receiver."""

import asyncio
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import prometheus_client
import pytest
from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strictly_parsed
from prometheus_client.parser import text_string_to_metric_families

from connectors.metrics import INSTRUMENTS
from connectors.recorder import Metrics
from connectors.scrape import exposition_sum, fetch
from connectors.telemetry import Telemetry, TelemetryError
from state.clock import SECOND
from state.events import Reason

NEW_YEAR = 1_767_225_600 * SECOND
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


def report_everything(metrics: Metrics) -> None:
    """Give every instrument a value."""
    metrics.observe_batch(
        0,
        records={"track": 3},
        rejects={Reason.INVALID: 1},
        duplicates=1,
        late=1,
        triggers={("cart", "send"): 1},
        not_sent={("cart", "empty_cart"): 1},
    )
    metrics.looked(0, now=NEW_YEAR, log_time=NEW_YEAR - SECOND, at_end=False)
    metrics.shard(0, users=2, timers=1, open_carts=1)
    metrics.snapshot(0, 1_000, 9_000, 0.02)
    metrics.uncovered(0, 1)
    metrics.profile_latency([0.004, 70.0])
    metrics.suppressed("triggers", 1)
    metrics.delivered("mail", "accepted", 0.2)
    metrics.deferred("mail")
    metrics.learned("default", "adagrad", 3, 1)
    metrics.judged("default", "adagrad", 0.4, 0.8)
    metrics.delivering({0: 1}, {"mail": True})


def scraped(telemetry: Telemetry) -> str:
    """Fetch what this process serves."""
    assert telemetry.port is not None
    return fetch("127.0.0.1", telemetry.port)


def decide(telemetry: Telemetry, traceparent: str | None, trigger_id: str = "01KDVTKS00EXAMPLE000000000") -> None:
    """Report one trigger, decided 2.5 s after the record that caused it."""
    telemetry.trace_trigger(
        traceparent,
        NEW_YEAR,
        NEW_YEAR + 2_500_000,
        trigger_id=trigger_id,
        campaign_id="cart_abandonment",
        partition=3,
    )


def test_telemetry_is_off_unless_it_is_asked_for() -> None:
    """No port, no thread, no record kept: a laptop that only replays a file must not listen to anything."""
    before = threading.active_count()
    with Telemetry() as telemetry:
        decide(telemetry, SAMPLED)
        assert (telemetry.port, telemetry.metrics.enabled) == (None, False)
        assert threading.active_count() == before


def test_the_metrics_of_the_closed_list_are_served_under_their_names_and_nothing_else_is() -> None:
    """The exporter renames by unit and adds `target_info` and `otel_scope_*`: none of that may reach a dashboard."""
    with Telemetry(metrics_port=0) as telemetry:
        report_everything(telemetry.metrics)
        text = scraped(telemetry)
    served = re.findall(r"# TYPE (\w+) (\w+)", text)
    assert sorted(served) == sorted((each.name, each.kind.value) for each in INSTRUMENTS)
    expected = {i.name: set(i.labels) | ({"le"} if i.bounds else set()) for i in INSTRUMENTS}
    for family in text_string_to_metric_families(text):
        assert family.samples
        for sample in family.samples:
            name = re.sub(r"_(bucket|count|sum)$", "", sample.name)
            assert set(sample.labels) in (expected[name], expected[name] - {"le"})


@pytest.mark.parametrize("report", [report_everything, lambda _metrics: None], ids=["with values", "just started"])
def test_promtool_has_no_complaint_about_what_is_served(report: Callable[[Metrics], None]) -> None:
    """Prometheus' own linter knows the conventions on names, units and help texts better than we do."""
    promtool = shutil.which("promtool")
    if promtool is None:
        missing = "promtool is not installed; it is in Debian's package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with Telemetry(metrics_port=0) as telemetry:
        report(telemetry.metrics)
        text = scraped(telemetry)
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_scraper_that_asks_for_openmetrics_gets_it_without_an_error() -> None:
    """Prometheus asks for OpenMetrics by default, whose rules on names and units are stricter."""
    with Telemetry(metrics_port=0) as telemetry:
        report_everything(telemetry.metrics)
        connection = http.client.HTTPConnection("127.0.0.1", telemetry.port)
        connection.request("GET", "/metrics", headers={"Accept": CONTENT_TYPE_LATEST})
        text = connection.getresponse().read().decode()
        connection.close()
    families = {family.name for family in strictly_parsed(text)}  # type: ignore[no-untyped-call] # the library has no hints there
    assert families == {instrument.name.removesuffix("_total") for instrument in INSTRUMENTS}


def test_scrapes_at_the_same_time_each_get_every_metric_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter puts each scrape's values into one queue and then empties the queue.

    A thread that is interrupted between the two leaves its values to another one, which then serves everything twice and
    the first nothing. The interruption is rare, so it is made certain here.
    """
    receive = PrometheusMetricReader._receive_metrics  # noqa: SLF001 - the place of the interruption

    def receive_and_be_interrupted(reader: PrometheusMetricReader, *args: Any, **kwargs: Any) -> None:
        receive(reader, *args, **kwargs)
        time.sleep(0.01)

    monkeypatch.setattr(PrometheusMetricReader, "_receive_metrics", receive_and_be_interrupted)
    with Telemetry(metrics_port=0) as telemetry, ThreadPoolExecutor(8) as pool:
        report_everything(telemetry.metrics)
        texts = list(pool.map(lambda _: scraped(telemetry), range(24)))
    for text in texts:
        assert sorted(re.findall(r"# TYPE (\w+)", text)) == sorted(instrument.name for instrument in INSTRUMENTS)


def test_recording_while_being_scraped_loses_nothing_and_never_runs_backwards() -> None:
    """The worker's thread records while the exposition's reads; a series may also appear in the middle of a scrape."""
    with Telemetry(metrics_port=0) as telemetry:

        def work() -> None:
            for batch in range(3_000):
                telemetry.metrics.observe_batch(batch % 50, records={"track": 2})
                telemetry.metrics.profile_latency([0.004])

        worker = threading.Thread(target=work)
        worker.start()
        seen = []
        while worker.is_alive():
            text = scraped(telemetry)
            seen.append(exposition_sum(text, "waxmark_event_to_profile_seconds_count"))
            infinite = exposition_sum(text, "waxmark_event_to_profile_seconds_bucket", le="+Inf")
            assert infinite == seen[-1]
        worker.join()
        assert seen == sorted(seen)
        assert exposition_sum(scraped(telemetry), "waxmark_records_total") == 6_000


def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    """The second process on a machine is told which setting to change, not shown a traceback of `bind`."""
    with Telemetry(metrics_port=0) as first, pytest.raises(TelemetryError) as told:
        Telemetry(metrics_port=first.port)
    assert str(told.value) == (
        f"metrics cannot be served on 127.0.0.1:{first.port}: Address already in use; set another host or port"
    )


@pytest.mark.parametrize(("host", "port"), [("host.invalid", 0), ("127.0.0.1", 70_000), ("203.0.113.7", 0)])
def test_an_address_that_is_none_of_ours_is_told_in_a_sentence(host: str, port: int) -> None:
    """An unknown name, a port that does not exist, and an address of another machine fail in three different ways."""
    with pytest.raises(TelemetryError, match=f"^metrics cannot be served on {host}:{port}: "):
        Telemetry(host, port)


@pytest.mark.parametrize("endpoint", ["localhost:4318", "", "http://", "ftp://collector", "http://[", "http://c:99999"])
def test_an_endpoint_that_is_no_url_is_told_in_a_sentence_before_anything_is_opened(endpoint: str) -> None:
    """The exporter takes any text and fails on its own thread, once every few seconds, for ever."""
    before = threading.active_count()
    with pytest.raises(TelemetryError, match=r"must be a URL such as http://localhost:4318"):
        Telemetry(metrics_port=0, otlp_endpoint=endpoint)
    assert threading.active_count() == before


def test_a_process_can_start_stop_and_start_again_on_the_same_port() -> None:
    """Neither the port nor a registry may be left behind; the second run starts with counters at 0."""
    with Telemetry(metrics_port=0) as first:
        first.metrics.observe_batch(0, rejects={Reason.INVALID: 5})
    first.shutdown()
    before = threading.active_count()
    with Telemetry(metrics_port=first.port) as second:
        assert exposition_sum(scraped(second), "waxmark_rejects_total") == 0
    assert threading.active_count() == before


def test_two_in_one_process_do_not_see_each_other_and_touch_nothing_global() -> None:
    """Global registries and providers can be set once in a process: the second test, or the host, would get the first's."""
    with Telemetry(metrics_port=0, otlp_endpoint="http://127.0.0.1:9") as one, Telemetry(metrics_port=0) as other:
        report_everything(one.metrics)
        assert exposition_sum(scraped(one), "waxmark_users") == 2
        assert exposition_sum(scraped(other), "waxmark_users") == 0
        assert b"waxmark" not in prometheus_client.generate_latest()
        assert type(otel_trace.get_tracer_provider()).__module__ != "opentelemetry.sdk.trace"
        assert not type(otel_metrics.get_meter_provider()).__module__.startswith("opentelemetry.sdk")


def received(act: Callable[[Telemetry], None], until: str) -> list[Span]:
    """Run `act` with traces on, and return the spans that a real OTLP receiver got up to the trigger with id `until`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    spans: list[Span] = []

    async def run() -> None:
        settings = OtelTapHttpProtobufReceiverSettings(http_port=port)
        async with OtelTapHttpProtobufReceiver(settings) as receiver:

            def is_last(span: Span) -> bool:
                spans.append(span)
                return ("waxmark.trigger_id", until) in [(a.key, a.value.string_value) for a in span.attributes]

            last: Awaitable[Span] = asyncio.ensure_future(receiver.await_trace(is_last, timeout=20))
            await asyncio.sleep(0)
            await asyncio.to_thread(act_and_stop)
            await last

    def act_and_stop() -> None:
        with Telemetry(otlp_endpoint=f"http://127.0.0.1:{port}/") as telemetry:
            act(telemetry)

    asyncio.run(run())
    return spans


def test_a_trigger_becomes_a_child_of_the_span_that_sent_the_event() -> None:
    """From click to trigger in one trace: parent ids, log times as start and end, and attributes that name nobody."""
    (span,) = received(lambda telemetry: decide(telemetry, SAMPLED, "A"), until="A")
    assert span.name == "waxmark.trigger"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.span_id.hex() != PARENT
    assert span.start_time_unix_nano == 1_767_225_600_000_000_000
    assert span.end_time_unix_nano == 1_767_225_602_500_000_000
    attributes = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
    assert attributes == {"waxmark.trigger_id": "A", "waxmark.campaign_id": "cart_abandonment", "waxmark.partition": 3}


MALFORMED = [
    "",
    "hello",
    SAMPLED.upper(),
    SAMPLED[:-1],
    SAMPLED + "-extra",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE}-{PARENT}-0\u0661",
    "\ud800",
    "0" * 100_000,
]


def test_a_trigger_whose_cause_has_no_usable_or_no_sampled_trace_adds_no_span() -> None:
    """Anyone can send a traceparent; whatever it is, the trigger goes on, and no trace is started for it."""

    def act(telemetry: Telemetry) -> None:
        for traceparent in [None, UNSAMPLED, *MALFORMED]:
            decide(telemetry, traceparent, "untraced")
        decide(telemetry, SAMPLED, "traced")

    (span,) = received(act, until="traced")
    assert span.trace_id.hex() == TRACE


def test_a_collector_that_is_away_does_not_hold_up_a_stop() -> None:
    """Kubernetes kills after its grace period, and with it the final snapshot: waiting for a collector must end."""
    telemetry = Telemetry(otlp_endpoint="http://127.0.0.1:9")
    decide(telemetry, SAMPLED)
    began = time.monotonic()
    telemetry.shutdown()
    assert time.monotonic() - began < 6
