"""Use case: let a job in, while its tier has room and its key has not used what it may."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from audio_text.domain.access import Caller
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job
from audio_text.domain.usage import Quota, next_day
from audio_text.errors import AudioQuotaError, ConcurrentJobsError, TierFullError
from audio_text.ports import JobRepository
from audio_text.settings import Settings

LOOK_SECONDS = 1.0
"""How old a count of waiting jobs may be. What other processes let in meanwhile is how far a bound may be exceeded."""

RELIEF = 100
"""One part in so many of the jobs that wait has to be begun before those who were refused are asked back."""

UNKNOWN_SECONDS, LONGEST_SECONDS = 30.0, 600.0
"""When they are asked back where nobody can tell, and at the latest."""

JOBS_SECONDS = 10.0
"""When a key is asked back that has too many jobs in work: some of them are over by then, or nobody knows when."""

log = structlog.get_logger(__name__)


class AdmissionService:
    """Whether another job is let in. Everything raises DatabaseUnavailableError."""

    def __init__(self, jobs: JobRepository, *, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._rooms: dict[str, _Room] = {}
        self._looking = asyncio.Lock()

    async def take_place(self, tier: str) -> None:
        """Take a place among the jobs that wait for the tier. Raises TierFullError.

        Cheap: the table is asked once a second, and what this process lets in between is counted here.
        """
        bound = self._settings.tiers[tier].max_pending_jobs
        if not bound:
            return
        async with self._looking:
            room = self._rooms.get(tier)
            if room is None or time.monotonic() - room.looked_at >= LOOK_SECONDS:
                room = self._rooms[tier] = await self._look(tier, bound)
        if room.relief_seconds is not None or room.count >= bound:
            raise TierFullError(retry_after_seconds=room.relief_seconds or UNKNOWN_SECONDS)
        room.count += 1

    async def add(self, job: Job, *, caller: Caller, key: IdempotencyKey | None = None) -> bool:
        """Store a job as the repository does, within the quota of its key. Raises ConcurrentJobsError, AudioQuotaError.

        Both say what is allowed, and when to come back where that may help.
        """
        with self.within_quota(caller, job) as quota:
            return await self._jobs.add(job, key=key, quota=quota)

    async def check_jobs(self, caller: Caller, count: int) -> None:
        """See whether so many jobs may fit, before work is put into them. Raises ConcurrentJobsError.

        What is stored meanwhile is not seen: `within_quota` decides.
        """
        quota = self._settings.limits.allowance(caller.limits).quota(caller.key_id)
        if quota is None or quota.concurrent_jobs is None:
            return
        used = await self._jobs.usage(quota.key_id)
        if used.concurrent_jobs + count > quota.concurrent_jobs:
            raise _too_many_jobs(quota, count)

    @contextmanager
    def within_quota(self, caller: Caller, *jobs: Job) -> Generator[Quota | None]:
        """Give the quota within which the caller's jobs are to be stored, and put its refusal into words."""
        quota = self._settings.limits.allowance(caller.limits).quota(caller.key_id)
        try:
            yield quota
        except ConcurrentJobsError as error:
            raise _too_many_jobs(quota, len(jobs)) from error
        except AudioQuotaError as error:
            most = (quota.audio_seconds_per_day if quota else None) or 0
            detail = f"This key may submit {most} seconds of audio a day, and has not so much left until midnight, UTC."
            now = datetime.now(UTC)
            is_short = sum(job.duration or 0.0 for job in jobs) <= most
            seconds = (next_day(now) - now).total_seconds() if is_short else None
            raise AudioQuotaError(detail, retry_after_seconds=seconds) from error

    async def _look(self, tier: str, bound: int) -> "_Room":
        count = await self._jobs.pending(tier, limit=bound)
        if count < bound:
            return _Room(count)
        ahead = max(1, bound // RELIEF)
        backlog = (await self._jobs.backlogs([tier], limit=ahead))[tier]
        seconds = backlog.eta_seconds(sum(job.seconds for job in backlog.waiting))
        seconds = UNKNOWN_SECONDS if seconds is None else min(seconds, LONGEST_SECONDS)
        log.warning("tier_full", tier=tier, max_pending_jobs=bound, retry_after_seconds=seconds)
        return _Room(count, relief_seconds=seconds)


def _too_many_jobs(quota: Quota | None, count: int) -> ConcurrentJobsError:
    most = (quota.concurrent_jobs if quota else None) or 0
    detail = f"This key may have {most} jobs waiting or running: submit again when some of them are over."
    return ConcurrentJobsError(detail, retry_after_seconds=JOBS_SECONDS if count <= most else None)


class _Room:
    """How many jobs wait for a tier; with `relief_seconds`, it is full, and they say when that may be over."""

    def __init__(self, count: int, relief_seconds: float | None = None) -> None:
        self.count = count
        self.relief_seconds = relief_seconds
        self.looked_at = time.monotonic()
