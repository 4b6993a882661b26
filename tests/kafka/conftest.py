"""Fixtures: a real Kafka for the session, topics of its own for each test, and deployments that do not outlive it."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.deployment import Deployment
from connectors.kafka_client import Kafka
from connectors.kafka_topics import Topics
from tests.kafka.broker import Brokers, NoKafka, jars, running


def missing(error: NoKafka) -> None:
    """Skip where a developer's machine has no broker; CI must have one."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """One broker of our own, which a test may kill if it starts it again."""
    try:
        jars()
        with running(tmp_path_factory.mktemp("kafka")) as brokers:
            yield brokers
    except NoKafka as error:
        missing(error)


@pytest.fixture(scope="session")
def bootstrap(given_kafka: str | None, request: pytest.FixtureRequest) -> str:
    """Where a broker is: the given one, or our own."""
    return given_kafka or request.getfixturevalue("broker").bootstrap


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test has used."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def kafka(bootstrap: str, prefix: str) -> Kafka:
    """A Kafka with topics of two partitions."""
    kafka = Kafka(prefix, {"bootstrap.servers": bootstrap})
    Topics(kafka, 2, retention_days=7).create_and_check()
    return kafka


@pytest.fixture
def deploy(bootstrap: str, prefix: str, redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Build deployments on the same topics, which do not outlive the test."""
    built: list[Deployment] = []

    def build(name: str = "run") -> Deployment:
        deployment = Deployment(bootstrap, redis_url, tmp_path / name, prefix)
        if not built:
            deployment.create_topics()
        built.append(deployment)
        return deployment

    yield build
    for deployment in built:
        deployment.kill()
