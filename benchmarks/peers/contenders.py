"""Who takes part: what each is, how it is started, on how much of the traffic, and what we want to be against it."""

import shutil
import subprocess
import sys
import venv
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
CACHE: Final = ROOT / ".waxmark" / "peers"
_OPENED: Final = ("java.lang", "java.util", "java.util.concurrent", "java.nio", "java.time", "java.net")
_JAVA: Final = (
    "java",
    "-Xmx4g",
    "-XX:+UseSerialGC",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
)


class NotToBeHad(Exception):
    """A peer cannot be installed here; the message says why."""


class Target(NamedTuple):
    """What we want to be against a peer: `least` times its events per second of CPU, of CPU once warm, or of wall time."""

    measure: str
    least: float


class Contender(NamedTuple):
    """One contender. `scale` says which part of the asked number of events it runs on; `packages` is what pip installs for it.

    `arguments` follow the command line of `asked`.
    """

    name: str
    what: str
    command: Callable[[], list[str]]
    targets: tuple[Target, ...]
    kafka: bool = False
    partitions: int = 1
    scale: float = 1.0
    packages: tuple[str, ...] = ()
    java: bool = False
    arguments: tuple[str, ...] = ()

    def install(self) -> None:
        """Bring what it needs, into a place of its own, once. Raises NotToBeHad."""
        if self.packages:
            _install(self.packages)
        if self.java:
            _compile()


def ours() -> list[str]:
    """Start ours."""
    return [sys.executable, "-m", "benchmarks.peers.ours"]


def _floor() -> list[str]:
    return [sys.executable, "-m", "benchmarks.peers.floor"]


def _python(module: str, packages: tuple[str, ...]) -> Callable[[], list[str]]:
    return lambda: [str(_venv(packages) / "bin" / "python"), "-m", f"benchmarks.peers.{module}"]


def _java(main: str) -> Callable[[], list[str]]:
    return lambda: [*_JAVA, "-cp", f"{_classes()}:{_jars()}/*", main]


def _streams(store: str) -> Contender:
    return Contender(
        f"kafka-streams-{store}",
        f"Kafka Streams 4.3 in Java, Processor API, state in {'memory' if store == 'memory' else 'RocksDB'}",
        _java("OverKafkaStreams"),
        (Target("cpu", 2.0),),
        kafka=True,
        java=True,
        arguments=("--store", store, "--folder", "{folder}"),
    )


_CONSUMER: Final = ("confluent-kafka==2.16.1", "orjson==3.13.0", "msgspec==0.22.0")
_QUIX: Final = ("quixstreams==3.28.1", "msgspec==0.22.0")
_PATHWAY: Final = ("pathway==0.33.0", "msgspec==0.22.0")
_PYFLINK: Final = ("apache-flink==2.3.0", "msgspec==0.22.0")

CONTENDERS: Final = (
    Contender("floor-500k", "pure Python loop, no engine", _floor, (Target("cpu", 0.85),), scale=0.5),
    Contender("floor-3m", "pure Python loop, no engine", _floor, (Target("cpu", 0.8),), scale=3),
    Contender(
        "flink-java",
        "Flink 2.3 in Java, parallelism 1",
        _java("OverFlink"),
        (Target("cpu", 2.0), Target("warm", 1.5)),
        scale=3,
        java=True,
    ),
    Contender(
        "flink-java-chained",
        "Flink 2.3 in Java, parallelism 1, told that the stream is keyed already",
        _java("OverFlink"),
        (),
        java=True,
        arguments=("--chained", "true"),
    ),
    Contender(
        "flink-java-2",
        "Flink 2.3 in Java, parallelism 2, against two processes of ours",
        _java("OverFlink"),
        (Target("wall", 1.5),),
        partitions=2,
        scale=3,
        java=True,
    ),
    Contender(
        "consumer",
        "confluent-kafka and orjson, written by hand",
        _python("consumer", _CONSUMER),
        (Target("cpu", 1.4),),
        kafka=True,
        packages=_CONSUMER,
    ),
    _streams("memory"),
    _streams("rocksdb"),
    Contender(
        "quix",
        "Quix Streams 3.28, no timers",
        _python("over_quix", _QUIX),
        (Target("cpu", 6.0),),
        kafka=True,
        scale=0.3,
        packages=_QUIX,
    ),
    Contender(
        "pathway",
        "Pathway 0.33, no timers",
        _python("over_pathway", _PATHWAY),
        (Target("cpu", 3.0),),
        scale=0.3,
        packages=_PATHWAY,
    ),
    Contender(
        "pyflink",
        "PyFlink 2.3, DataStream API, inside the JVM",
        _python("over_pyflink", _PYFLINK),
        (Target("cpu", 40.0),),
        scale=0.3,
        packages=_PYFLINK,
    ),
)


def _venv(packages: tuple[str, ...]) -> Path:
    return CACHE / f"venv-{zlib.crc32(' '.join(packages).encode()):08x}"


def _install(packages: tuple[str, ...]) -> None:
    folder = _venv(packages)
    ready = folder / ".ready"
    if ready.exists():
        return
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotToBeHad(f"pip did not install {' '.join(packages)}: {done.stderr[-500:]}")
    ready.touch()


def _sources() -> list[Path]:
    return sorted((HERE / "java").glob("*.java"))


def _jars() -> Path:
    return CACHE / f"jars-{zlib.crc32((HERE / 'java' / 'pom.xml').read_bytes()):08x}"


def _classes() -> Path:
    return CACHE / f"classes-{zlib.crc32(b''.join(source.read_bytes() for source in _sources())):08x}"


def _compile() -> None:
    maven, compiler = shutil.which("mvn"), shutil.which("javac")
    if maven is None or compiler is None:
        raise NotToBeHad("no mvn or no javac here; the peers in Java need JDK 17 and Maven")
    jars, classes = _jars(), _classes()
    pom = str(HERE / "java" / "pom.xml")
    if not jars.exists():
        coming = jars.with_suffix(".coming")
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={coming}", "-DincludeScope=runtime"]
        _done([maven, "-q", "-B", "-f", pom, *goal])
        coming.rename(jars)
    if not classes.exists():
        coming = classes.with_suffix(".coming")
        _done([compiler, "-nowarn", "-d", str(coming), "-cp", f"{jars}/*", *map(str, _sources())])
        coming.rename(classes)


def _done(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotToBeHad(f"{command[0]} failed: {(done.stdout + done.stderr)[-1500:]}")
