"""The collector over the other transport: the same process, a real Kafka."""

from pathlib import Path

import msgspec
from segment.analytics import client as segment  # type: ignore[import-untyped]  # ships no types
from segment.analytics import request as segment_requests

from connectors.kafka_client import Kafka
from connectors.kafka_log import read
from connectors.topics import EVENTS
from tests.api.collecting import ERASER, PARTITIONS, WRITE_KEY, Collector
from tests.kafka.conftest import bootstrap, broker, kafka, prefix

__all__ = ["bootstrap", "broker", "kafka", "prefix"]


def test_what_an_sdk_sends_is_in_kafka_when_it_hears_of_success(
    kafka: Kafka,
    redis_url: str,
    tmp_path: Path,
) -> None:
    """Profiles and deletions are still in Redis; the deletion's record is in Kafka, at the place that the proof names."""
    environment = {"WAXMARK_KAFKA": kafka.properties["bootstrap.servers"], "WAXMARK_KAFKA_PREFIX": kafka.prefix}
    collector = Collector(redis_url, tmp_path, **environment).start()
    assert collector.http.get("/readyz").status_code == 200, collector.log()
    errors: list[Exception] = []
    sdk = segment.Client(WRITE_KEY, host=collector.url, on_error=lambda error, _: errors.append(error))
    for number in range(300):
        sdk.track(f"user-{number % 7}", "E", {"number": number})
    sdk.flush()
    sdk.join()
    segment_requests._session.close()  # noqa: SLF001 - the library never closes its one session
    deleted = collector.http.delete("/v1/users/user-3", headers=ERASER)
    assert collector.stop() == 0, collector.log()
    assert errors == []
    found = {
        (partition, record.position): msgspec.json.decode(record.value)
        for partition in range(PARTITIONS)
        for records in read(kafka, EVENTS, partition)
        for record in records
    }
    numbers = [each["properties"]["number"] for each in found.values() if each["type"] == "track"]
    assert sorted(numbers) == list(range(300))
    place = deleted.json()["record"]
    assert found[place["partition"], place["position"]]["userId"] == "user-3"
    assert collector.records() == []
