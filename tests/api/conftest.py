"""Fixtures: a collector that the tests of a session share, over a Redis of its own."""

from collections.abc import Iterator

import pytest

from connectors import redis_server
from tests.api.collecting import Collector


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector; tests share its log, so each has people of its own."""
    with redis_server.running(tmp_path_factory.mktemp("collector-redis")) as url:
        collector = Collector(url, tmp_path_factory.mktemp("collector")).start()
        yield collector
        code = collector.stop()
    assert code == 0, collector.log()
