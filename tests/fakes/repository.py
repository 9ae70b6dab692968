"""The table of jobs in memory, held to the same contract as the real one."""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from audio_text.domain.job import AttemptEnd, AttemptRecord, Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import JobNotFoundError, JobStateError
from audio_text.ports import Again, Released
from fakes.claims import FakeJobClaims
from fakes.rows import RETRYABLE, UNFINISHED, age, end, storable_struct
from fakes.upkeep import FakeJobUpkeep

Row = TypeVar("Row", Job, Segment)
UNFINISHED = (JobStatus.pending, JobStatus.processing)
RETRYABLE = (JobStatus.failed, JobStatus.cancelled)
LOST = Released(end=AttemptEnd.lost)


class FakeJobRepository:
    """`jobs` is open to tests; while `is_down`, every method raises DatabaseUnavailableError."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.is_down = False
        self._segments: dict[str, dict[int, Segment]] = {}
        self._attempts = FakeAttempts()
        self._unannounced: set[str] = set()
        self._held: set[str] = set()

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

    async def segments(self, job_id: str, *, first: int = 0, limit: int | None = None) -> list[Segment]:
        await self.check()
        stored = self._segments.get(job_id, {})
        return [stored[number] for number in sorted(stored) if number >= first][:limit]

    async def last_segment(self, job_id: str) -> int | None:
        await self.check()
        return max(self._segments.get(job_id, {}), default=None)

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        await self.check()
        now = datetime.now(UTC)
        busy = Counter(
            job.owner
            for job in self.jobs.values()
            if job.tier == tier and job.lease_expires_at and job.lease_expires_at > now
        )
        turns = sorted(self.waiting(tier), key=lambda job: (-RANKS[job.priority], busy[job.owner], *_age(job)))
        return self.take(turns[0], owner=owner, lease_seconds=lease_seconds) if turns else None

    def waiting(self, tier: str) -> list[Job]:
        """What may be claimed now."""
        now = datetime.now(UTC)
        return [
            job
            for job in self.jobs.values()
            if job.tier == tier
            and job.status in UNFINISHED
            and (job.lease_expires_at or job.available_at or now) <= now
        ]

    def take(self, job: Job, *, owner: str, lease_seconds: float) -> Job:
        """Claim this job, whoever's turn it is."""
        now = datetime.now(UTC)
        stored = self._segments.get(job.id, {})
        position = max(stored[max(stored)].end if stored else 0.0, job.position + job.options.clip_start_seconds)
        is_lost = job.status is JobStatus.processing
        again = min(WINDOW_SECONDS, max((job.duration or 0.0) - job.position, 0.0)) if is_lost else 0.0
        if is_lost:
            self._attempts.end(job.id, LOST)
        taken = self.overwrite(
            job.id,
            status=JobStatus.processing,
            attempt=job.attempt + 1,
            claims=job.claims + 1,
            recomputed_seconds=job.recomputed_seconds + again,
            lease_owner=owner,
            lease_expires_at=now + timedelta(seconds=lease_seconds),
            started_at=job.started_at or now,
        )
        self._attempts.begin(taken, owner=owner, position=position)
        return taken

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        await self.check()
        now = datetime.now(UTC)
        jobs: dict[str, int] = {}
        for job in self.jobs.values():
            due = job.lease_expires_at or (job.available_at or job.creation_date) + timedelta(seconds=seconds)
            if job.status in UNFINISHED and due < now:
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

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        lease_expires_at = datetime.now(UTC) + timedelta(seconds=lease_seconds)
        return await self._write(claim, lease_expires_at=lease_expires_at)

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        written = await self._write(
            claim,
            progress=chunk.progress,
            position=chunk.position,
            duration=chunk.duration,
            duration_after_vad=chunk.duration_after_vad,
            language=chunk.language,
            language_probability=chunk.language_probability,
            device=chunk.device,
            compute_type=chunk.compute_type,
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
            Released(end=AttemptEnd.completed),
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
            Released(end=AttemptEnd.failed, error_code=outcome.error_code, error_message=outcome.error_message),
            status=JobStatus.failed,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
            processing_time_seconds=outcome.processing_time_seconds,
            is_dead_letter=outcome.is_dead_letter,
        )

    async def release(self, claim: Claim, *, delay_seconds: float, reason: Released) -> bool:
        attempt = self.jobs[claim.job_id].attempt if claim.job_id in self.jobs else 0
        written = await self._write(
            claim,
            status=JobStatus.pending,
            attempt=attempt - 1 if reason.end is AttemptEnd.handed_back else attempt,
            available_at=datetime.now(UTC) + timedelta(seconds=delay_seconds),
            lease_owner=None,
            lease_expires_at=None,
        )
        if written:
            self._attempts.end(claim.job_id, reason)
        return written

    async def cancel(self, job_id: str) -> Job:
        job = await self.get(job_id)
        if job.status in UNFINISHED:
            self._attempts.end(job_id, Released(end=AttemptEnd.cancelled))
            return self._finish(job_id, status=JobStatus.cancelled)
        if job.status is not JobStatus.cancelled:
            raise JobStateError(f"The job is {job.status.value}: there is nothing left to cancel.")
        return job

    async def retry(self, job_id: str, *, again: Again) -> Job:
        job = await self.get(job_id)
        if job.status is JobStatus.completed:
            raise JobStateError("The job is completed: submit the recording again to transcribe it in another way.")
        if job.status not in RETRYABLE:
            return job
        chosen = _storable(
            replace(
                job,
                whisper_model=again.whisper_model or job.whisper_model,
                tier=again.tier or job.tier,
                options=again.options or job.options,
            )
        )
        if (chosen.whisper_model, chosen.options) != (job.whisper_model, job.options):
            self._segments.pop(job_id, None)
            names = ("duration", "duration_after_vad", "language", "language_probability", "device", "compute_type")
            chosen = replace(chosen, progress=0.0, position=0.0, **dict.fromkeys(names))
        self.jobs[job_id] = chosen
        self._unannounced.discard(job_id)
        return self.overwrite(
            job_id,
            status=JobStatus.pending,
            attempt=0,
            available_at=datetime.now(UTC),
            started_at=None,
            finished_at=None,
            expires_at=None,
            processing_time_seconds=None,
            error_code=None,
            error_message=None,
            is_dead_letter=False,
        )

    async def delete(self, job_id: str) -> Job | None:
        await self.check()
        self._segments.pop(job_id, None)
        self._attempts.forget(job_id)
        self._unannounced.discard(job_id)
        return self.jobs.pop(job_id, None)

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        await self.check()
        return self._attempts.of(job_id)

    async def dead_letters(self, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Job]:
        await self.check()
        dead = [job for job in self.jobs.values() if job.is_dead_letter and (before is None or _end(job) < before)]
        return sorted(dead, key=_end, reverse=True)[:limit]

    async def drop_dead_letter(self, job_id: str) -> bool:
        await self.check()
        if job_id not in self.jobs or not self.jobs[job_id].is_dead_letter:
            return False
        self.overwrite(job_id, is_dead_letter=False)
        return True
