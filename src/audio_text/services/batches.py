"""Use cases of batches: submit many recordings at once, and deal with them as one."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import uuid4

import structlog
from msgspec.structs import replace

from audio_text.domain.access import Caller
from audio_text.domain.batch import MOST_JOBS, Batch, Tally
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.listing import JobQuery
from audio_text.errors import (
    AudioTextError,
    BatchNotFoundError,
    BatchRefusedError,
    ConcurrentJobsError,
    DatabaseUnavailableError,
    IdempotencyKeyReusedError,
    JobNotFoundError,
    JobStateError,
    TransientError,
)
from audio_text.ports import Resources
from audio_text.services.lifecycle import LifecycleService
from audio_text.services.submission import Look, Recording, Submission, SubmissionService
from audio_text.services.waking import wake

AT_ONCE = 8
"""Recordings that are looked at, or jobs that are cancelled, at the same time: others want the database, too."""

LOOKS_AT_ONCE = 2
"""Uploads that all batches of this process look at together: the probe always has children left for single jobs."""

LOOK_WAIT_SECONDS = 60.0
"""How long an upload waits for its turn, before its batch is asked to come again."""

PAGE = 100
"""Jobs read at once; a thousand transcripts need not be in memory together."""

UNFINISHED = (JobStatus.pending, JobStatus.processing)

log = structlog.get_logger(__name__)

T = TypeVar("T")


class BatchService:
    """Batches of jobs. Everything raises DatabaseUnavailableError; what is not the caller's, BatchNotFoundError."""

    def __init__(self, resources: Resources, *, submission: SubmissionService, lifecycle: LifecycleService) -> None:
        self._batches = resources.batches
        self._jobs = resources.jobs
        self._queue = resources.queue
        self._submission = submission
        self._lifecycle = lifecycle
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def submit(
        self, batch: Batch, submissions: Sequence[Submission], *, key: IdempotencyKey | None = None
    ) -> tuple[Batch, bool]:
        """Accept all of them or none; the batch, and whether it is new. They are safe once this returns.

        Raises BatchRefusedError, IdempotencyKeyReusedError, QuotaExceededError and its kinds, and TransientError where
        the store or the database is away.
        """
        if key and (earlier := await self._submitted(key)):
            return earlier, False
        caller = submissions[0].caller
        try:
            await self._submission.admission.check_jobs(caller, len(submissions))
        except ConcurrentJobsError:
            # Its twin under the same key may have been stored in this very moment, and be what there is no room beside.
            if key and (earlier := await self._submitted(key)):
                return earlier, False
            raise
        jobs = await self._checked(submissions)
        # A moment apart: so the batch lists them in the order in which they came.
        members = [
            replace(job, batch_id=batch.id, creation_date=batch.created_at + timedelta(microseconds=place))
            for place, job in enumerate(jobs)
        ]
        is_added = await self._submission.admission.store(
            members,
            lambda quota: self._batches.add(batch, members, key=key, quota=quota),
            caller,
        )
        if not is_added:
            if key and (earlier := await self._submitted(key)):
                return earlier, False
            raise DatabaseUnavailableError("This key is given to one batch after another: try again.")
        log.info("batch_submitted", batch_id=batch.id, jobs=len(members))
        await _each(members, lambda job: wake(self._queue, job.tier, job))
        return replace(batch, tally=Tally(pending=len(members))), True

    async def get(self, batch_id: str, *, caller: Caller) -> Batch:
        """Read one, with its tally."""
        batch = await self._batches.get(batch_id)
        if not caller.sees(batch.owner):
            raise BatchNotFoundError
        return batch

    async def newest(self, *, caller: Caller, limit: int, before: tuple[datetime, str] | None = None) -> list[Batch]:
        """List the caller's, newest first, strictly earlier than `before` (created_at, id)."""
        return await self._batches.newest(owner=caller.whose, limit=limit, before=before)

    async def cancel(self, batch_id: str, *, caller: Caller) -> Batch:
        """End those of its jobs that are not over; the batch then. Safe to repeat."""
        await self.get(batch_id, caller=caller)
        query = JobQuery(batch_id=batch_id, statuses=UNFINISHED)
        # One that is retried meanwhile is there again; nobody retries for ever.
        for _ in range(2 * MOST_JOBS // PAGE):
            unfinished = await self._jobs.find(query, limit=PAGE)
            if not unfinished:
                break
            await _each(unfinished, self._cancel)
        return await self._batches.get(batch_id)

    async def jobs(self, batch_id: str) -> AsyncGenerator[Job]:
        """Its jobs in the order in which they came."""
        query: JobQuery | None = JobQuery(batch_id=batch_id, is_ascending=True)
        while query:
            found = await self._jobs.find(query, limit=PAGE)
            for job in found:
                yield job
            query = replace(query, after=query.place_of(found[-1])) if len(found) == PAGE else None

    async def _submitted(self, key: IdempotencyKey) -> Batch | None:
        earlier = await self._batches.submitted(key)
        if earlier is None:
            return None
        fingerprint, batch = earlier
        if fingerprint != key.fingerprint:
            raise IdempotencyKeyReusedError
        return batch

    async def _checked(self, submissions: Sequence[Submission]) -> list[Job]:
        refusals: dict[int, AudioTextError] = {}
        jobs: dict[int, Job] = {}
        looks = _Looks(self._submission.look, self._looking)

        async def check(numbered: tuple[int, Submission]) -> None:
            place, submission = numbered
            try:
                jobs[place] = await self._submission.check(submission, look=looks.at)
            except TransientError:
                raise
            except AudioTextError as error:
                refusals[place] = error

        await _each(list(enumerate(submissions)), check)
        if refusals:
            raise BatchRefusedError(
                f"{len(refusals)} of {len(submissions)} jobs cannot be accepted, so none was: see `errors`.",
                refusals=dict(sorted(refusals.items())),
            )
        return [jobs[place] for place in range(len(submissions))]

    async def _cancel(self, job: Job) -> None:
        with suppress(JobNotFoundError, JobStateError):  # it was deleted, or ended by itself, at the same moment
            await self._lifecycle.cancel(job.id)


class _Looks:
    """Looks at each recording of a batch once, however many of its jobs name it, when all batches leave room."""

    def __init__(self, look: Look, room: asyncio.Semaphore) -> None:
        self._look = look
        self._room = room
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._seen: dict[str, Recording | AudioTextError] = {}

    async def at(self, key: str) -> Recording:
        """What it is, or what is wrong with it, as `look` says. Raises TransientError when others look for too long."""
        async with self._turns[key]:
            if key not in self._seen:
                self._seen[key] = await self._look_now(key)
        seen = self._seen[key]
        if isinstance(seen, AudioTextError):
            raise seen.with_traceback(None)
        return seen

    async def _look_now(self, key: str) -> Recording | AudioTextError:
        try:
            async with asyncio.timeout(LOOK_WAIT_SECONDS):
                await self._room.acquire()
        except TimeoutError:
            raise TransientError("Many batches are being looked at just now: try again in a minute.") from None
        try:
            return await self._look(key)
        except TransientError:
            raise
        except AudioTextError as error:
            return error
        finally:
            self._room.release()


def new_batch(
    *, caller: Caller, size: int, description: str | None = None, metadata: dict[str, str] | None = None
) -> Batch:
    """Begin a batch of the caller's."""
    return Batch(
        id=str(uuid4()),
        owner=caller.owner,
        size=size,
        created_at=datetime.now(UTC),
        description=description,
        metadata=metadata or {},
    )


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do it for each, a few at a time. The first error ends it, and is raised itself."""
    waiting = iter(items)

    async def work_on() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work_on())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
