"""Tiers: groups of models that share a queue, and the retry policy of each."""

from typing import Annotated

import msgspec
from msgspec import Meta

FALLBACK_TIER = "audio_processing"
"""Where a model goes whose settings name no tier."""


JITTER = 0.5
"""Share of a delay that is left to chance, so that jobs which failed together do not come back together."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a transient failure is tried again: `retries` times, after first, first + step, … seconds, at most max.

    These are the longest delays: chance takes up to half of each away.
    """

    retries: Annotated[int, Meta(ge=0, le=100)]
    first_delay_seconds: Annotated[float, Meta(ge=0)]
    step_seconds: Annotated[float, Meta(ge=0)]
    max_delay_seconds: Annotated[float, Meta(ge=0)]

    def delay_seconds(self, attempt: int, *, chance: float) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None when it was the last.

        `chance`, drawn from 0 to 1, says how much of the JITTER is taken away.
        """
        if attempt > self.retries:
            return None
        longest = min(self.first_delay_seconds + (attempt - 1) * self.step_seconds, self.max_delay_seconds)
        return longest * (1 - JITTER * chance)
