"""Three brokers, one of them killed."""

import os
from pathlib import Path

from benchmarks.deployment import Deployment, Traffic
from connectors.topics import TRIGGERS
from tests.kafka.broker import NoKafka, running
from tests.kafka.conftest import missing


def test_with_three_brokers_the_loss_of_one_loses_and_repeats_nothing(redis_url: str, tmp_path: Path) -> None:
    """Under traffic, without a restart of the dataflow; the same outputs as a replay of what the other two kept."""
    try:
        with running(tmp_path / "kafka", 3) as brokers:
            deployment = Deployment(brokers.bootstrap, redis_url, tmp_path / "run", "three")
            deployment.create_topics()
            deployment.start(1)
            try:
                with Traffic(deployment):
                    deployment.wait_until("a trigger", lambda: deployment.read(TRIGGERS))
                    brokers.kill(os.getpid() % 3)
                    before = len(deployment.read(TRIGGERS))
                    deployment.wait_until("more triggers", lambda: len(deployment.read(TRIGGERS)) > before + 10)
                deployment.wait_until_quiet()
                assert deployment.stop() == 0, deployment.log()
                assert deployment.verdict().holds
            finally:
                deployment.kill()
    except NoKafka as error:
        missing(error)
