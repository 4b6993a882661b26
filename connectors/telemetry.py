"""What a process tells its operators: metrics for Prometheus to scrape, traces over OTLP. Off unless asked for.

No global provider or registry is touched, so a process may start, stop and start again.
"""

from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace import SpanKind, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from connectors.exposition import serve
from connectors.health import Health
from connectors.recorder import Metrics
from connectors.settings import Settings
from state.clock import SECOND

_NAME: Final = "waxmark"
_TRACES_PATH: Final = "/v1/traces"
_EXPORT_SECONDS: Final = 2.0
"""For one export with its retries; as the queue holds two exports, a dead collector holds up a stop for six at most."""

_QUEUED_SPANS, _SPANS_PER_EXPORT = 1024, 512
_NANOSECONDS: Final = 1_000
_propagator: Final = TraceContextTextMapPropagator()


class TelemetryError(Exception):
    """Telemetry that cannot start as configured; the message says what to change."""


class Telemetry:
    """The metrics and traces of one process; a context manager that flushes and stops both.

    Args:
        metrics_host: the interface on which metrics are served, to anyone who can reach it.
        metrics_port: the port for them; 0 takes a free one, None neither serves nor records.
        stall_seconds, lag_seconds: the limits of health; see `Health`.
        otlp_endpoint: base URL of an OTLP/HTTP collector, None traces nothing. Headers and certificates come from the
            standard `OTEL_EXPORTER_OTLP_*` variables.

    Raises:
        TelemetryError: the port is taken, the host is not this machine's, or the endpoint is no URL.
    """

    def __init__(
        self,
        metrics_host: str = "127.0.0.1",
        metrics_port: int | None = None,
        otlp_endpoint: str | None = None,
        *,
        stall_seconds: float = 60.0,
        lag_seconds: float = 120.0,
    ) -> None:
        endpoint = None if otlp_endpoint is None else _traces_url(otlp_endpoint)
        self._stack: Final = ExitStack()
        self.metrics: Final = Metrics(enabled=metrics_port is not None)
        self.health: Final = Health(self.metrics, int(stall_seconds * SECOND), int(lag_seconds * SECOND))
        self.port: Final = (
            None if metrics_port is None else _serve(metrics_host, metrics_port, self.metrics, self.health, self._stack)
        )
        self._tracer: Final = None if endpoint is None else _open_tracer(endpoint, self._stack)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Start what the settings ask for. Raises TelemetryError."""
        return cls(
            settings.metrics_host,
            settings.metrics_port,
            settings.otlp_endpoint,
            stall_seconds=settings.stall_seconds,
            lag_seconds=settings.ready_lag_seconds,
        )

    def trace_trigger(
        self,
        traceparent: str | None,
        record_time: int,
        decided_at: int,
        *,
        trigger_id: str,
        campaign_id: str,
        partition: int,
    ) -> None:
        """Add the span of a written trigger to the trace that its cause belongs to.

        Nothing is added without a valid W3C `traceparent`, nor where the sender did not sample. Never blocks: spans
        that a slow collector cannot take are dropped.

        Args:
            traceparent: what the causing record carried.
            record_time: its append time, where the span starts; microseconds UTC.
            decided_at: the log time of the decision, where the span ends.
            trigger_id: the trigger's id; like the rest of the attributes, no personal data.
            campaign_id: the campaign's id.
            partition: whose log it was.
        """
        if self._tracer is None or not traceparent:
            return
        cause = _propagator.extract({"traceparent": traceparent})
        if not get_current_span(cause).get_span_context().is_valid:
            return
        attributes = {f"{_NAME}.trigger_id": trigger_id, f"{_NAME}.campaign_id": campaign_id}
        span = self._tracer.start_span(
            f"{_NAME}.trigger",
            context=cause,
            kind=SpanKind.CONSUMER,
            attributes={**attributes, f"{_NAME}.partition": partition},
            start_time=record_time * _NANOSECONDS,
        )
        span.end(decided_at * _NANOSECONDS)

    def shutdown(self) -> None:
        """Flush traces and stop serving metrics; a second call does nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def _serve(host: str, port: int, metrics: Metrics, health: Health, stack: ExitStack) -> int:
    try:
        return serve(host, port, metrics, health, stack)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise TelemetryError(f"metrics cannot be served on {host}:{port}: {why}; set another host or port") from error


def _open_tracer(endpoint: str, stack: ExitStack) -> Tracer:
    silent = NoOpMeterProvider()
    provider = TracerProvider(
        sampler=DEFAULT_ON,
        resource=Resource.create({SERVICE_NAME: _NAME}),
        shutdown_on_exit=False,
        meter_provider=silent,
    )
    exporter = OTLPSpanExporter(endpoint, timeout=_EXPORT_SECONDS, meter_provider=silent)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, _QUEUED_SPANS, max_export_batch_size=_SPANS_PER_EXPORT, meter_provider=silent)
    )
    stack.callback(provider.shutdown)
    return provider.get_tracer(_NAME)


def _traces_url(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TelemetryError(f"the OTLP endpoint must be a URL such as http://localhost:4318, not {endpoint!r}")
    base = endpoint.rstrip("/")
    return base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH
