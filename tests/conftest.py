"""Fixtures: a real Redis for each test that asks."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings

from connectors import redis_server

settings.register_profile("waxmark", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(
    "waxmark"
)  # in a fresh clone the first text costs two seconds: Hypothesis builds its table of Unicode

GIVEN_KAFKA = os.environ.pop("WAXMARK_KAFKA", None)
"""A broker to test against. Taken out of the environment, where it would put every other test on Kafka."""


@pytest.fixture(scope="session")
def given_kafka() -> str | None:
    """The broker that WAXMARK_KAFKA names, if it does."""
    return GIVEN_KAFKA


@pytest.fixture(scope="session")
def redis_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with redis_server.running(folder) as url:
        yield url


@pytest.fixture
def redis_url(redis_of_the_session: str) -> str:
    """An empty Redis."""
    with redis.Redis.from_url(redis_of_the_session) as client:
        client.flushall()
    return redis_of_the_session


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """A client of the empty Redis."""
    with redis.Redis.from_url(redis_url) as connection:
        yield connection
