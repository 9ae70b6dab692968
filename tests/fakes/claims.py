"""Jobs in memory as workers see them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from audio_text.adapters.rows import RANKS
from audio_text.domain.blocks import WINDOW_SECONDS
from audio_text.domain.job import AttemptEnd, Completed, Failed, Job, JobStatus
from audio_text.domain.transcript import TranscriptChunk
from audio_text.ports import BroughtRecording, Claim, Released
from fakes.rows import LOST, UNFINISHED, FakeRows, age, end, is_expired, is_late, storable_struct

COPIED = (
    "result_text",
    "position",
    "block_start",
    "channel_progress",
    "duration",
    "duration_after_vad",
    "language",
    "language_probability",
    "device",
    "compute_type",
    "audio_sha256",
)


class FakeJobClaims(FakeRows):
    """Whose turn it is, and what a claim may write."""

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        await self.check()
        now = datetime.now(UTC)
        busy = Counter(
            job.owner
            for job in self.jobs.values()
            if job.tier == tier and job.lease_expires_at and job.lease_expires_at > now
        )
        turns = sorted(self.waiting(tier), key=lambda job: (-RANKS[job.priority], busy[job.owner], *age(job)))
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
            and not is_late(job)
        ]

    def take(self, job: Job, *, owner: str, lease_seconds: float) -> Job:
        """Claim this job, whoever's turn it is."""
        now = datetime.now(UTC)
        stored = self._segments.get(job.id, {})
        last = stored[max(stored)] if stored else None
        position = max(
            last.end if last and last.channel is None else 0.0, job.position + job.options.clip_start_seconds
        )
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

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        lease_expires_at = datetime.now(UTC) + timedelta(seconds=lease_seconds)
        return await self._write(claim, lease_expires_at=lease_expires_at)

    async def note_recording(self, claim: Claim, recording: BroughtRecording) -> bool:
        changes = {"file_size_bytes": recording.size_bytes, "content_type": recording.content_type}
        if recording.duration is not None:
            changes |= {"duration": recording.duration, "reserved_seconds": None}
        return await self._write(claim, **changes)

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        written = await self._write(
            claim,
            progress=chunk.progress,
            position=chunk.position,
            block_start=chunk.block_start,
            next_window=chunk.next_window,
            channel_progress=chunk.channel_progress,
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
            fresh = {segment.id: storable_struct(segment) for segment in chunk.segments}
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
            audio_sha256=outcome.audio_sha256,
            error_code=None,
            error_message=None,
        )

    async def complete_from_earlier(
        self, claim: Claim, *, audio_sha256: str, processing_time_seconds: float
    ) -> Job | None:
        await self.check()
        job = self.jobs.get(claim.job_id)
        if job is None or not _holds(claim, job) or self._segments.get(job.id):
            return None
        wanted = (JobStatus.completed, audio_sha256, job.owner, job.whisper_model, job.options)
        earlier = [
            other
            for other in self.jobs.values()
            if (other.status, other.audio_sha256, other.owner, other.whisper_model, other.options) == wanted
            and not is_expired(other)
        ]
        if not earlier:
            return None
        source = max(earlier, key=end)
        self._segments[job.id] = dict(self._segments.get(source.id, {}))
        copied = {name: getattr(source, name) for name in COPIED}
        news = {"reused_from": source.id, "processing_time_seconds": processing_time_seconds}
        cleared = dict.fromkeys(("error_code", "error_message"))
        done = {"status": JobStatus.completed, "progress": 100.0}
        await self._end(claim, Released(end=AttemptEnd.completed), **(copied | news | cleared | done))
        return self.jobs[job.id]

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

    async def _end(self, claim: Claim, reason: Released, **fields: Any) -> bool:
        if not await self._write(claim):
            return False
        self._finish(claim.job_id, **fields)
        self._attempts.end(claim.job_id, reason)
        return True

    async def _write(self, claim: Claim, **fields: Any) -> bool:
        await self.check()
        job = self.jobs.get(claim.job_id)
        if job is None or not _holds(claim, job):
            return False
        self.overwrite(job.id, **fields)
        return True


def _holds(claim: Claim, job: Job) -> bool:
    return job.claims == claim.token and job.status is JobStatus.processing
