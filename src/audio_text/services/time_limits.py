"""How long a job may take: a soft limit that ends it at its next segment, and a hard one that ends the process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Failed
from audio_text.errors import TimeLimitExceededError
from audio_text.ports import Claim, Resources, Watchdog
from audio_text.services.announcement import Announcer
from audio_text.settings import TierSettings

log = structlog.get_logger(__name__)


class TimeLimit:
    """The limits of one attempt, which grow with the audio when the tier says so; made by `time_limit`."""

    def __init__(self, tier: TierSettings, claim: Claim, *, soft: asyncio.Timeout, watchdog: Watchdog) -> None:
        self._tier = tier
        self._claim = claim
        self._soft = soft
        self._watchdog = watchdog
        self._began = asyncio.get_running_loop().time()
        self.soft_seconds = self._set(0.0)

    def learn(self, audio_seconds: float) -> None:
        """The audio is so long, as far as anybody knows by now."""
        extra_seconds = self._tier.limit_per_audio_second * audio_seconds
        if extra_seconds and not self._soft.expired():
            self.soft_seconds = self._set(extra_seconds)

    def _set(self, extra_seconds: float) -> float:
        soft_seconds = self._tier.soft_limit_seconds + extra_seconds
        elapsed_seconds = asyncio.get_running_loop().time() - self._began
        self._soft.reschedule(self._began + soft_seconds)
        self._watchdog.watch(self._claim, seconds=self._tier.hard_limit_seconds + extra_seconds - elapsed_seconds)
        return soft_seconds


@asynccontextmanager
async def time_limit(tier: TierSettings, claim: Claim, *, watchdog: Watchdog) -> AsyncGenerator[TimeLimit, None]:
    """Limit the block to the tier's time; raises TimeLimitExceededError in its place when that is over."""
    limit: TimeLimit | None = None
    soft = asyncio.timeout(None)
    try:
        async with soft:
            limit = TimeLimit(tier, claim, soft=soft, watchdog=watchdog)
            yield limit
    except TimeoutError as error:
        if limit is None or not soft.expired():
            raise
        raise TimeLimitExceededError(
            f"The job was stopped after {limit.soft_seconds:.0f} seconds, the limit of its tier."
        ) from error
    finally:
        watchdog.dismiss(claim)


async def fail_stuck(resources: Resources, claim: Claim, *, seconds: float) -> None:
    """End a job whose process could not stop it and is about to end itself. Raises DatabaseUnavailableError."""
    error = TimeLimitExceededError(
        f"The job could not be stopped and took its worker down after {seconds:.0f} seconds."
    )
    outcome = Failed(error_code=error.code, error_message=error.detail, processing_time_seconds=seconds)
    if await resources.jobs.fail(claim, outcome):
        job = await resources.jobs.get(claim.job_id)
        log.warning("job_failed", job_id=job.id, code=error.code)
        announcer = Announcer(jobs=resources.jobs, events=resources.events)
        await announcer.tell(JobUpdate.of(job))
