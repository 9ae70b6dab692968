"""Use cases on jobs that exist: read or list them; cancel, retry, annotate or delete one."""

import msgspec
import structlog

from audio_text.domain.access import Caller
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import AttemptRecord, Job, JobStatus
from audio_text.domain.listing import JobQuery
from audio_text.errors import JobNotFoundError, UploadMissingError
from audio_text.ports import Again, Notes, Resources
from audio_text.services.admission import AdmissionService
from audio_text.services.announcement import Announcer
from audio_text.services.choices import chosen_options
from audio_text.services.storage import StorageService
from audio_text.services.waking import wake
from audio_text.settings import Settings

log = structlog.get_logger(__name__)

RETRYABLE = frozenset({JobStatus.failed, JobStatus.cancelled})


class LifecycleService:
    """What a client may do with its jobs after submitting them. Everything raises DatabaseUnavailableError."""

    def __init__(self, resources: Resources, *, settings: Settings, admission: AdmissionService | None = None) -> None:
        self._jobs = resources.jobs
        self._store = resources.store
        self._queue = resources.queue
        self._storage = StorageService(resources, settings=settings)
        self._announcer = Announcer(jobs=resources.jobs, events=resources.events)
        self._admission = admission or AdmissionService(resources.jobs, settings=settings)
        self._settings = settings

    async def get(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFoundError."""
        return await self._jobs.get(job_id)

    async def find(self, query: JobQuery, *, limit: int) -> list[Job]:
        """List the jobs that a query asks for, in its order."""
        return await self._jobs.find(query, limit=limit)

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        """List how each worker fared with the job, oldest first. Raises JobNotFoundError."""
        await self._jobs.get(job_id)
        return await self._jobs.attempts(job_id)

    async def cancel(self, job_id: str) -> Job:
        """End a job that is not over, keeping what was decoded so far; a cancelled one is returned as it is.

        A worker that has it hears of it, or finds out at its next segment or heartbeat.
        Raises JobNotFoundError, JobStateError.
        """
        job = await self._jobs.cancel(job_id)
        log.info("job_cancelled", job_id=job.id)
        await self._tell(job)
        return job

    async def retry(
        self,
        job_id: str,
        *,
        caller: Caller | None = None,
        model: str | None = None,
        options: dict[str, object] | None = None,
    ) -> Job:
        """Have a failed or cancelled job done again; model and options keep what the job had, where nothing is named.

        What was decoded is kept and continued, unless model or options change. A job that waits or runs is returned
        as it is. One that is to wait again needs room like a new one, in its tier and beside the other jobs of its key;
        where there is no caller, an operator has it done, whatever the limits.

        Raises TierFullError, ConcurrentJobsError, AudioQuotaError, JobNotFoundError, JobStateError, UnknownModelError,
        InvalidRequestError for options, UploadMissingError and StoreUnavailableError.
        """
        job = await self._jobs.get(job_id)
        again = Again(
            whisper_model=model,
            tier=self._settings.route(model) if model else None,
            options=chosen_options(job.options, options) if options else None,
        )
        if job.status in RETRYABLE and job.source_url is None:
            await self._check_recording(job)
        job = await self._retry(job, again, caller)
        log.info("job_retried", job_id=job.id, model=job.whisper_model)
        await self._tell(job)
        if job.status is JobStatus.pending:
            await wake(self._queue, job.tier, job)
        return job

    async def _retry(self, job: Job, again: Again, caller: Caller | None) -> Job:
        if caller is None:
            return await self._jobs.retry(job.id, again=again)
        tiers = [again.tier or job.tier] if job.status in RETRYABLE else []
        return await self._admission.retry(
            job, lambda quota: self._jobs.retry(job.id, again=again, quota=quota), caller=caller, tiers=tiers
        )

    async def annotate(self, job_id: str, *, notes: Notes) -> Job:
        """Change what is noted on a job in any state. Raises JobNotFoundError, InvalidRequestError for too much."""
        return await self._jobs.annotate(job_id, notes=notes)

    async def delete(self, job_id: str) -> None:
        """Remove a job in any state, and its recording unless another job may need it. Raises JobNotFoundError."""
        job = await self._jobs.delete(job_id)
        if job is None:
            raise JobNotFoundError
        log.info("job_deleted", job_id=job.id, status=job.status.value)
        if not job.status.is_terminal:
            # Followers look at the row, and find that it is gone.
            await self._tell(msgspec.structs.replace(job, status=JobStatus.cancelled))
        await self._storage.clear({job.id: job.object_key})

    async def _check_recording(self, job: Job) -> None:
        try:
            await self._store.stat(job.object_key)
        except UploadMissingError as error:
            raise UploadMissingError(
                "The recording of this job is no longer stored: upload it again and submit a new job."
            ) from error

    async def _tell(self, job: Job) -> None:
        await self._announcer.tell(JobUpdate.of(job))
