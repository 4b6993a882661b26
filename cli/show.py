"""`waxmark profile` and `waxmark triggers`: what came of it."""

import time
from typing import Any

from rich.console import Console

from connectors.redis_profiles import profile_key
from connectors.redis_streams import connect, scan
from connectors.settings import Settings
from connectors.topics import TRIGGERS

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
    settings = Settings()
    client = connect(settings.redis)
    after = ["-"] * settings.partitions
    try:
        while True:
            for partition in range(settings.partitions):
                for position, fields in scan(client, TRIGGERS, partition, after[partition]):
                    after[partition] = position
                    _out.print(fields[b"v"].decode(), markup=False)
            if not follow:
                return
            time.sleep(0.2)
    except KeyboardInterrupt:
        return
