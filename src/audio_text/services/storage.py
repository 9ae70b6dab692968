"""Use case: keep stored only what is wanted. Recordings go with the last job that needs them, jobs when they expire.

What is removed in several steps loses its row first: whatever dies between them leaves a recording that no job needs,
for the sweep, and an event log that nobody can ask for, until Redis drops it. A job never loses its recording first.
"""

from collections.abc import Collection, Mapping
from contextlib import aclosing

import structlog

from audio_text.domain.usage import SECONDS_PER_DAY
from audio_text.errors import EventsUnavailableError, TransientError
from audio_text.ports import Resources
from audio_text.settings import Settings

log = structlog.get_logger(__name__)

BATCH = 100
"""Jobs that are removed in one statement: a transcript may have thousands of segments."""

IDEMPOTENCY_KEYS = 1_000
"""Those that are removed in one statement."""

EXPIRY, SWEEP = "expiry", "sweep"
"""The locks that one process of all holds while it does that: what is slow keeps nobody from ending lost jobs."""


class StorageService:
    """Removes what is not wanted any more. Everything is safe to repeat, from any number of processes."""

    def __init__(self, resources: Resources, *, settings: Settings) -> None:
        self._jobs = resources.jobs
        self._store = resources.store
        self._events = resources.events
        self._retention = settings.job.retention
        self._orphan_seconds = settings.store.orphan_days * SECONDS_PER_DAY

    async def drop(self, *object_keys: str) -> None:
        """Remove recordings unless a job needs them; what cannot be removed now is left to the sweep."""
        try:
            await self._drop_unneeded(object_keys)
        except TransientError as error:
            log.warning("audio_not_deleted", object_keys=object_keys, error=error.detail)

    async def clear(self, deleted: Mapping[str, str]) -> None:
        """Remove what jobs leave behind whose rows are gone; `deleted`: object keys by job id."""
        try:
            await self._events.forget(deleted)
        except EventsUnavailableError as error:
            log.warning("events_not_deleted", job_ids=list(deleted), error=error.detail)
        await self.drop(*deleted.values())

    async def delete_expired(self) -> None:
        """Remove jobs that have expired, with all they have, and idempotency keys. Raises DatabaseUnavailableError."""
        async with self._jobs.exclusively(EXPIRY) as is_ours:
            count = BATCH if is_ours else 0
            while count == BATCH:
                deleted = await self._jobs.delete_expired(limit=BATCH)
                await self.clear(deleted)
                count = len(deleted)
                if deleted:
                    log.info("expired_jobs_deleted", count=count)
            while is_ours and await self._jobs.forget_idempotency_keys(limit=IDEMPOTENCY_KEYS) == IDEMPOTENCY_KEYS:
                log.info("expired_idempotency_keys_deleted", count=IDEMPOTENCY_KEYS)

    async def sweep(self) -> None:
        """Remove old recordings that no job needs. Raises DatabaseUnavailableError, StoreUnavailableError."""
        async with self._jobs.exclusively(SWEEP) as is_ours:
            if not is_ours:
                return
            count = 0
            async with aclosing(self._store.list_older(seconds=self._orphan_seconds)) as pages:
                async for page in pages:
                    count += await self._drop_unneeded(page)
            if count:
                log.info("orphans_removed", count=count)

    async def remove_abandoned(self) -> None:
        """Remove unfinished files of dead processes from this machine. Raises StoreUnavailableError."""
        if count := await self._store.remove_abandoned():
            log.info("abandoned_files_removed", count=count)

    async def _drop_unneeded(self, object_keys: Collection[str]) -> int:
        if not object_keys:
            return 0
        orphans = set(object_keys) - await self._jobs.needed_objects(object_keys, retention=self._retention)
        for key in orphans:
            await self._store.delete(key)
        return len(orphans)
