"""Use case: let a job in, while its tier has room and its key has not used what it may."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
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
"""When a key is asked back that has too many jobs in work: some of them are over by then, or nobody knows when.

So is one whose seconds are only reserved: some lengths are known by then.
"""

log = structlog.get_logger(__name__)


class AdmissionService:
    """Whether another job is let in. Everything raises DatabaseUnavailableError."""

    def __init__(self, jobs: JobRepository, *, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._rooms: dict[str, _Room] = {}
        self._looking = asyncio.Lock()

    async def check_room(self, tier: str) -> None:
        """See whether another job may wait for the tier, before work is put into it. Raises TierFullError.

        Nothing is taken: who is refused for something else takes no place away.
        """
        await self._room(tier, 1)

    @asynccontextmanager
    async def places(self, tiers: Iterable[str]) -> AsyncGenerator["Places"]:
        """Take places among the jobs that wait, while they are stored: one for each tier named. Raises TierFullError.

        They are given back when an error ends it. Cheap: the table is asked once a second, and what this process lets
        in between is counted here.
        """
        taken = Places()
        try:
            for tier, count in Counter(tiers).items():
                taken.take(await self._room(tier, count), count)
            yield taken
        except BaseException:
            taken.give_back()
            raise

    async def store(self, jobs: Sequence[Job], add: Callable[[Quota | None], Awaitable[bool]], caller: Caller) -> bool:
        """Have `add` store jobs of a caller, with the quota that it is given; whether it did, as it says.

        Raises TierFullError, and ConcurrentJobsError and AudioQuotaError, which say what is allowed, and when to come
        back where that may help.
        """
        async with self.places(job.tier for job in jobs) as places:
            quota = self._quota(caller, caller.key_id)
            async with self._refused_in_words(quota, jobs):
                is_added = await add(quota)
            if not is_added:
                places.give_back()
        return is_added

    async def add(self, job: Job, *, caller: Caller, key: IdempotencyKey | None = None) -> bool:
        """Store a job as the repository does. Raises what `store` raises."""
        return await self.store([job], lambda quota: self._jobs.add(job, key=key, quota=quota), caller)

    async def retry(
        self, job: Job, retry: Callable[[Quota | None], Awaitable[Job]], *, caller: Caller, tiers: Iterable[str]
    ) -> Job:
        """Have `retry` make a job wait again for the caller, with the quota that it is given: the job as it says.

        It takes a place on each of the tiers. Its key's quota is what the caller may have. Raises what `store` raises.
        """
        async with self.places(tiers):
            quota = self._quota(caller, job.key_id)
            async with self._refused_in_words(quota, [job]):
                return await retry(quota)

    async def check_jobs(self, caller: Caller, count: int) -> None:
        """See whether so many jobs of the caller's key may fit. Raises ConcurrentJobsError.

        What is stored meanwhile is not seen: the statement that stores them decides.
        """
        quota = self._quota(caller, caller.key_id)
        if quota is None or quota.concurrent_jobs is None:
            return
        used = await self._jobs.usage(quota.key_id)
        if used.concurrent_jobs + count > quota.concurrent_jobs:
            raise _too_many_jobs(quota, count)

    def _quota(self, caller: Caller, key_id: str | None) -> Quota | None:
        limits = self._settings.limits
        return limits.allowance(caller.limits).quota(key_id, unknown_audio_seconds=limits.unknown_audio_seconds)

    @asynccontextmanager
    async def _refused_in_words(self, quota: Quota | None, jobs: Sequence[Job]) -> AsyncGenerator[None]:
        """Say of a refusal what is allowed, and when to come back."""
        try:
            yield
        except ConcurrentJobsError as error:
            raise _too_many_jobs(quota, len(jobs)) from error
        except AudioQuotaError as error:
            raise await self._too_much_audio(quota, jobs) from error

    async def _too_much_audio(self, quota: Quota | None, jobs: Sequence[Job]) -> AudioQuotaError:
        if quota is None or quota.audio_seconds_per_day is None:
            return AudioQuotaError()
        most, asked = quota.audio_seconds_per_day, quota.seconds(*jobs)
        used = await self._jobs.usage(quota.key_id)
        now = datetime.now(UTC)
        detail = f"This key may submit {most} seconds of audio a day, and has not so much left until midnight, UTC."
        if asked > most:
            return AudioQuotaError(detail)
        if used.reserved_seconds and used.audio_seconds_today - used.reserved_seconds + asked <= most:
            reserved = f"{used.reserved_seconds:.0f} of them are reserved for recordings whose length is not known yet"
            detail = f"This key may submit {most} seconds of audio a day, and {reserved}: try again soon."
            return AudioQuotaError(detail, retry_after_seconds=JOBS_SECONDS)
        return AudioQuotaError(detail, retry_after_seconds=(next_day(now) - now).total_seconds())

    async def _room(self, tier: str, jobs: int) -> "_Room | None":
        """Give the room that so many jobs still have, None where there is no bound. Raises TierFullError."""
        bound = self._settings.tiers[tier].max_pending_jobs
        if not bound:
            return None
        async with self._looking:
            room = self._rooms.get(tier)
            if room is None or time.monotonic() - room.looked_at >= LOOK_SECONDS:
                room = self._rooms[tier] = await self._look(tier, bound)
        if room.relief_seconds is not None or room.count + jobs > bound:
            raise TierFullError(retry_after_seconds=room.relief_seconds or UNKNOWN_SECONDS)
        return room

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


class Places:
    """Places among the jobs that wait, until the next look into the table counts those that were stored."""

    def __init__(self) -> None:
        self._taken: list[tuple[_Room, int]] = []

    def take(self, room: _Room | None, count: int) -> None:
        """Take so many; none where there is no bound."""
        if room:
            room.count += count
            self._taken.append((room, count))

    def give_back(self) -> None:
        """Nothing was stored: let others have them."""
        while self._taken:
            room, count = self._taken.pop()
            room.count -= count
