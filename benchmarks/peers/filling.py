"""The traffic in Kafka: the very lines of the files, each file one partition, so that offsets are line numbers."""

import re
from pathlib import Path
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

_USER: Final = re.compile(rb'"userId":"([^"]+)"')


def filled(bootstrap: str, files: list[Path]) -> str:
    """Create a topic and write the files into it; return its name."""
    topic = f"peers-{files[0].stem}.events"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    (created,) = admin.create_topics([NewTopic(topic, len(files), 1, config=config)]).values()
    created.result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 200_000,
        }
    )
    for partition, file in enumerate(files):
        with file.open("rb") as lines:
            for line in lines:
                user = _USER.search(line)
                while True:
                    try:
                        producer.produce(topic, line[:-1], user and user[1], partition)
                        break
                    except BufferError:
                        producer.poll(0.2)
                producer.poll(0)
    if producer.flush(120):
        raise RuntimeError(f"{topic} was not filled")
    return topic
