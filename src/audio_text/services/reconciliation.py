"""Use case: put right what was lost on the way: wake-ups, workers, the news of an end, recordings that nobody wants."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Job
from audio_text.errors import TransientError
from audio_text.ports import Resources
from audio_text.services.announcement import Announcer
from audio_text.services.storage import StorageService
from audio_text.services.waking import wake
from audio_text.settings import Settings

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often each worker process looks for jobs without a wake-up, at the least: three indexed queries."""

SPREAD_SECONDS = 0.5
"""A lease that runs out is seen so soon by each process, and not by all at the same moment."""

OVERDUE_SECONDS = 5.0
"""A job that could have been claimed for so long while its queue is empty has lost its message."""

MOST_WAKE_UPS = 100
"""Wake-ups sent per tier and look; more would only pile up in the queue."""

UNTOLD_SECONDS = 5.0
"""Who ended a job tells it at once; after so long it never will."""

MOST_ENDS = 100
"""Deadlines enforced and ends told again per look; an outage may leave many behind."""

PURPOSE = "reconciliation"
"""The lock that only one process of all holds while it ends jobs for workers that cannot."""

TIDY_SECONDS = 60.0
"""How often each worker process looks for jobs that have expired, and for files of dead processes on its machine."""

SWEEP_SECONDS = 6 * 3_600.0
"""How often it looks through the whole store: that costs a request per thousand recordings, and nothing is urgent."""


class ReconciliationService:
    """Compares rows with messages, and keeps the store tidy. The row is the truth: a message too many is harmless."""

    def __init__(self, resources: Resources, *, settings: Settings) -> None:
        self._jobs = resources.jobs
        self._batches = resources.batches
        self._queue = resources.queue
        self._storage = StorageService(resources, settings=settings)
        self._announcer = Announcer(jobs=resources.jobs, events=resources.events)
        self._settings = settings

    async def run_forever(self) -> None:
        """Look every few seconds, tidy up every minute, and sweep the store now and every few hours."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(LOOK_SECONDS, "wake_ups", self._restore_wake_ups_in_time))
            group.create_task(_every(LOOK_SECONDS, "ends", self.tell_ends))
            group.create_task(_every(LOOK_SECONDS, "batches", self.end_batches))
            group.create_task(_every(TIDY_SECONDS, "expiry", self._storage.delete_expired))
            group.create_task(_every(TIDY_SECONDS, "empty_batches", self.remove_empty_batches))
            group.create_task(_every(TIDY_SECONDS, "abandoned_files", self._storage.remove_abandoned))
            group.create_task(_every(SWEEP_SECONDS, "sweep", self._storage.sweep))

    async def relieve(self, owner: str) -> None:
        """Have the jobs of a dead worker process claimed at once; what goes wrong is left to their leases."""
        try:
            jobs = await self._jobs.end_leases(owner)
        except TransientError as error:
            log.warning("leases_not_ended", owner=owner, code=error.code, error=error.detail)
            return
        for job in jobs:
            log.warning("lease_ended", job_id=job.id, owner=owner)
            await wake(self._queue, job.tier, job)

    async def _restore_wake_ups_in_time(self) -> float | None:
        await self.restore_wake_ups()
        lease_end = await self._jobs.next_lease_end()
        return None if lease_end is None else lease_end + random.uniform(0, SPREAD_SECONDS)  # noqa: S311 -- no secret

    async def restore_wake_ups(self) -> None:
        """Send the wake-ups that are missing. Raises DatabaseUnavailableError, QueueUnavailableError."""
        overdue = await self._jobs.overdue(seconds=OVERDUE_SECONDS)
        for tier, waiting in overdue.items():
            missing = min(waiting - await self._queue.depth(tier), MOST_WAKE_UPS)
            for _ in range(missing):
                await self._queue.enqueue(tier, job_id="")
            if missing > 0:
                log.warning("wake_ups_restored", tier=tier, count=missing)

    async def tell_ends(self) -> None:
        """End jobs whose last worker was lost or whose deadline passed, and tell the ends that nobody was told of.

        One process of all does it at a time.
        Raises DatabaseUnavailableError, EventsUnavailableError.
        """
        retries = {name: tier.retry.retries for name, tier in self._settings.tiers.items()}
        if not await self._jobs.has_ends(retries, seconds=UNTOLD_SECONDS):
            return  # nearly always: the lock costs a connection
        async with self._jobs.exclusively(PURPOSE) as is_ours:
            if not is_ours:
                return
            ended = [*await self._jobs.end_exhausted(retries), *await self._jobs.end_late(limit=MOST_ENDS)]
            for job in ended:
                log.warning("job_failed", job_id=job.id, code=job.error_code, is_dead_letter=job.is_dead_letter)
            await self._publish(ended)
            untold = await self._jobs.unannounced(seconds=UNTOLD_SECONDS, limit=MOST_ENDS)
            await self._publish(untold)
            if untold:
                log.warning("ends_told_again", count=len(untold))

    async def end_batches(self) -> None:
        """Say of batches that all their jobs are over. Raises DatabaseUnavailableError."""
        for batch in await self._batches.end_finished():
            log.info("batch_finished", batch_id=batch.id, jobs=batch.size)

    async def remove_empty_batches(self) -> None:
        """Forget finished batches of which no job is left. Raises DatabaseUnavailableError."""
        if count := await self._batches.remove_empty():
            log.info("empty_batches_removed", count=count)

    async def _publish(self, ended: Sequence[Job]) -> None:
        for job in ended:
            await self._announcer.publish(JobUpdate.of(job))


async def _every(seconds: float, part: str, work: Callable[[], Awaitable[float | None]]) -> None:
    """Work now and then, sooner when the work says so; an outage of a part only delays it."""
    is_postponed = False
    while True:
        sooner = None
        try:
            sooner = await work()
        except TransientError as error:
            if not is_postponed:
                log.warning("reconciliation_postponed", part=part, code=error.code, error=error.detail)
            is_postponed = True
        else:
            if is_postponed:
                log.info("reconciliation_resumed", part=part)
            is_postponed = False
        await asyncio.sleep(seconds if sooner is None else min(seconds, sooner))
