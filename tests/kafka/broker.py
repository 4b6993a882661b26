"""A real Kafka for tests: brokers in KRaft mode on free ports, to be killed, paused and started again."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connectors.stopping import end_with_parent
from tests.turns import turn

ROOT: Final = Path(__file__).parents[2]
POM: Final = Path(__file__).parent / "pom.xml"
CACHE: Final = ROOT / ".waxmark" / "kafka"
_JAVA: Final = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_START_SECONDS: Final = 90.0


class NoKafka(Exception):
    """There is no broker to be had on this machine; the message says what it lacks."""


def jars() -> Path:
    """Find the jars, or let Maven bring them: once for each version of the pom."""
    folder = CACHE / f"jars-{uuid.uuid5(uuid.NAMESPACE_OID, POM.read_text()).hex[:12]}"
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        raise NoKafka("no java or no mvn here; a broker for tests needs JDK 17 and Maven, or WAXMARK_KAFKA=host:port")
    with turn(CACHE / "turn"):
        if not folder.exists():
            coming = folder.with_name(f"{folder.name}-{os.getpid()}")
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={coming}", "-DincludeScope=runtime"]
            command = [maven, "-q", "-B", "-f", str(POM), *goal]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoKafka(f"Maven did not bring Kafka: {done.stdout[-500:]}")
            coming.rename(folder)
    return folder


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on, all of them different: each is held until all are found."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class Brokers:
    """One broker, or several as one cluster; every broker is a controller too."""

    def __init__(self, folder: Path, size: int = 1) -> None:
        self._folder, self._size = folder, size
        self._classpath = str(jars() / "*")
        self._guarded, *ports = _free_ports(1 + 2 * size)
        self._ports = list(zip(ports[::2], ports[1::2], strict=True))
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * size
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)
        self.guarded = f"127.0.0.1:{self._guarded}"
        """The first broker once more, for those who log in by SASL as waxmark with the password secret."""

    def create(self) -> None:
        """Format the storage of all brokers."""
        cluster = "MkU3OEVBNTcwNTJENDM2Qg"
        for number in range(self._size):
            self._configure(number)
            arguments = ["format", "-t", cluster, "-c", str(self._file(number))]
            command = [*_JAVA, "-Xmx128m", "-cp", self._classpath, "kafka.tools.StorageTool", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the storage was not formatted: {(done.stdout + done.stderr)[-2000:]}")

    def start(self, number: int = 0) -> None:
        """Start a broker, or start it again."""
        with (self._folder / f"broker-{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [*_JAVA, "-Xms96m", "-Xmx384m", "-cp", self._classpath, "kafka.Kafka", str(self._file(number))],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )

    def wait(self) -> None:
        """Wait until all brokers answer."""
        end = time.monotonic() + _START_SECONDS
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while time.monotonic() < end:
            try:
                if len(client.list_topics(timeout=2).brokers) == self._size:
                    return
            except KafkaException:
                time.sleep(0.1)
        raise NoKafka(f"the broker did not come up: {self.log()[-2000:]}")

    def kill(self, number: int = 0) -> None:
        """SIGKILL."""
        self._signal(number, signal.SIGKILL)
        process = self._processes[number]
        assert process is not None
        process.wait()

    def pause(self, number: int = 0) -> None:
        """SIGSTOP: the broker neither answers nor hangs up."""
        self._signal(number, signal.SIGSTOP)

    def go_on(self, number: int = 0) -> None:
        """SIGCONT."""
        self._signal(number, signal.SIGCONT)

    def stop(self) -> None:
        """End all of them; nothing of them is needed any more."""
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def tool(self, main: str, *arguments: str) -> str:
        """Run one of Kafka's command line tools, by its class, as the script of its name does."""
        command = [*_JAVA, "-Xmx128m", "-cp", self._classpath, main, "--bootstrap-server", self.bootstrap, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def log(self, number: int = 0) -> str:
        """What a broker said."""
        return (self._folder / f"broker-{number}.log").read_text()

    def _signal(self, number: int, which: int) -> None:
        process = self._processes[number]
        assert process is not None
        process.send_signal(which)

    def _file(self, number: int) -> Path:
        return self._folder / f"broker-{number}.properties"

    def _configure(self, number: int) -> None:
        port, controller = self._ports[number]
        copies = min(self._size, 3)
        properties: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": number + 1,
            "controller.quorum.voters": ",".join(f"{n + 1}@127.0.0.1:{c}" for n, (_, c) in enumerate(self._ports)),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
            "log.dirs": self._folder / f"data-{number}",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            "share.coordinator.state.topic.replication.factor": copies,
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "log.retention.check.interval.ms": 1000,
            "log.initial.task.delay.ms": 0,
        }
        if number == 0:
            login = "org.apache.kafka.common.security.plain.PlainLoginModule"
            guarded = f",SASL_PLAINTEXT://127.0.0.1:{self._guarded}"
            properties["listeners"] = f"{properties['listeners']}{guarded}"
            properties["advertised.listeners"] = f"{properties['advertised.listeners']}{guarded}"
            properties["sasl.enabled.mechanisms"] = "PLAIN"
            properties["listener.name.sasl_plaintext.plain.sasl.jaas.config"] = (
                f'{login} required user_waxmark="secret";'
            )
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        self._file(number).write_text(text)


@contextmanager
def running(folder: Path, size: int = 1) -> Iterator[Brokers]:
    """Run brokers and wait until they answer; they end with the block, or with this process."""
    folder.mkdir(parents=True, exist_ok=True)
    brokers = Brokers(folder, size)
    brokers.create()
    try:
        for number in range(size):
            brokers.start(number)
        brokers.wait()
        yield brokers
    finally:
        brokers.stop()
