"""Jobs as the reconciliation sees them: what nobody else brings to its end, and what may be cleaned up."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b

from audio_text.adapters import database
from audio_text.adapters.database import Connection, vendor_errors
from audio_text.adapters.job_turn import IN_TIME
from audio_text.adapters.rows import job_of, json_text
from audio_text.adapters.statements import SELECTED, Statements
from audio_text.adapters.tables import (
    ApiKey,
    Delivery,
    IdempotencyKey,
    KeyUsage,
    TranscriptionAttempt,
    TranscriptionJob,
    TranscriptionSegment,
    WebhookEndpoint,
)
from audio_text.domain.job import Job, Retention
from audio_text.errors import DeadlinePassedError, WorkerLostError

OVERDUE = f"""
SELECT tier, count(*) AS jobs FROM transcription_job
WHERE status IN ('pending', 'processing')
  AND COALESCE(lease_expires_at, COALESCE(available_at, creation_date) + make_interval(secs => {{}})) < now()
  AND {IN_TIME}
GROUP BY tier
"""  # noqa: S608 -- our own condition

NEXT_LEASE_END = """
SELECT EXTRACT(EPOCH FROM min(lease_expires_at) - now())::float8 AS seconds FROM transcription_job
WHERE status = 'processing' AND lease_expires_at > now()
"""

# The claim itself stands until somebody makes another: a worker that is alive after all keeps its job by a heartbeat.
END_LEASES = f"""
UPDATE transcription_job SET lease_expires_at = now()
WHERE status = 'processing' AND lease_owner = {{}} RETURNING {SELECTED}
"""  # noqa: S608 -- our own column names

EXHAUSTED = """
transcription_job JOIN jsonb_each_text({}::jsonb) AS allowed (tier, retries) USING (tier)
WHERE status = 'processing' AND lease_expires_at <= now() AND attempt > allowed.retries::integer
"""

LATE = "status = 'pending' AND deadline <= now() AND started_at IS NULL"

UNTOLD = "is_unannounced AND finished_at < now() - make_interval(secs => {})"

HAS_ENDS = f"""
SELECT EXISTS (SELECT FROM {EXHAUSTED})
    OR EXISTS (SELECT FROM transcription_job WHERE {LATE})
    OR EXISTS (SELECT FROM transcription_job WHERE {UNTOLD}) AS has_ends
"""  # noqa: S608 -- our own conditions

# What somebody else writes just now is skipped: its worker is alive after all, or it is being ended already.
END_EXHAUSTED = f"""
WITH exhausted AS (
    SELECT id FROM {EXHAUSTED}
    FOR UPDATE OF transcription_job SKIP LOCKED
), ended AS (
    UPDATE transcription_job AS job
    SET status = 'failed', error_code = {{}}, error_message = {{}}, is_dead_letter = true, is_unannounced = true,
        lease_owner = NULL, lease_expires_at = NULL, finished_at = now(), update_date = now(),
        expires_at = now() + make_interval(secs => expires_in_seconds)
    FROM exhausted WHERE job.id = exhausted.id
    RETURNING job.*
), lost AS (
    UPDATE transcription_attempt SET ended_at = now(), "end" = 'lost'
    FROM ended WHERE job_id = ended.id AND claim = ended.claims
)
SELECT {SELECTED} FROM ended ORDER BY creation_date, id
"""  # noqa: S608 -- our own column names

# Whoever claims such a job just now found it in time.
END_LATE = f"""
WITH late AS (
    SELECT id FROM transcription_job WHERE {LATE}
    ORDER BY deadline, id LIMIT {{}} FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE transcription_job AS job
    SET status = 'failed', error_code = {{}}, error_message = {{}}, is_unannounced = true,
        finished_at = now(), update_date = now(), expires_at = now() + make_interval(secs => expires_in_seconds)
    FROM late WHERE job.id = late.id
    RETURNING job.*
)
SELECT {SELECTED} FROM ended ORDER BY deadline, id
"""  # noqa: S608 -- our own column names

UNANNOUNCED = f"""
SELECT {SELECTED} FROM transcription_job
WHERE {UNTOLD} ORDER BY finished_at, id LIMIT {{}}
"""  # noqa: S608 -- our own column names

MARK_ANNOUNCED = """
UPDATE transcription_job SET is_unannounced = false
WHERE is_unannounced AND id IN (SELECT jsonb_array_elements_text({}::jsonb))
"""

# In one statement, so that a retry which comes meanwhile keeps its job: what it writes just now is skipped, and what it
# wrote before no longer expires.
DELETE_EXPIRED = """
WITH expired AS MATERIALIZED (
    SELECT id FROM transcription_job
    WHERE status IN ('completed', 'failed', 'cancelled') AND expires_at <= now()
    ORDER BY expires_at, id LIMIT {} FOR UPDATE SKIP LOCKED
)
DELETE FROM transcription_job AS job USING expired WHERE job.id = expired.id RETURNING job.id, job.object_key
"""

# The limit makes it one look into the index per key: the planner prefers to read all jobs that may need something.
# Without a number of seconds there is no such date, and the recording is kept as long as the job.
NEEDED_OBJECTS = """
SELECT asked.object_key FROM jsonb_array_elements_text({}::jsonb) AS asked (object_key) CROSS JOIN LATERAL (
    SELECT FROM transcription_job AS job
    WHERE job.object_key = asked.object_key AND (
        status IN ('pending', 'processing') OR COALESCE(expires_at > now(), true) AND COALESCE(finished_at > now() -
            make_interval(secs => CASE status WHEN 'completed' THEN {}::float8 ELSE {}::float8 END), true)
    )
    LIMIT 1
) AS needed
"""

# Nothing is read, but every name is looked up: what is missing, a migration brings.
TABLES = (
    TranscriptionJob,
    TranscriptionSegment,
    TranscriptionAttempt,
    IdempotencyKey,
    ApiKey,
    KeyUsage,
    WebhookEndpoint,
    Delivery,
)
NAMES = {table._meta.tablename: [column._meta.name for column in table._meta.columns] for table in TABLES}  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- Piccolo's only way to ask
# The function is the last of what migrations have made that the tables do not show.
CHECK = f"""
SELECT 'settle_audio_seconds()'::regprocedure FROM {", ".join(NAMES)}
WHERE false AND ROW({", ".join(f'{table}."{name}"' for table, names in NAMES.items() for name in names)}) IS NULL
"""  # noqa: S608 -- our own table and column names

BEAT = "SELECT 1"

BEATS = 3
"""Signs of life within the time after which silence ends a session."""

LOCK = "SELECT pg_try_advisory_lock($1) AS locked"


class PiccoloJobUpkeep(Statements):
    """The part of the port `JobRepository` that looks after jobs which nobody is at work on: `JobUpkeep`."""

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        """Tier → number of jobs that should have been claimed by now."""
        return {row["tier"]: row["jobs"] for row in await self._run(OVERDUE, seconds, repeatable=True)}

    async def next_lease_end(self) -> float | None:
        """Seconds until the first lease runs out."""
        rows = await self._run(NEXT_LEASE_END, repeatable=True)
        return rows[0]["seconds"]

    async def end_leases(self, owner: str) -> list[Job]:
        """Let the leases of this owner run out now."""
        return [job_of(row) for row in await self._run(END_LEASES, owner, repeatable=True)]

    async def has_ends(self, retries: Mapping[str, int], *, seconds: float) -> bool:
        """Whether there is a job to fail, or an end to tell."""
        rows = await self._run(HAS_ENDS, json_text(dict(retries)), seconds, repeatable=True)
        return rows[0]["has_ends"]

    async def end_exhausted(self, retries: Mapping[str, int]) -> list[Job]:
        """Fail jobs whose lease ran out after their last attempt."""
        error = WorkerLostError()
        return [
            job_of(row) for row in await self._run(END_EXHAUSTED, json_text(dict(retries)), error.code, error.detail)
        ]

    async def end_late(self, *, limit: int) -> list[Job]:
        """Fail jobs that nobody began before their deadline, the longest overdue first."""
        error = DeadlinePassedError()
        return [job_of(row) for row in await self._run(END_LATE, limit, error.code, error.detail)]

    async def unannounced(self, *, seconds: float, limit: int) -> list[Job]:
        """Jobs whose end nobody is known to have been told of, the oldest end first."""
        return [job_of(row) for row in await self._run(UNANNOUNCED, seconds, limit, repeatable=True)]

    async def mark_announced(self, job_ids: Sequence[str]) -> None:
        """Remember that the terminal events of these jobs are published."""
        await self._run(MARK_ANNOUNCED, json_text(list(job_ids)), repeatable=True)

    async def delete_expired(self, *, limit: int) -> dict[str, str]:
        """Remove jobs whose expires_at has passed, the longest expired first: their ids with their object keys."""
        return {row["id"]: row["object_key"] for row in await self._run(DELETE_EXPIRED, limit)}

    async def needed_objects(self, keys: Collection[str], *, retention: Retention) -> set[str]:
        """Those of the keys that some job may still need."""
        kept = (retention.completed_seconds, retention.retryable_seconds)
        rows = await self._run(NEEDED_OBJECTS, json_text(list(keys)), *kept, repeatable=True)
        return {row["object_key"] for row in rows}

    async def check(self) -> None:
        """Raise DatabaseUnavailableError unless a query answers, DatabaseNotMigratedError without all tables."""
        await self._run(CHECK, repeatable=True)

    @asynccontextmanager
    async def exclusively(self, purpose: str) -> AsyncGenerator[bool]:
        """Hold the advisory lock of this purpose, if it is free."""
        key = int.from_bytes(blake2b(f"audio-text {purpose}".encode(), digest_size=8).digest(), signed=True)
        # A connection of its own: one of the pool would take the lock along to whoever borrows it next.
        async with self._engine.own_connection() as connection:
            with vendor_errors():
                [row] = await connection.fetch(LOCK, key)
            if not row["locked"]:
                yield False
                return
            try:
                async with asyncio.TaskGroup() as group:
                    beating = group.create_task(_beat(connection))
                    yield True
                    beating.cancel()
            except BaseExceptionGroup as errors:
                # The first error is the cause; the group only tells that something ran beside the work.
                raise errors.exceptions[0] from None


async def _beat(connection: Connection) -> None:
    """Say every now and then that this process is not frozen. Raises DatabaseUnavailableError: the lock is lost."""
    while True:
        await asyncio.sleep(database.SILENT_SECONDS / BEATS)
        with vendor_errors():
            await connection.fetch(BEAT)
