"""Use case: answer a job from an earlier one of the same owner that heard the same recording in the same way."""

import asyncio
import hashlib
from pathlib import Path

import structlog

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Job, JobStatus
from audio_text.ports import Claim, JobRepository
from audio_text.services.announcement import Announcer

log = structlog.get_logger(__name__)

BATCH = 100
"""Segments in one event: a transcript may have thousands, and an event is held in memory by everybody it passes."""


async def sha256_of(audio: Path) -> str:
    """Give the SHA-256 of a file in hexadecimal, holding little of it in memory."""
    return await asyncio.to_thread(_sha256_of, audio)


def _sha256_of(audio: Path) -> str:
    with audio.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Reuse:
    """Completes jobs without decoding, and tells their followers as if they had been."""

    def __init__(self, *, jobs: JobRepository, announcer: Announcer) -> None:
        self._jobs = jobs
        self._announcer = announcer

    async def complete(self, job: Job, *, audio_sha256: str, elapsed_seconds: float) -> Job | None:
        """Complete a claimed job, if it may be and an earlier one has its answer; the job then."""
        if not job.reuse or job.options.is_clip:
            return None
        return await self._jobs.complete_from_earlier(
            Claim(job.id, job.claims), audio_sha256=audio_sha256, processing_time_seconds=elapsed_seconds
        )

    async def tell(self, job: Job) -> None:
        """Publish the segments, for those who come back with a cursor get no others, and then the end."""
        first = 0
        while segments := tuple(await self._jobs.segments(job.id, first=first, limit=BATCH)):
            first = segments[-1].id + 1
            await self._announcer.tell(
                JobUpdate(
                    job_id=job.id,
                    status=JobStatus.processing,
                    progress=job.progress,
                    segments=segments,
                    claims=job.claims,
                )
            )
        await self._announcer.tell(JobUpdate.of(job))
        log.info("job_completed", duration=job.duration, segments=first, reused_from=job.reused_from)
