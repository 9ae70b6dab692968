"""The table of batches in PostgreSQL. Every method is one statement, and therefore one transaction."""

from collections.abc import Sequence
from datetime import datetime

from audio_text.adapters.key_usage import WITHIN_QUOTA, quota_parameters
from audio_text.adapters.rows import batch_of, job_record, json_text
from audio_text.adapters.statements import COLUMNS, Statements, owned_by
from audio_text.domain.batch import Batch
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job
from audio_text.domain.owners import Whose
from audio_text.domain.usage import Quota
from audio_text.errors import BatchNotFoundError

# All jobs travel as one JSON text: as parameters they would be more than a statement can have. A twin that comes under
# the same key waits at the unique index until the first is committed, and then stores nothing.
ADD = f"""
WITH added AS (
    INSERT INTO batch AS held (id, owner, size, created_at, description, metadata, key, fingerprint)
    VALUES ({{}}, {{}}, {{}}, {{}}, {{}}, {{}}::jsonb, {{}}, {{}})
    ON CONFLICT DO NOTHING
    RETURNING id
), jobs AS (
    INSERT INTO transcription_job ({COLUMNS})
    SELECT {", ".join(f"job.{name}" for name in Job.__struct_fields__)}
    FROM added CROSS JOIN jsonb_populate_recordset(NULL::transcription_job, {{}}::jsonb) AS job
)
SELECT id FROM added
"""  # noqa: S608 -- our own column names

# What does not fit into a quota raises an error, before any job is added; asked once for all of them.
_ADMITTED = f"), admitted AS MATERIALIZED (SELECT id FROM added WHERE {WITHIN_QUOTA}), jobs AS ("  # noqa: S608 -- our own text
ADD_IN_QUOTA = ADD.replace("), jobs AS (", _ADMITTED).replace("FROM added CROSS JOIN", "FROM admitted CROSS JOIN")

TALLY = """
SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
       count(*) FILTER (WHERE status = 'processing') AS processing,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       COALESCE(avg(CASE WHEN status IN ('pending', 'processing') THEN progress ELSE 100 END), 100) AS progress
FROM transcription_job WHERE batch_id = batch.id
"""

COUNTED = f"SELECT batch.*, tally.* FROM batch CROSS JOIN LATERAL ({TALLY}) AS tally"  # noqa: S608 -- our own text

SUBMITTED = f"{COUNTED} WHERE COALESCE(batch.owner, '') = COALESCE({{}}::text, '') AND batch.key = {{}}"

GET = f"{COUNTED} WHERE batch.id = {{}}"

BEFORE = """
(batch.created_at, batch.id) < (COALESCE({}, 'infinity'::timestamptz), COALESCE({}, ''))
ORDER BY batch.created_at DESC, batch.id DESC LIMIT {}
"""

END_FINISHED = """
UPDATE batch SET finished_at = now() WHERE finished_at IS NULL AND NOT EXISTS (
    SELECT FROM transcription_job WHERE batch_id = batch.id AND status IN ('pending', 'processing')
)
RETURNING *
"""

REMOVE_EMPTY = """
DELETE FROM batch WHERE finished_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM transcription_job WHERE batch_id = batch.id
)
RETURNING id
"""


class PiccoloBatchRepository(Statements):
    """The port `BatchRepository` over a Piccolo engine."""

    async def add(
        self, batch: Batch, jobs: Sequence[Job], *, key: IdempotencyKey | None = None, quota: Quota | None = None
    ) -> bool:
        """Store a batch and its jobs. Raises ConcurrentJobsError, AudioQuotaError."""
        metadata = json_text(batch.metadata)
        facts = (batch.id, batch.owner, batch.size, batch.created_at, batch.description, metadata)
        under = (key.text, key.fingerprint) if key else (None, None)
        records = json_text([job_record(quota.held(job) if quota else job) for job in jobs])
        if quota:
            return bool(await self._run(ADD_IN_QUOTA, *facts, *under, *quota_parameters(quota, *jobs), records))
        return bool(await self._run(ADD, *facts, *under, records))

    async def submitted(self, key: IdempotencyKey) -> tuple[str, Batch] | None:
        """The fingerprint and the batch of a key."""
        rows = await self._run(SUBMITTED, key.owner, key.text, repeatable=True)
        return (rows[0]["fingerprint"], batch_of(rows[0])) if rows else None

    async def get(self, batch_id: str) -> Batch:
        """Read one batch. Raises BatchNotFoundError."""
        rows = await self._run(GET, batch_id, repeatable=True)
        if not rows:
            raise BatchNotFoundError
        return batch_of(rows[0])

    async def newest(self, *, owner: Whose, limit: int, before: tuple[datetime, str] | None = None) -> list[Batch]:
        """Batches, newest first."""
        date, batch_id = before or (None, None)
        condition, whose = owned_by(owner)
        newest = f"{COUNTED} WHERE {condition} AND {BEFORE}"
        rows = await self._run(newest, *whose, date, batch_id, limit, repeatable=True)
        return [batch_of(row) for row in rows]

    async def end_finished(self) -> list[Batch]:
        """Set finished_at where no job is unfinished."""
        return [batch_of(row) for row in await self._run(END_FINISHED)]

    async def remove_empty(self) -> int:
        """Remove finished batches without jobs."""
        return len(await self._run(REMOVE_EMPTY))
