"""Use cases of an operator: jobs that used up their attempts."""

from datetime import datetime

from audio_text.domain.job import AttemptRecord, Job
from audio_text.errors import JobNotFoundError, JobStateError
from audio_text.ports import Resources
from audio_text.services.lifecycle import LifecycleService
from audio_text.settings import Settings


class DeadLetterService:
    """The list of dead letters, and what becomes of each. Everything raises DatabaseUnavailableError."""

    def __init__(self, resources: Resources, *, settings: Settings) -> None:
        self._jobs = resources.jobs
        self._lifecycle = LifecycleService(resources, settings=settings)

    async def newest(self, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Job]:
        """List them, newest first, strictly earlier than `before` (finished_at, id)."""
        return await self._jobs.dead_letters(limit=limit, before=before)

    async def show(self, job_id: str) -> tuple[Job, list[AttemptRecord]]:
        """Read one, with the attempts at it. Raises JobNotFoundError, JobStateError for what is no dead letter."""
        job = await self._read(job_id)
        return job, await self._jobs.attempts(job_id)

    async def requeue(self, job_id: str) -> Job:
        """Have it done again, behind what was decoded already; the job, pending.

        Raises JobNotFoundError, JobStateError, UploadMissingError and StoreUnavailableError.
        """
        await self._read(job_id)
        return await self._lifecycle.retry(job_id)

    async def drop(self, job_id: str) -> None:
        """Take it off the list, leaving it failed. Raises JobNotFoundError, JobStateError."""
        await self._read(job_id)
        await self._jobs.drop_dead_letter(job_id)

    async def _read(self, job_id: str) -> Job:
        if not job_id.isascii():  # no id has such letters, and the database may not take them
            raise JobNotFoundError
        job = await self._jobs.get(job_id)
        if not job.is_dead_letter:
            raise JobStateError(f"This job is {job.status.value}, and no dead letter.")
        return job
