"""Tiers: groups of models that share a queue, and the retry policy of each."""

from typing import Annotated

import msgspec
from msgspec import Meta

FALLBACK_TIER = "audio_processing"
"""Where a model goes whose settings name no tier."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a transient failure is tried again: `retries` times, after first, first + step, … seconds, at most max."""

    retries: Annotated[int, Meta(ge=0, le=100)]
    first_delay_seconds: Annotated[float, Meta(ge=0)]
    step_seconds: Annotated[float, Meta(ge=0)]
    max_delay_seconds: Annotated[float, Meta(ge=0)]

    def delay_seconds(self, attempt: int) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None when it was the last."""
        if attempt > self.retries:
            return None
        return min(self.first_delay_seconds + (attempt - 1) * self.step_seconds, self.max_delay_seconds)
