"""Use case: put right what was lost on the way: wake-ups that nobody heard, recordings that nobody wants any more."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from audio_text.errors import TransientError
from audio_text.ports import Resources
from audio_text.settings import StoreSettings

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often each worker process looks for jobs without a wake-up: one indexed query."""

OVERDUE_SECONDS = 5.0
"""A job that could have been claimed for so long while its queue is empty has lost its message."""

MOST_WAKE_UPS = 100
"""Wake-ups sent per tier and look; more would only pile up in the queue."""


SWEEPS_PER_DAY = 24
"""How often each worker process has the store remove what was left behind."""

SECONDS_PER_DAY = 86_400


class ReconciliationService:
    """Compares rows with messages, and keeps the store tidy. The row is the truth: a message too many is harmless."""

    def __init__(self, resources: Resources, *, settings: StoreSettings) -> None:
        self._jobs = resources.jobs
        self._queue = resources.queue
        self._store = resources.store
        self._settings = settings

    async def run_forever(self) -> None:
        """Look every few seconds, and sweep the store now and every hour."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(LOOK_SECONDS, self.restore_wake_ups))
            group.create_task(_every(SECONDS_PER_DAY / SWEEPS_PER_DAY, self.sweep_store))

    async def restore_wake_ups(self) -> None:
        """Send the wake-ups that are missing. Raises DatabaseUnavailableError, QueueUnavailableError."""
        overdue = await self._jobs.overdue(seconds=OVERDUE_SECONDS)
        for tier, waiting in overdue.items():
            missing = min(waiting - await self._queue.depth(tier), MOST_WAKE_UPS)
            for _ in range(missing):
                await self._queue.enqueue(tier, job_id="")
            if missing > 0:
                log.warning("wake_ups_restored", tier=tier, count=missing)

    async def sweep_store(self) -> None:
        """Remove recordings that nobody came back for. Raises StoreUnavailableError."""
        removed = await self._store.sweep(older_than_seconds=self._settings.orphan_days * SECONDS_PER_DAY)
        if removed:
            log.info("orphans_removed", count=removed)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Work now and then; an outage of a part only delays it."""
    while True:
        try:
            await work()
        except TransientError as error:
            log.warning("reconciliation_postponed", code=error.code, error=error.detail)
        await asyncio.sleep(seconds)
