"""One process a pod, each with recovery files of its own, as k8s/ runs it: stopped together, rescaled, never mixed up."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.deployment import CAMPAIGNS, ROOT, WAXMARK, Deployment, Traffic
from connectors.probe import healthy
from connectors.redis_server import free_port
from connectors.topics import TRIGGERS

Deploy = Callable[..., Deployment]


class Pods:
    """So many processes, each in a folder of its own that its successor finds again."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment, self._folder = deployment, folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._health: list[int] = []

    def volume(self, number: int) -> Path:
        """The recovery directory of a pod."""
        return self._folder / str(number) / "recovery"

    def prepare(self, count: int) -> list[subprocess.CompletedProcess[str]]:
        """Run what the init container of every pod runs."""
        return [
            subprocess.run(
                [*WAXMARK, "recovery", "prepare"],
                env=self._environment(number, ["nowhere:1"] * count),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            for number in range(count)
        ]

    def start(self, count: int) -> None:
        """Start all at once."""
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        self._health = [free_port() for _ in range(count)]
        for number, port in enumerate(self._health):
            environment = self._environment(number, addresses) | {"WAXMARK_METRICS_PORT": str(port)}
            with (self._folder / f"pod-{number}.log").open("ab") as log:
                command = [*WAXMARK, "run", "personalization", "--campaigns", str(CAMPAIGNS)]
                self._running.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))

    def are_ready(self) -> bool:
        """Ask each as its readiness probe does."""
        return all(healthy(f"http://127.0.0.1:{port}/readyz") for port in self._health)

    def stop(self) -> list[int]:
        """SIGTERM to all; return their exit codes."""
        for process in self._running:
            process.terminate()
        codes = [process.wait(timeout=60) for process in self._running]
        self._running.clear()
        return codes

    def kill(self) -> None:
        """End what is left."""
        for process in self._running:
            process.kill()
            process.wait()

    def log(self) -> str:
        """What all of them said."""
        return "".join(file.read_text() for file in sorted(self._folder.glob("pod-*.log")))

    def _environment(self, number: int, addresses: list[str]) -> dict[str, str]:
        own = {
            "WAXMARK_PROCESS_ID": str(number),
            "WAXMARK_ADDRESSES": ";".join(addresses),
            "WAXMARK_RECOVERY": str(self.volume(number)),
        }
        return os.environ | self._deployment.environment | own


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """Topics, settings and the comparison with a replay."""
    return deploy()


@pytest.fixture
def pods(deployment: Deployment, tmp_path: Path) -> Iterator[Pods]:
    """Pods that do not outlive their test."""
    pods = Pods(deployment, tmp_path)
    yield pods
    pods.kill()


def test_pods_that_are_rescaled_as_the_docs_say_write_the_very_outputs_of_a_replay(
    pods: Pods, deployment: Deployment
) -> None:
    """One pod, then two, then one, under traffic; between them the files move, and events wait in Kafka."""
    volumes = [str(pods.volume(number)) for number in range(2)]
    with Traffic(deployment):
        for count in (1, 2, 1):
            if pods.volume(0).exists():
                shared = [*WAXMARK, "recovery", "share-out", *volumes, "--processes", str(count)]
                subprocess.run(shared, cwd=ROOT, check=True, capture_output=True)
            assert [done.returncode for done in pods.prepare(count)] == [0] * count
            before = len(deployment.read(TRIGGERS))
            pods.start(count)
            deployment.wait_until("readiness", pods.are_ready)
            deployment.wait_until("a trigger", lambda: len(deployment.read(TRIGGERS)) > before + 5)  # noqa: B023 - asked now
            assert pods.stop() == [0] * count, pods.log()
    pods.start(1)
    deployment.wait_until("readiness", pods.are_ready)
    deployment.wait_until_quiet()
    assert pods.stop() == [0], pods.log()
    assert deployment.verdict().holds


def test_more_replicas_without_moving_the_files_are_stopped_at_the_init_container(pods: Pods) -> None:
    """The pods that were there say what to do; new ones make empty files, which give way when files are shared out."""
    assert [done.returncode for done in pods.prepare(1)] == [0]
    old, new = pods.prepare(2)
    assert old.returncode == 1
    assert "waxmark recovery share-out" in old.stderr
    assert new.returncode == 0
