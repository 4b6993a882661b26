"""`waxmark profile`, `waxmark triggers` and `waxmark deliveries`: what came of it."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console

from connectors.kafka_client import configured
from connectors.looks import KafkaLook, Look, RedisLook
from connectors.redis_profiles import profile_key
from connectors.redis_streams import connect
from connectors.settings import Settings
from connectors.topics import DELIVERIES, TRIGGERS
from state.deliveries import Outcome, Status, decode

_KAFKA_SECONDS: Final = 3.0
_out = Console(highlight=False, soft_wrap=True)


def profile(user: str, *, tenant: str = "default") -> None:
    """Show a user's profile.

    Example: `waxmark profile user-17`
    """
    client: Any = connect(Settings().redis)
    fields = client.hgetall(profile_key(tenant, user))
    if not fields:
        raise ValueError(f"no profile of {user} (tenant {tenant})")
    for name, value in fields.items():
        _out.print(f"{name.decode():20} {value.decode()}", markup=False)


def triggers(*, follow: bool = False) -> None:
    """Print the triggers, one JSON document a line.

    Example: `waxmark triggers --follow`

    Parameters
    ----------
    follow
        Go on with those to come, until Ctrl-C.
    """
    for value in _read(TRIGGERS, follow=follow):
        _out.print(value.decode(), markup=False)


def deliveries(*, status: Status | None = None, follow: bool = False) -> None:
    """Print how triggers ended, one JSON document a line; a rejected one holds its trigger.

    Example: `waxmark deliveries --status rejected`

    Parameters
    ----------
    status
        Only those that ended so.
    follow
        Go on with those to come, until Ctrl-C.
    """
    for value in _read(DELIVERIES, follow=follow):
        record = decode(value)
        if isinstance(record, Outcome) and status in {None, record.status}:
            _out.print(value.decode(), markup=False)


def _read(topic: str, *, follow: bool) -> Iterator[bytes]:
    """Read a topic from its beginning, a partition after the other; on Kafka, until nothing came for a moment."""
    settings = Settings()
    looks = [_look(settings, topic, partition) for partition in range(settings.partitions)]
    quiet_since = time.monotonic()
    patience = 0.0 if settings.kafka is None else _KAFKA_SECONDS
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for look in looks:
                while seen := look.next():
                    quiet_since = time.monotonic()
                    for each in seen:
                        yield each.value
            if not follow and time.monotonic() - quiet_since >= patience:
                return
            time.sleep(0.2 if follow else 0.05)


def _look(settings: Settings, topic: str, partition: int) -> Look:
    if settings.kafka is None:
        return RedisLook(settings.redis, topic, partition, None)
    return KafkaLook(configured(settings, os.environ), "show", topic, partition, None)
