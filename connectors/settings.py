"""Settings: read once, at the entry point, from the environment (`WAXMARK_...`) and the command line."""

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LEAST_TTL: Final = 7200
"""Seconds: twice what the fold calls away for so long that a profile is written whole again."""


class Settings(BaseSettings):
    """How one deployment runs. Durations here are in the unit that their name ends in."""

    model_config = SettingsConfigDict(env_prefix="WAXMARK_", frozen=True)

    redis: str = "redis://127.0.0.1:6379/0"
    partitions: int = Field(default=4, ge=1, le=4096)
    recovery: Path = Path(".waxmark/recovery")
    snapshot_seconds: float = Field(default=10.0, gt=0)
    retention_days: int = Field(default=30, ge=1)
    profile_ttl_seconds: int = Field(default=0, ge=0)
    churn_horizon_days: int = Field(default=30, ge=1, le=365)
    churn_eligible_days: int = Field(default=90, ge=1, le=730)
    churn_threshold: float = Field(default=0.8, gt=0, le=1)
    session_gap_minutes: int = Field(default=30, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    stall_seconds: float = Field(default=60.0, gt=0)
    ready_lag_seconds: float = Field(default=120.0, gt=0)
    otlp_endpoint: str | None = None
    flood_share: float = Field(default=0.5, ge=0, le=1)
    batch_records: int = Field(default=2000, ge=1, le=100_000)
    kafka: str | None = Field(default=None, min_length=1)
    kafka_prefix: str = Field(default="waxmark", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    kafka_file: Path | None = None
    tick_seconds: float = Field(default=1.0, gt=0)
    epoch_megabytes: int = Field(default=64, ge=1)
    accept_expired: bool = False
    recovery_files: int = Field(default=64, ge=1)
    process_id: int | None = Field(default=None, ge=0)
    addresses: str | None = None
    stop_seconds: float = Field(default=60.0, gt=0)
    restart_seconds: float = Field(default=30.0, gt=0)
    run_id: str | None = None
    collect_keys: Path | None = None
    collect_queue_megabytes: int = Field(default=64, ge=1)
    write_key: SecretStr | None = Field(default=None, min_length=8)
    read_key: SecretStr | None = Field(default=None, min_length=8)
    content_secret: SecretStr | None = None

    @field_validator("profile_ttl_seconds")
    @classmethod
    def _outlives_parts(cls, seconds: int) -> int:
        if 0 < seconds < LEAST_TTL:
            raise ValueError(
                f"is 0 or at least {LEAST_TTL}: within an hour a profile is written in parts, which must not expire"
            )
        return seconds
