"""Use cases on a job that exists: read it, list them."""

from datetime import datetime

from audio_text.domain.job import Job, JobStatus
from audio_text.ports import JobRepository


class LifecycleService:
    """What a client may do with its jobs after submitting them."""

    def __init__(self, *, jobs: JobRepository, list_limit: int) -> None:
        self._jobs = jobs
        self._list_limit = list_limit

    async def get(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFoundError."""
        return await self._jobs.get(job_id)

    async def recent(
        self,
        *,
        limit: int | None = None,
        before: tuple[datetime, str] | None = None,
        status: JobStatus | None = None,
    ) -> list[Job]:
        """List jobs, newest first; never more than the settings' limit at once."""
        size = min(limit or self._list_limit, self._list_limit)
        return await self._jobs.recent(limit=size, before=before, status=status)
