"""Profiles in Redis: one hash per user, `profile:{tenant}:{user_id}`, for whoever composes an email."""

import time
from typing import Any

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.recorder import Metrics
from connectors.redis_streams import connect
from state.clock import SECOND
from state.outputs import ProfileUpdate


class ProfileSink(DynamicSink[ProfileUpdate]):
    """Writes each batch in one pipeline. After a crash a profile may step back until the replay has caught up.

    `ttl` is in seconds and renewed at each write; 0 keeps profiles until the user is forgotten.
    """

    def __init__(self, url: str, ttl: int, metrics: Metrics) -> None:
        self._url, self._ttl, self._metrics = url, ttl, metrics

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_ProfileWriter":  # noqa: ARG002 - theirs
        """Open this worker's connection."""
        return _ProfileWriter(connect(self._url), self._ttl, self._metrics)


class _ProfileWriter(StatelessSinkPartition[ProfileUpdate]):
    def __init__(self, client: Any, ttl: int, metrics: Metrics) -> None:
        self._client, self._ttl, self._metrics = client, ttl, metrics

    def write_batch(self, items: list[ProfileUpdate]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for update in items:
            key = profile_key(update.tenant, update.user_id)
            if update.fields is None:
                pipe.delete(key)
                continue
            pipe.hset(key, mapping=update.fields)
            if self._ttl:
                pipe.expire(key, self._ttl)
        pipe.execute()
        now = time.time()
        self._metrics.profile_latency(now - update.log_time / SECOND for update in items)

    def close(self) -> None:
        self._client.close()


def profile_key(tenant: str, user_id: str) -> str:
    """Name a user's profile."""
    return f"profile:{tenant}:{user_id}"
