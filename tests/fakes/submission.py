"""Jobs and the idempotency keys they were submitted under, in memory."""

from datetime import UTC, datetime, timedelta

from audio_text.domain.idempotency import IdempotencyKey, Submitted
from audio_text.domain.job import Job
from audio_text.domain.usage import Quota, Usage
from audio_text.errors import AudioQuotaError, ConcurrentJobsError
from fakes.rows import UNFINISHED, FakeRows, storable_struct


class FakeJobSubmission(FakeRows):
    """Keeps by owner and key what was submitted, and until when."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[tuple[str | None, str], tuple[Submitted, datetime]] = {}

    async def add(self, job: Job, *, key: IdempotencyKey | None = None, quota: Quota | None = None) -> bool:
        await self.check()
        if key is not None:
            held = await self.submitted(key)
            if held is not None and not key.takes_over and held.job.id != job.id:
                return False
        if quota is not None:
            if job.id not in self.jobs:
                await self.spend(quota, job)
            job = quota.held(job)
        if key is not None:
            told = Submitted(fingerprint=key.fingerprint, job=storable_struct(job))
            self._keys[key.owner, key.text] = told, datetime.now(UTC) + timedelta(seconds=key.seconds)
        self.jobs.setdefault(job.id, storable_struct(job))
        return True

    async def spend(self, quota: Quota, *jobs: Job) -> None:
        self._take(quota, len(jobs), quota.seconds(*jobs))
        self._usage_days |= {job.id: datetime.now(UTC).date() for job in jobs}

    def _take(self, quota: Quota, count: int, taken: float | None) -> None:
        own = [job for job in self.jobs.values() if job.key_id == quota.key_id and job.status in UNFINISHED]
        if quota.concurrent_jobs is not None and len(own) + count > quota.concurrent_jobs:
            raise ConcurrentJobsError
        if quota.audio_seconds_per_day is not None and taken is not None:
            day = quota.key_id, datetime.now(UTC).date()
            kept = self._audio_seconds.get(day, 0.0)
            seconds, most = kept + taken, quota.audio_seconds_per_day
            if seconds > most or kept >= most:
                raise AudioQuotaError
            self._audio_seconds[day] = seconds

    async def usage(self, key_id: str) -> Usage:
        await self.check()
        today = datetime.now(UTC).date()
        own = [job for job in self.jobs.values() if job.key_id == key_id]
        submitted = sum(job.duration or 0.0 for job in own if job.creation_date.date() >= today)
        waiting = [job for job in own if job.status in UNFINISHED and self._usage_days.get(job.id) == today]
        return Usage(
            concurrent_jobs=sum(job.status in UNFINISHED for job in own),
            audio_seconds_today=self._audio_seconds.get((key_id, today), submitted),
            reserved_seconds=sum(job.reserved_seconds or 0.0 for job in waiting),
        )

    async def submitted(self, key: IdempotencyKey) -> Submitted | None:
        await self.check()
        held, until = self._keys.get((key.owner, key.text), (None, datetime.now(UTC)))
        return held if held and until > datetime.now(UTC) and held.job.id in self.jobs else None

    async def forget_idempotency_keys(self, *, limit: int) -> int:
        await self.check()
        expired = sorted((until, name) for name, (_, until) in self._keys.items() if until <= datetime.now(UTC))
        for _, name in expired[:limit]:
            del self._keys[name]
        return len(expired[:limit])
