"""Reading a process's own metrics back: fetch the exposition, sum series, estimate quantiles.

Texts of several processes may be joined; series of the same name add up.
"""

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from math import inf

from prometheus_client.parser import text_string_to_metric_families


def fetch(host: str, port: int, timeout: float = 2.0) -> str:
    """Scrape the metrics served on an address; `timeout` is in seconds. Raises OSError where there is no answer."""
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read().decode()
    except (HTTPException, UnicodeDecodeError) as error:
        raise ConnectionError(f"{host}:{port} does not serve metrics: {type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != 200:  # noqa: PLR2004 - HTTP's own word for success
        raise ConnectionError(f"{host}:{port} does not serve metrics: status {response.status}")
    return body


def exposition_sum(text: str, name: str, **labels: str) -> float:
    """Add up a counter's or gauge's series, of those with the given label values only; 0 where there are none yet.

    Raises ValueError on text that is no exposition.
    """
    return sum((value for found, value in _samples(text, name) if labels.items() <= found.items()), 0.0)


def exposition_quantile(text: str, name: str, q: float) -> float | None:
    """Estimate a quantile of a histogram since its process started, interpolated within the bucket as PromQL does.

    Args:
        text: what `fetch` returned.
        name: the histogram's name, without `_bucket`.
        q: the quantile, 0 to 1.

    Returns:
        The estimate in the histogram's unit; the highest bound where it lies above it; None while there are no values.

    Raises:
        ValueError: `q` lies outside, or the text is no exposition.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
    upto: dict[float, float] = {}
    for labels, value in _samples(text, f"{name}_bucket"):
        bound = float(labels["le"])
        upto[bound] = upto.get(bound, 0.0) + value
    if not upto.get(inf):
        return None
    rank = q * upto[inf]
    buckets = pairwise([(0.0, 0.0), *sorted(upto.items())])
    (low, before), (high, after) = next((b, a) for b, a in buckets if a[1] >= rank and a[1] > b[1])
    return low if high == inf else low + (high - low) * (rank - before) / (after - before)


def _samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value
