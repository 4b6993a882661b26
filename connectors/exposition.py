"""Metrics in Prometheus' format over HTTP, read from the recorder's totals at each scrape, and health beside them.

The OpenTelemetry SDK carries counters and gauges as observable instruments. It has no observable histogram, so those
stand in the same registry through Prometheus' own client. Names come out as `connectors.metrics` has them: the exporter
adds a unit or `_total` only where it is missing, and its `target_info` and `otel_scope_*` labels are switched off.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import accumulate
from threading import Lock

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.core import HistogramMetricFamily, Metric

from connectors.health import Health, answering
from connectors.metrics import INSTRUMENTS, Instrument, Kind
from connectors.recorder import Metrics


def serve(host: str, port: int, metrics: Metrics, health: Health, stack: ExitStack) -> int:
    """Serve metrics and health from a thread of its own until `stack` closes; return the port, chosen freely where `port` is 0.

    Raises OSError or OverflowError where the address cannot be bound.
    """
    registry = _Registry()
    server, thread = start_http_server(port, host, registry)
    server.set_app(answering(make_wsgi_app(registry), health, _now))
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    provider = MeterProvider([reader], exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    stack.callback(provider.shutdown)
    _observe(provider.get_meter("waxmark"), metrics)
    registry.register(_Histograms(metrics))
    return server.server_port


def _now() -> int:
    return time.time_ns() // 1000


class _Registry(CollectorRegistry):
    """A registry that serves one scrape at a time: two at once would share, and mix up, the reader's one queue."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = Lock()

    def collect(self) -> Iterable[Metric]:
        with self._turn:
            return list(super().collect())


class _Histograms:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        for instrument in INSTRUMENTS:
            if instrument.kind is Kind.HISTOGRAM:
                yield self._family(instrument)

    def _family(self, instrument: Instrument) -> HistogramMetricFamily:
        family = HistogramMetricFamily(instrument.name, instrument.meaning, labels=instrument.labels)
        bounds = [*map(str, instrument.bounds), "+Inf"]
        for labels, spread in self._metrics.spreads(instrument):
            family.add_metric(labels, list(zip(bounds, accumulate(spread.counts), strict=True)), spread.total)
        return family


def _observe(meter: Meter, metrics: Metrics) -> None:
    creators = {Kind.COUNTER: meter.create_observable_counter, Kind.GAUGE: meter.create_observable_gauge}
    for instrument in INSTRUMENTS:
        if instrument.kind in creators:
            create = creators[instrument.kind]
            create(instrument.name, [_reading(metrics, instrument)], instrument.unit, instrument.meaning)


def _reading(metrics: Metrics, instrument: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_options: CallbackOptions) -> Iterable[Observation]:
        for labels, value in metrics.values(instrument):
            yield Observation(value, dict(zip(instrument.labels, labels, strict=True)))

    return read
