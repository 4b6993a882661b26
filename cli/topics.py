"""`waxmark topics`: the topics in Kafka, created and checked."""

import os

from rich.console import Console
from rich.table import Table

from connectors.kafka_client import KafkaRefused, configured
from connectors.kafka_topics import Topics
from connectors.settings import Settings

_out = Console(highlight=False, soft_wrap=True)


def topics(*, replicas: int | None = None, fix: bool = False) -> None:
    """Create the topics that are missing, and say what differs in those there are; nothing is deleted or made smaller.

    Example: `WAXMARK_KAFKA=127.0.0.1:9092 waxmark topics`

    Parameters
    ----------
    replicas
        Copies of each partition; three, or as many as there are brokers, unless given.
    fix
        Change settings that differ. Partitions, and what is kept longer than wanted, stay as they are.
    """
    settings = Settings()
    if settings.kafka is None:
        raise ValueError("set WAXMARK_KAFKA=host:port; Redis Streams need no topics")
    kafka = configured(settings, os.environ)
    findings = Topics(kafka, settings.partitions, settings.retention_days, replicas).create_and_check(fix=fix)
    table = Table("topic", "state")
    for finding in findings:
        table.add_row(finding.topic, finding.said)
    _out.print(table)
    if any(finding.differs for finding in findings):
        raise KafkaRefused("topics differ from what they should be; see above (--fix changes settings)")
