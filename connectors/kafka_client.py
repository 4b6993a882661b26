"""How this process speaks to Kafka: names, settings passed through to librdkafka, and errors as sentences."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.settings import Settings
from connectors.topics import Fenced
from state.wire import MAX_CONTROL_BYTES

MAX_RECORD_BYTES: Final = MAX_CONTROL_BYTES + 64 * 1024
"""The largest record that anyone may append: a control record with its headers."""

DELIVERY_MILLISECONDS: Final = 60_000
"""For how long a broker may be away before what waits for it counts as failed, and the worker stops."""

_LOOK_SECONDS: Final = 0.05
"""`consume` waits for so long where it finds less than it was asked for."""

_HEARSAY_SECONDS: Final = 5.0
"""For how long a broker may not have heard of a topic that the others have made."""

_AT_THE_END_MILLISECONDS: Final = 10
"""For how long a broker may hold back the answer that there is nothing more; by default half a second."""

_FETCHED_KILOBYTES: Final = 4096
"""Read ahead of one partition; librdkafka's default of 64 MB would be taken once for each of them."""

_FETCH_BACKOFF_MILLISECONDS: Final = 5
"""How long fetching rests when that much has been read ahead; by default a second, which held a partition to 17,000 records
of 430 bytes a second."""

_ENVIRONMENT: Final = "WAXMARK_KAFKA_"
_OWN: Final = frozenset({"bootstrap.servers", "enable.idempotence", "enable.auto.commit", "isolation.level", "acks"})
_FENCED: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001 - its public names
)

_Client = TypeVar("_Client")
_log: Final = logging.getLogger("waxmark.kafka")


class KafkaRefused(Exception):
    """Kafka, or what is configured for it, is not as it must be; the message says what to change."""


class Kafka(NamedTuple):
    """One Kafka as this deployment uses it: the prefix of its names, and librdkafka's properties."""

    prefix: str
    properties: dict[str, str]

    def topic(self, name: str) -> str:
        """Name a topic."""
        return f"{self.prefix}.{name}"

    def consumer(self, **own: Any) -> Consumer:
        """Open a consumer that commits nothing by itself and never jumps over records."""
        ours = {
            "group.id": f"{self.prefix}.personalization",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": _FETCHED_KILOBYTES,
            "fetch.queue.backoff.ms": _FETCH_BACKOFF_MILLISECONDS,
        }
        return _opened(Consumer, self.properties | ours | own)

    def _reader(self, place: TopicPartition) -> Consumer:
        """Open a consumer that reads a partition from a place to its present end, and learns soon that it is there.

        Where the place has expired, it begins with what there is. Raises KafkaRefused where Kafka does not answer.
        """
        own = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": _AT_THE_END_MILLISECONDS}
        consumer = self.consumer(**own)
        require(consumer, place)
        consumer.assign([place])
        return consumer

    def read_to_end(self, place: TopicPartition) -> Iterator[list[Any]]:
        """Yield what a partition holds from a place to its present end, the message that says so last.

        Raises KafkaRefused where Kafka does not answer for a minute.
        """
        consumer = self._reader(place)
        heard = time.monotonic()
        try:
            while True:
                messages = consumer.consume(1000, _LOOK_SECONDS)
                if messages:
                    heard = time.monotonic()
                    yield messages
                    if _ends(messages[-1]):
                        return
                elif time.monotonic() - heard > DELIVERY_MILLISECONDS / 1000:
                    raise KafkaRefused(f"{place.topic}/{place.partition}: Kafka does not answer")
        finally:
            consumer.close()

    def producer(self, **own: Any) -> Producer:
        """Open a producer whose records are acknowledged by all replicas in sync, in order, and never doubled by a retry."""
        ours = {
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.max.bytes": MAX_RECORD_BYTES,
            "delivery.timeout.ms": DELIVERY_MILLISECONDS,
        }
        return _opened(Producer, self.properties | ours | own)

    def admin(self) -> AdminClient:
        """Open a client that creates and describes topics."""
        return _opened(AdminClient, dict(self.properties))


def require(client: Any, place: TopicPartition) -> None:
    """Raise KafkaRefused where a partition is not there, or Kafka does not answer for a minute.

    A broker that knows nothing of a topic yet is asked again for five seconds: it hears of a new one after the others.
    """
    end = time.monotonic() + _HEARSAY_SECONDS
    while True:
        try:
            found = client.list_topics(place.topic, timeout=DELIVERY_MILLISECONDS / 1000).topics[place.topic]
        except KafkaException as error:
            raise said(error.args[0], place.topic) from error
        if place.partition in found.partitions:
            return
        if found.partitions or time.monotonic() > end:
            raise KafkaRefused(
                f"{place.topic} has {len(found.partitions)} partitions; `waxmark topics` says what it needs"
            )
        time.sleep(_LOOK_SECONDS)


def configured(settings: Settings, environment: Mapping[str, str]) -> Kafka:
    """Gather the properties: from the file that WAXMARK_KAFKA_FILE names, then from WAXMARK_KAFKA_{PROPERTY} variables.

    WAXMARK_KAFKA_SASL_USERNAME is sasl.username. Raises KafkaRefused for what Waxmark's promises depend on.
    """
    properties = {}
    if settings.kafka_file is not None:
        for line in settings.kafka_file.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() and not name.lstrip().startswith("#"):
                properties[name.strip()] = value.strip()
    known = {f"WAXMARK_{field.upper()}" for field in Settings.model_fields}
    for variable, value in environment.items():
        if variable.startswith(_ENVIRONMENT) and variable not in known:
            properties[variable.removeprefix(_ENVIRONMENT).lower().replace("_", ".")] = value
    refused = sorted(properties.keys() & _OWN)
    if refused:
        raise KafkaRefused(f"Kafka's {', '.join(refused)} cannot be set: what Waxmark promises depends on it")
    return Kafka(settings.kafka_prefix, properties | {"bootstrap.servers": settings.kafka or ""})


def _opened(kind: Callable[..., _Client], properties: dict[str, Any]) -> _Client:
    try:
        return kind(properties, logger=_log)
    except KafkaException as error:
        raise KafkaRefused(f"Kafka: {error.args[0].str()}") from error


def _ends(message: Any) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - its public name


def said(error: KafkaError, where: str) -> Exception:
    """Put an error of Kafka's into words: Fenced where another has taken over, else KafkaRefused."""
    if error.code() in _FENCED:
        return Fenced(f"{where} was taken over by another worker; this one ends")
    return KafkaRefused(f"{where}: Kafka says: {error.str()}")
