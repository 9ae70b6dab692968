"""The table of jobs in memory, held to the same contract as the real one."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from audio_text.adapters.rows import storable
from audio_text.domain.job import Completed, Failed, Job, JobStatus
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.errors import DatabaseUnavailableError, JobNotFoundError
from audio_text.ports import Claim

Row = TypeVar("Row", Job, Segment)
UNFINISHED = (JobStatus.pending, JobStatus.processing)


class FakeJobRepository:
    """`jobs` is open to tests; while `is_down`, every method raises DatabaseUnavailableError."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.is_down = False
        self._segments: dict[str, dict[int, Segment]] = {}

    async def add(self, job: Job) -> None:
        await self.check()
        self.jobs.setdefault(job.id, _storable(job))

    async def get(self, job_id: str) -> Job:
        await self.check()
        if job_id not in self.jobs:
            raise JobNotFoundError
        return self.jobs[job_id]

    async def recent(
        self, *, limit: int, before: tuple[datetime, str] | None = None, status: JobStatus | None = None
    ) -> list[Job]:
        await self.check()
        newest_first = sorted(self.jobs.values(), key=_age, reverse=True)
        chosen = [
            job
            for job in newest_first
            if (before is None or _age(job) < before) and (status is None or job.status is status)
        ]
        return chosen[:limit]

    async def segments(self, job_id: str, *, first: int = 0) -> list[Segment]:
        await self.check()
        stored = self._segments.get(job_id, {})
        return [stored[number] for number in sorted(stored) if number >= first]

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        await self.check()
        now = datetime.now(UTC)
        for job in sorted(self.jobs.values(), key=_age):
            due = job.lease_expires_at or job.available_at or now
            if job.tier == tier and job.status in UNFINISHED and due <= now:
                return self.overwrite(
                    job.id,
                    status=JobStatus.processing,
                    attempt=job.attempt + 1,
                    lease_owner=owner,
                    lease_expires_at=now + timedelta(seconds=lease_seconds),
                    started_at=job.started_at or now,
                )
        return None

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        await self.check()
        latest = datetime.now(UTC) - timedelta(seconds=seconds)
        jobs: dict[str, int] = {}
        for job in self.jobs.values():
            due = job.lease_expires_at or job.available_at or job.creation_date
            if job.status in UNFINISHED and due < latest:
                jobs[job.tier] = jobs.get(job.tier, 0) + 1
        return jobs

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        lease_expires_at = datetime.now(UTC) + timedelta(seconds=lease_seconds)
        return await self._write(claim, lease_expires_at=lease_expires_at)

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        written = await self._write(
            claim,
            progress=chunk.progress,
            duration=chunk.duration,
            duration_after_vad=chunk.duration_after_vad,
            language=chunk.language,
            language_probability=chunk.language_probability,
        )
        if written and chunk.segments:
            last = chunk.segments[-1].id
            kept = self._segments.get(claim.job_id, {})
            fresh = {segment.id: _storable(segment) for segment in chunk.segments}
            self._segments[claim.job_id] = {number: kept[number] for number in kept if number <= last} | fresh
        return written

    async def complete(self, claim: Claim, outcome: Completed) -> bool:
        return await self._end(
            claim,
            status=JobStatus.completed,
            progress=100.0,
            result_text=outcome.result_text,
            duration=outcome.duration,
            duration_after_vad=outcome.duration_after_vad,
            processing_time_seconds=outcome.processing_time_seconds,
            real_time_factor=outcome.real_time_factor,
            language=outcome.language,
            language_probability=outcome.language_probability,
            error_code=None,
            error_message=None,
        )

    async def fail(self, claim: Claim, outcome: Failed) -> bool:
        return await self._end(
            claim,
            status=JobStatus.failed,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
            processing_time_seconds=outcome.processing_time_seconds,
        )

    async def release(self, claim: Claim, *, delay_seconds: float, spend_attempt: bool) -> bool:
        return await self._write(
            claim,
            status=JobStatus.pending,
            attempt=claim.attempt if spend_attempt else claim.attempt - 1,
            available_at=datetime.now(UTC) + timedelta(seconds=delay_seconds),
            lease_owner=None,
            lease_expires_at=None,
        )

    async def is_object_needed(self, object_key: str, *, besides: str) -> bool:
        await self.check()
        return any(
            job.object_key == object_key and job.id != besides and job.status in UNFINISHED
            for job in self.jobs.values()
        )

    async def check(self) -> None:
        if self.is_down:
            raise DatabaseUnavailableError

    def overwrite(self, job_id: str, **fields: Any) -> Job:
        """Put a job into any state, as another process might have done meanwhile."""
        fields = {"update_date": datetime.now(UTC)} | fields
        self.jobs[job_id] = _storable(replace(self.jobs[job_id], **fields))
        return self.jobs[job_id]

    async def _end(self, claim: Claim, **fields: Any) -> bool:
        return await self._write(
            claim, lease_owner=None, lease_expires_at=None, finished_at=datetime.now(UTC), **fields
        )

    async def _write(self, claim: Claim, **fields: Any) -> bool:
        await self.check()
        job = self.jobs.get(claim.job_id)
        if job is None or job.attempt != claim.attempt or job.status is not JobStatus.processing:
            return False
        self.overwrite(job.id, **fields)
        return True


def _age(job: Job) -> tuple[datetime, str]:
    return job.creation_date, job.id


def _storable(struct: Row) -> Row:
    """Give what comes back of it from a table: texts there cannot hold everything."""
    return msgspec.convert(storable(msgspec.to_builtins(struct)), type(struct))
