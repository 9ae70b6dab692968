"""What workers take on, with which models, and how much of the machine."""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from audio_text.domain.tiers import FALLBACK_TIER, RetryPolicy
from audio_text.settings.kinds import Positive, Seconds, Section

ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]
"""CTranslate2's own list."""


class WorkerMode(StrEnum):
    default = "default"
    multi_queue = "multi-queue"


class WorkerSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mode: WorkerMode
    default_concurrency: Positive
    recycle_after_jobs: Annotated[int, Meta(ge=0)]
    lease_seconds: Annotated[float, Meta(ge=3)]
    shutdown_seconds: Seconds
    temp_folder: str


class EngineSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device: Literal["cpu", "cuda", "auto"]
    compute_type: ComputeType
    cpu_threads: Annotated[int, Meta(ge=0)]
    cache_folder: str
    offline: bool
    preload: tuple[str, ...]
    max_models: Positive
    block_seconds: Annotated[float, Meta(ge=30, le=3_600)]
    max_channels: Annotated[int, Meta(ge=1, le=32)]
    stuck_seconds: Seconds


class TierSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    concurrency: Positive
    max_instances: Positive
    soft_limit_seconds: Seconds
    hard_limit_seconds: Seconds
    limit_per_audio_second: Annotated[float, Meta(ge=0)] = 0.0
    max_pending_jobs: Annotated[int, Meta(ge=0)] = 10_000
    retry: RetryPolicy


class ModelSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model comes from; an empty source takes it off the list when the settings are loaded."""

    source: str
    tier: str = FALLBACK_TIER
