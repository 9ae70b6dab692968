"""Jobs in memory as the reconciliation sees them."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from audio_text.domain.job import Job, JobStatus, Retention
from audio_text.errors import DeadlinePassedError, WorkerLostError
from fakes.rows import LOST, UNFINISHED, FakeRows, age, end, is_expired, is_late


class FakeJobUpkeep(FakeRows):
    """What nobody else brings to its end."""

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        await self.check()
        now = datetime.now(UTC)
        jobs: dict[str, int] = {}
        for job in self.jobs.values():
            due = job.lease_expires_at or (job.available_at or job.creation_date) + timedelta(seconds=seconds)
            if job.status in UNFINISHED and due < now and not is_late(job):
                jobs[job.tier] = jobs.get(job.tier, 0) + 1
        return jobs

    async def next_lease_end(self) -> float | None:
        await self.check()
        now = datetime.now(UTC)
        ends = [job.lease_expires_at for job in self.jobs.values() if job.lease_expires_at]
        return min(((end - now).total_seconds() for end in ends if end > now), default=None)

    async def end_leases(self, owner: str) -> list[Job]:
        await self.check()
        theirs = [job.id for job in self.jobs.values() if job.lease_owner == owner]
        return [self.overwrite(job_id, lease_expires_at=datetime.now(UTC)) for job_id in theirs]

    async def has_ends(self, retries: Mapping[str, int], *, seconds: float) -> bool:
        is_any_late = any(job.deadline and is_late(job) for job in self.jobs.values())
        return bool(self._exhausted(retries) or is_any_late or await self.unannounced(seconds=seconds, limit=1))

    async def end_exhausted(self, retries: Mapping[str, int]) -> list[Job]:
        await self.check()
        now = datetime.now(UTC)
        error = WorkerLostError()
        ended: list[Job] = []
        for job in self._exhausted(retries):
            self._attempts.end(job.id, LOST)
            fields = {"error_code": error.code, "error_message": error.detail, "is_dead_letter": True}
            ended.append(self._finish(job.id, status=JobStatus.failed, finished_at=now, **fields))
        return ended

    def _exhausted(self, retries: Mapping[str, int]) -> list[Job]:
        now = datetime.now(UTC)
        return [
            job
            for job in sorted(self.jobs.values(), key=age)
            if job.status is JobStatus.processing
            and job.lease_expires_at
            and job.lease_expires_at <= now
            and job.attempt > retries.get(job.tier, job.attempt)
        ]

    async def end_late(self, *, limit: int) -> list[Job]:
        await self.check()
        now = datetime.now(UTC)
        error = DeadlinePassedError()
        late = sorted((job.deadline, job.id) for job in self.jobs.values() if job.deadline and is_late(job))
        fields = {"status": JobStatus.failed, "error_code": error.code, "error_message": error.detail}
        return [self._finish(job_id, finished_at=now, **fields) for _, job_id in late[:limit]]

    async def unannounced(self, *, seconds: float, limit: int) -> list[Job]:
        await self.check()
        latest = datetime.now(UTC) - timedelta(seconds=seconds)
        jobs = sorted((self.jobs[job_id] for job_id in self._unannounced), key=end)
        return [job for job in jobs if job.finished_at and job.finished_at < latest][:limit]

    async def mark_announced(self, job_ids: Sequence[str]) -> None:
        await self.check()
        self._unannounced.difference_update(job_ids)

    async def delete_expired(self, *, limit: int) -> dict[str, str]:
        await self.check()
        expired = [
            (job.expires_at, job.id) for job in self.jobs.values() if job.status not in UNFINISHED and is_expired(job)
        ]
        deleted = [await self.delete(job_id) for _, job_id in sorted(expired)[:limit]]
        return {job.id: job.object_key for job in deleted if job is not None}

    async def needed_objects(self, keys: Collection[str], *, retention: Retention) -> set[str]:
        await self.check()
        return {
            job.object_key for job in self.jobs.values() if job.object_key in keys and _needs_object(job, retention)
        }

    @asynccontextmanager
    async def exclusively(self, purpose: str) -> AsyncGenerator[bool]:
        await self.check()
        if purpose in self._held:
            yield False
            return
        self._held.add(purpose)
        try:
            yield True
        finally:
            self._held.discard(purpose)


def _needs_object(job: Job, retention: Retention) -> bool:
    if job.status in UNFINISHED:
        return True
    seconds = retention.completed_seconds if job.status is JobStatus.completed else retention.retryable_seconds
    is_kept = seconds is None or not job.finished_at or job.finished_at > datetime.now(UTC) - timedelta(seconds=seconds)
    return is_kept and not is_expired(job)
