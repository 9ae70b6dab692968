"""Use case: wait for a job with an open request. When nobody waits any more, the work stops."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import structlog

from audio_text.domain.access import Caller
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import (
    JobNotFoundError,
    JobStateError,
    TransientError,
    UploadMissingError,
    WaitTooLongError,
)
from audio_text.ports import AudioProbe, Resources, Waiters
from audio_text.services.lifecycle import LifecycleService
from audio_text.services.live import LiveService, LiveUpdate
from audio_text.services.submission import Submission, SubmissionService
from audio_text.settings import Settings

log = structlog.get_logger(__name__)

STAYS_PER_GRACE = 3
"""How often a waiter says that it is there within the time after which it counts as gone: two may be lost."""


class WaitingService:
    """Jobs that belong to the requests which wait for them.

    A waiter says every few seconds that it is there, wherever it waits. One that leaves looks, after the grace, whether
    anybody else has said so, and cancels the job if not. A client that lost its connection and tries again in time
    finds its job at work, and later than that, its job goes on where it was.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        waiters: Waiters,
        probe: AudioProbe,
        settings: Settings,
        background: asyncio.TaskGroup,
    ) -> None:
        self._jobs = resources.jobs
        self._live = LiveService(jobs=resources.jobs, events=resources.events)
        self._waiters = waiters
        self._submission = SubmissionService(resources, probe=probe, settings=settings)
        self._lifecycle = LifecycleService(resources, settings=settings, admission=self._submission.admission)
        self._settings = settings.openai
        self._background = background
        self._leaving: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Cancel nothing more: clients of a process that stops come back to another one."""
        for task in self._leaving:
            task.cancel()

    async def submit(self, submission: Submission, *, key: IdempotencyKey, is_retry: bool) -> tuple[Job, bool]:
        """Submit, or find the job that the same request led to before; whether it is a new one.

        A request that is no retry takes the key over. Raises what SubmissionService raises.
        """
        takes_over = not is_retry
        if is_retry and (told := await self._submission.submitted(key)) is not None:
            if (job := await self._earlier(told.id, submission.caller)) is not None:
                log.info("request_joined", job_id=job.id)
                return job, False
            takes_over = True
        return await self._submission.submit_once(submission, key=msgspec.structs.replace(key, takes_over=takes_over))

    async def follow(self, job_id: str) -> AsyncGenerator[LiveUpdate | None, None]:
        """Tell what LiveService tells, None every few seconds without news, until the job is over.

        A caller that stops before the end leaves the job. Raises WaitTooLongError when it takes longer than the
        settings allow (the job then goes on), JobNotFoundError, EventsUnavailableError.
        """
        patience = self._settings.longest_wait_seconds
        interval = self._settings.grace_seconds / STAYS_PER_GRACE
        began = told_at = time.monotonic()
        is_leaving = True
        try:
            await self._waiters.stay(job_id, seconds=self._settings.grace_seconds)
            async with aclosing(self._live.follow(job_id, idle_seconds=interval)) as updates:
                async for update in updates:
                    is_leaving = update is None or not update.update.status.is_terminal
                    yield update
                    now = time.monotonic()
                    if is_leaving and now - began > patience:
                        is_leaving = False
                        raise WaitTooLongError(f"Job {job_id} is not over after {patience:.0f} seconds, and goes on.")
                    if is_leaving and now - told_at >= interval:
                        await self._waiters.stay(job_id, seconds=self._settings.grace_seconds)
                        told_at = now
        except JobNotFoundError:
            is_leaving = False
            raise
        finally:
            if is_leaving:
                self._leave(job_id)

    async def outcome(self, job_id: str) -> tuple[Job, list[Segment]]:
        """Wait until the job is over; the job as it is then, and its segments. Raises as `follow` does."""
        async with aclosing(self.follow(job_id)) as updates:
            async for _ in updates:
                pass
        return await self._jobs.get(job_id), await self._jobs.segments(job_id)

    async def _earlier(self, job_id: str, caller: Caller) -> Job | None:
        """The job of the first try, if it still leads to a transcript."""
        try:
            await self._waiters.stay(job_id, seconds=self._settings.grace_seconds)
            job = await self._jobs.get(job_id)
            if job.status is JobStatus.cancelled:
                return await self._lifecycle.retry(job_id, caller=caller)
        except (JobNotFoundError, JobStateError, UploadMissingError, TransientError):
            return None
        return None if job.status is JobStatus.failed else job

    def _leave(self, job_id: str) -> None:
        task = self._background.create_task(self._abandon(job_id))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _abandon(self, job_id: str) -> None:
        await asyncio.sleep(self._settings.grace_seconds)
        try:
            if await self._waiters.is_anybody_there(job_id):
                log.info("job_still_awaited", job_id=job_id)
            else:
                await self._lifecycle.cancel(job_id)
                log.info("job_abandoned", job_id=job_id)
        except (JobNotFoundError, JobStateError):
            return
        except Exception as error:  # noqa: BLE001 -- it must not end the process: the job runs to its end instead
            log.warning("job_not_abandoned", job_id=job_id, error=str(error))
