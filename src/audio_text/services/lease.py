"""Hold a claimed job while it is worked on, and learn soon when it is no longer ours."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from audio_text.domain.job import JobStatus
from audio_text.errors import DatabaseUnavailableError, EventsUnavailableError, LeaseLostError, StreamGapError
from audio_text.ports import Claim, Resources

LEASE_BEATS = 3
"""Heartbeats per lease: two may be lost before the job is somebody else's."""


class Leases:
    """Keeps the leases of one worker process, `lease_seconds` at a time."""

    def __init__(self, resources: Resources, *, lease_seconds: float) -> None:
        self._jobs = resources.jobs
        self._events = resources.events
        self._lease_seconds = lease_seconds

    @asynccontextmanager
    async def kept(self, claim: Claim) -> AsyncGenerator[None, None]:
        """Keep the claim's lease for as long as the block runs; raises LeaseLostError in its place when that ends."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(work(claim)) for work in (self._beat, self._hear_of_cancelling)]
                yield
                for task in beside:
                    task.cancel()
        except BaseExceptionGroup as group:
            # The first error is the cause; the group only tells that something ran beside the work.
            raise group.exceptions[0] from None

    async def _beat(self, claim: Claim) -> None:
        kept = time.monotonic()
        while True:
            await asyncio.sleep(self._lease_seconds / LEASE_BEATS)
            try:
                held = await self._jobs.extend_lease(claim, lease_seconds=self._lease_seconds)
            except DatabaseUnavailableError:
                # The lease itself runs on the database's clock: it holds until nobody could extend it in time.
                held = time.monotonic() - kept < self._lease_seconds
            else:
                kept = time.monotonic()
            if not held:
                raise LeaseLostError

    async def _hear_of_cancelling(self, claim: Claim) -> None:
        # Only to be quick: what is not heard here, the next heartbeat or segment finds out.
        while True:
            try:
                async with self._events.follow(claim.job_id) as news:
                    async for published in news:
                        if published.update.status is JobStatus.cancelled:
                            await self._look(claim)
            except (StreamGapError, EventsUnavailableError, DatabaseUnavailableError):
                await asyncio.sleep(self._lease_seconds / LEASE_BEATS)

    async def _look(self, claim: Claim) -> None:
        # The event may be about an earlier life of the job: the row is the truth.
        if not await self._jobs.extend_lease(claim, lease_seconds=self._lease_seconds):
            raise LeaseLostError
