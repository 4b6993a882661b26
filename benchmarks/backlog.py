"""A backlog in Kafka, read by one process from a cold start: how fast, and how much memory on the way.

The records are those of a simulated shop, repeated under new message ids, so that every one is folded as the first of its
kind. Memory is the process's resident set, sampled every two seconds while it reads.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.deployment import Deployment
from connectors import redis_server
from connectors.kafka_client import Kafka
from connectors.kafka_log import Sender
from connectors.metrics import RECORDS
from simulator.shop import Shop, visits
from tests.kafka.broker import running

RESULTS = Path(__file__).parent / "results" / "backlog.json"
_POOL, _PARTITIONS = 100_000, 4
_ID, _LIMIT_SECONDS = b'"messageId":"', 3600.0


def main() -> None:
    """Read 5 million records, or as many as the first argument says."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server.running(Path(folder) / "redis") as redis,
        running(Path(folder) / "kafka") as brokers,
    ):
        deployment = Deployment(brokers.bootstrap, redis, Path(folder) / "run", "backlog", _PARTITIONS)
        deployment.create_topics()
        size = _fill(deployment.kafka, wanted)
        print(f"{wanted} records of {size:.0f} bytes; seconds, records folded, resident MB")
        deployment.start(1, WAXMARK_SNAPSHOT_SECONDS="10", WAXMARK_BATCH_RECORDS="2000", WAXMARK_EPOCH_MEGABYTES="64")
        try:
            samples = _watch(deployment, wanted)
        finally:
            deployment.kill()
    quarter = samples[len(samples) // 4 :]
    first, last = (statistics.median(mb for _, _, mb in part) for part in _halves(quarter))
    rate = wanted / samples[-1][0]
    print(f"{rate:.0f} records/s; resident MB after the first quarter: median {first:.0f}, in the last half {last:.0f}")
    figures = {"records": wanted, "bytes": size, "records_per_second": rate, "samples": samples}
    RESULTS.write_text(json.dumps(figures) + "\n")


def _fill(kafka: Kafka, wanted: int) -> float:
    shop = Shop(shoppers=5_000, known_only=True, rate=1_000)
    pool = list(visits(shop, 1, time.time_ns() // 1000, events=_POOL))
    sender = Sender(kafka._replace(properties=kafka.properties | {"compression.type": "lz4"}), _PARTITIONS)
    for number in range(wanted):
        sent = pool[number % _POOL]
        sender.append(sent.key, sent.value.replace(_ID, _ID + b"%d-" % (number // _POOL), 1))
    sender.flush()
    return statistics.mean(len(sent.value) for sent in pool)


def _watch(deployment: Deployment, wanted: int) -> list[tuple[float, int, float]]:
    began, samples = time.monotonic(), []
    while (seconds := time.monotonic() - began) < _LIMIT_SECONDS:
        folded = int(deployment.metric(RECORDS.name))
        if folded:
            samples.append((round(seconds, 1), folded, _resident(deployment.pid)))
            if len(samples) % 10 == 0:
                print(*samples[-1], sep="\t", flush=True)
        if folded >= 0.99 * wanted:  # some records of the shop are broken, as they are in life
            return samples
        time.sleep(2)
    raise TimeoutError(f"read {samples[-1:]} of {wanted}: {deployment.log()[-2000:]}")


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _halves(samples: list[tuple[float, int, float]]) -> tuple[list[tuple[float, int, float]], ...]:
    middle = len(samples) // 2
    return samples[:middle], samples[middle:]


if __name__ == "__main__":
    main()
