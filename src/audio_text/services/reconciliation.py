"""Use case: wake workers for jobs that wait although nobody was told, because a message or a worker was lost."""

import asyncio

import structlog

from audio_text.errors import TransientError
from audio_text.ports import JobQueue, JobRepository

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 5.0
"""How often each worker process looks; a look is one indexed query."""

OVERDUE_SECONDS = 5.0
"""A job that could have been claimed for so long while its queue is empty has lost its message."""

MOST_WAKE_UPS = 100
"""Wake-ups sent per tier and look; more would only pile up in the queue."""


class ReconciliationService:
    """Compares rows with messages. The row is the truth, so a message too many is harmless."""

    def __init__(self, *, jobs: JobRepository, queue: JobQueue) -> None:
        self._jobs = jobs
        self._queue = queue

    async def run_forever(self) -> None:
        """Look every few seconds; an outage of a part only delays the next look."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.run_once()
            except TransientError as error:
                log.warning("reconciliation_postponed", code=error.code, error=error.detail)

    async def run_once(self) -> None:
        """Send the wake-ups that are missing. Raises DatabaseUnavailableError, QueueUnavailableError."""
        overdue = await self._jobs.overdue(seconds=OVERDUE_SECONDS)
        for tier, waiting in overdue.items():
            missing = min(waiting - await self._queue.depth(tier), MOST_WAKE_UPS)
            for _ in range(missing):
                await self._queue.enqueue(tier, job_id="")
            if missing > 0:
                log.warning("wake_ups_restored", tier=tier, count=missing)
