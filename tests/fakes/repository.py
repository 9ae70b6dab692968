"""The table of jobs in memory, held to the same contract as the real one."""

from datetime import UTC, datetime

from msgspec import UNSET
from msgspec.structs import replace

from audio_text.domain.job import MOST_METADATA, AttemptEnd, AttemptRecord, Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.domain.usage import Quota
from audio_text.errors import InvalidRequestError, JobNotFoundError, JobStateError
from audio_text.ports import Again, Notes, Released
from fakes.backlog import FakeJobBacklog
from fakes.claims import FakeJobClaims
from fakes.rows import RETRYABLE, UNFINISHED, end, storable_struct
from fakes.search import FakeJobSearch
from fakes.submission import FakeJobSubmission
from fakes.upkeep import FakeJobUpkeep


class FakeJobRepository(FakeJobSubmission, FakeJobClaims, FakeJobSearch, FakeJobBacklog, FakeJobUpkeep):
    """`jobs` is open to tests; while `is_down`, every method raises DatabaseUnavailableError."""

    async def get(self, job_id: str) -> Job:
        await self.check()
        if job_id not in self.jobs:
            raise JobNotFoundError
        return self.jobs[job_id]

    async def owner_of(self, job_id: str) -> str | None:
        return (await self.get(job_id)).owner

    async def segments(self, job_id: str, *, first: int = 0, limit: int | None = None) -> list[Segment]:
        await self.check()
        stored = self._segments.get(job_id, {})
        return [stored[number] for number in sorted(stored) if number >= first][:limit]

    async def last_segment(self, job_id: str) -> int | None:
        await self.check()
        return max(self._segments.get(job_id, {}), default=None)

    async def cancel(self, job_id: str) -> Job:
        job = await self.get(job_id)
        if job.status in UNFINISHED:
            self._attempts.end(job_id, Released(end=AttemptEnd.cancelled))
            return self._finish(job_id, status=JobStatus.cancelled)
        if job.status is not JobStatus.cancelled:
            raise JobStateError(f"The job is {job.status.value}: there is nothing left to cancel.")
        return job

    async def retry(self, job_id: str, *, again: Again, quota: Quota | None = None) -> Job:
        job = await self.get(job_id)
        if job.status is JobStatus.completed:
            raise JobStateError("The job is completed: submit the recording again to transcribe it in another way.")
        if job.status not in RETRYABLE:
            return job
        chosen = storable_struct(
            replace(
                job,
                whisper_model=again.whisper_model or job.whisper_model,
                tier=again.tier or job.tier,
                options=again.options or job.options,
            )
        )
        is_new = (chosen.whisper_model, chosen.options) != (job.whisper_model, job.options)
        chosen = self._held_again(chosen, quota, is_new=is_new, was_clip=job.options.is_clip)
        if is_new:
            self._segments.pop(job_id, None)
            names = (
                "block_start",
                "next_window",
                "channel_progress",
                "duration",
                "duration_after_vad",
                "language",
                "language_probability",
                "device",
                "compute_type",
            )
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
            deadline=None,
            processing_time_seconds=None,
            error_code=None,
            error_message=None,
            is_dead_letter=False,
        )

    def _held_again(self, job: Job, quota: Quota | None, *, is_new: bool, was_clip: bool) -> Job:
        today = datetime.now(UTC).date()
        is_settled = job.duration is not None and job.reserved_seconds is None
        is_held = job.reserved_seconds is not None and self._usage_days.get(job.id) == today
        takes = is_new or not (is_settled or is_held)
        seconds = None
        if quota is not None and quota.reserve is not None:
            if is_new and is_settled and not was_clip:
                seconds = job.duration
            elif takes:
                seconds = max(quota.reserve, (job.duration or 0.0) if is_new else job.position)
            elif is_settled and job.error_code == "audio_quota_exceeded":
                seconds = 0.0
        if quota is not None:
            self._take(quota, 1, seconds)
        if takes and (is_new or seconds is not None):
            self._usage_days[job.id] = today
            job = replace(job, reserved_seconds=seconds)
        return replace(job, day_limit_seconds=quota.day_limit_seconds if quota else None)

    async def annotate(self, job_id: str, *, notes: Notes) -> Job:
        job = await self.get(job_id)
        description = job.description if notes.description is UNSET else notes.description
        changes = {} if notes.metadata is UNSET else notes.metadata
        merged = {} if changes is None else {**job.metadata, **changes}
        metadata = {key: value for key, value in merged.items() if value is not None}
        if len(metadata) > MOST_METADATA:
            raise InvalidRequestError(f"`metadata` would have more than {MOST_METADATA} keys: remove some with null.")
        return self.overwrite(job_id, description=description, metadata=metadata)

    async def delete(self, job_id: str) -> Job | None:
        await self.check()
        self._segments.pop(job_id, None)
        self._attempts.forget(job_id)
        self._unannounced.discard(job_id)
        job = self.jobs.pop(job_id, None)
        if job and job.status is JobStatus.pending and not job.claims and job.duration is None:
            self._book(job, -(job.reserved_seconds or 0.0))
        return job

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        await self.check()
        return self._attempts.of(job_id)

    async def dead_letters(self, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Job]:
        await self.check()
        dead = [job for job in self.jobs.values() if job.is_dead_letter and (before is None or end(job) < before)]
        return sorted(dead, key=end, reverse=True)[:limit]

    async def drop_dead_letter(self, job_id: str) -> bool:
        await self.check()
        if job_id not in self.jobs or not self.jobs[job_id].is_dead_letter:
            return False
        self.overwrite(job_id, is_dead_letter=False)
        return True
