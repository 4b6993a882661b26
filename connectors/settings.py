"""Settings: read once, at the entry point, from the environment (`WAXMARK_...`) and the command line."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """How one deployment runs. Durations here are in the unit that their name ends in."""

    model_config = SettingsConfigDict(env_prefix="WAXMARK_", frozen=True)

    redis: str = "redis://127.0.0.1:6379/0"
    partitions: int = Field(default=4, ge=1, le=4096)
    recovery: Path = Path(".waxmark/recovery")
    snapshot_seconds: float = Field(default=10.0, gt=0)
    retention_days: int = Field(default=30, ge=1)
    profile_ttl_seconds: int = Field(default=0, ge=0)
    session_gap_minutes: int = Field(default=30, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    otlp_endpoint: str | None = None
    flood_share: float = Field(default=0.5, ge=0, le=1)
