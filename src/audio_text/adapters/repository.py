"""The table of jobs and their segments in PostgreSQL. All SQL of the service is in this module.

Every method is one statement, and therefore one transaction. What a worker writes names the status and the
attempt that its claim stands for (the fence): a worker that lost its job changes nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from piccolo.engine.postgres import PostgresEngine
from piccolo.querystring import QueryString

from audio_text.adapters.database import CONNECTION_LOST, vendor_errors
from audio_text.adapters.rows import job_of, job_parameters, json_text, segments_of, storable
from audio_text.domain.job import Completed, Failed, Job, JobStatus
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.errors import JobNotFoundError
from audio_text.ports import Claim

COLUMNS = ", ".join(Job.__struct_fields__)

# The enumeration travels as text in both directions: its own type would cost each new connection a look-up.
SELECTED = ", ".join("status::text" if name == "status" else name for name in Job.__struct_fields__)
VALUES = ", ".join("{}::text::job_status" if name == "status" else "{}" for name in Job.__struct_fields__)

# Ids are random, so a conflict can only be this very statement, sent again after its answer was lost.
ADD = f"INSERT INTO transcription_job ({COLUMNS}) VALUES ({VALUES}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 -- names

GET = f"SELECT {SELECTED} FROM transcription_job WHERE id = {{}}"  # noqa: S608 -- our own column names

# A row comparison, so that the index leads straight to the page. The planner drops a filter that is not asked for.
RECENT = f"""
SELECT {SELECTED} FROM transcription_job
WHERE (creation_date, id) < (COALESCE({{}}, 'infinity'::timestamptz), COALESCE({{}}, ''))
  AND ({{}}::text IS NULL OR status = {{}}::text::job_status)
ORDER BY creation_date DESC, id DESC LIMIT {{}}
"""  # noqa: S608 -- our own column names

# The tokens travel as JSON for the same reason as the enumeration: an array would be looked up first.
SEGMENTS = """
SELECT position AS id, seek, start, "end", text, to_jsonb(tokens) AS tokens,
       temperature, avg_logprob, compression_ratio, no_speech_prob, words
FROM transcription_segment WHERE job_id = {} AND position >= {} ORDER BY position
"""

# SKIP LOCKED gives each of many callers another row without waiting. A lease exists only while a job is
# processing, so the first of the two dates that is set says from when on somebody may take the job.
# Two comparisons instead of one equality, and the tier in the order: this order only the index of claims has. With
# `tier = …` the planner likes to walk the index of all jobs by date, through those that are over.
CLAIM = f"""
UPDATE transcription_job
SET status = 'processing', attempt = attempt + 1, lease_owner = {{}},
    lease_expires_at = now() + make_interval(secs => {{}}),
    started_at = COALESCE(started_at, now()), update_date = now()
WHERE id = (
    SELECT id FROM transcription_job
    WHERE status IN ('pending', 'processing') AND tier >= {{}} AND tier <= {{}}
      AND COALESCE(lease_expires_at, available_at, '-infinity') <= now()
    ORDER BY tier, creation_date, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING {SELECTED}
"""  # noqa: S608 -- our own column names

OVERDUE = """
SELECT tier, count(*) AS jobs FROM transcription_job
WHERE status IN ('pending', 'processing')
  AND COALESCE(lease_expires_at, available_at, creation_date) < now() - make_interval(secs => {})
GROUP BY tier
"""

# Not update_date: a heartbeat is no news about the job.
EXTEND_LEASE = """
UPDATE transcription_job SET lease_expires_at = now() + make_interval(secs => {})
WHERE id = {} AND attempt = {} AND status = 'processing' RETURNING id
"""

# The job's row is written first, and the segments are inserted from what that wrote: without the claim, nothing is.
# A segment may be there already: from this statement, sent again after its answer was lost, or from an earlier
# attempt that got further than this one. The newest attempt wins, and what lies after its last segment is not its own.
# A score that is not a number is null in JSON.
RECORD = """
WITH owned AS (
    UPDATE transcription_job
    SET progress = {}, duration = {}, duration_after_vad = {}, language = {}, language_probability = {},
        update_date = now()
    WHERE id = {} AND attempt = {} AND status = 'processing'
    RETURNING id
), superseded AS (
    DELETE FROM transcription_segment USING owned WHERE job_id = owned.id AND position > {}
), stored AS (
    INSERT INTO transcription_segment
        (job_id, position, seek, start, "end", text, tokens,
         temperature, avg_logprob, compression_ratio, no_speech_prob, words)
    SELECT owned.id, segment.id, seek, start, "end", text, tokens, COALESCE(temperature, 'NaN'),
           COALESCE(avg_logprob, 'NaN'), COALESCE(compression_ratio, 'NaN'), COALESCE(no_speech_prob, 'NaN'), words
    FROM owned CROSS JOIN jsonb_to_recordset({}::jsonb) AS segment (
        id integer, seek integer, start float8, "end" float8, text text, tokens integer[],
        temperature float8, avg_logprob float8, compression_ratio float8, no_speech_prob float8, words jsonb
    )
    ON CONFLICT (job_id, position) DO UPDATE SET
        seek = excluded.seek, start = excluded.start, "end" = excluded."end", text = excluded.text,
        tokens = excluded.tokens, temperature = excluded.temperature, avg_logprob = excluded.avg_logprob,
        compression_ratio = excluded.compression_ratio, no_speech_prob = excluded.no_speech_prob,
        words = excluded.words
)
SELECT id FROM owned
"""

COMPLETE = """
UPDATE transcription_job
SET status = 'completed', progress = 100, result_text = {}, duration = {}, duration_after_vad = {},
    processing_time_seconds = {}, real_time_factor = {}, language = {}, language_probability = {},
    error_code = NULL, error_message = NULL,
    lease_owner = NULL, lease_expires_at = NULL, finished_at = now(), update_date = now()
WHERE id = {} AND attempt = {} AND status = 'processing' RETURNING id
"""

FAIL = """
UPDATE transcription_job
SET status = 'failed', error_code = {}, error_message = {}, processing_time_seconds = {},
    lease_owner = NULL, lease_expires_at = NULL, finished_at = now(), update_date = now()
WHERE id = {} AND attempt = {} AND status = 'processing' RETURNING id
"""

RELEASE = """
UPDATE transcription_job
SET status = 'pending', attempt = attempt - {}, available_at = now() + make_interval(secs => {}),
    lease_owner = NULL, lease_expires_at = NULL, update_date = now()
WHERE id = {} AND attempt = {} AND status = 'processing' RETURNING id
"""

IS_OBJECT_NEEDED = """
SELECT EXISTS (
    SELECT FROM transcription_job WHERE object_key = {} AND id <> {} AND status IN ('pending', 'processing')
) AS needed
"""

CHECK = "SELECT 1"


class PiccoloJobRepository:
    """The port `JobRepository` over a Piccolo engine."""

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine

    async def add(self, job: Job) -> None:
        """Store a new job."""
        await self._run(ADD, *job_parameters(job), repeatable=True)

    async def get(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFoundError."""
        rows = await self._run(GET, job_id, repeatable=True)
        if not rows:
            raise JobNotFoundError
        return job_of(rows[0])

    async def recent(
        self, *, limit: int, before: tuple[datetime, str] | None = None, status: JobStatus | None = None
    ) -> list[Job]:
        """Jobs, newest first, strictly older than `before`."""
        date, job_id = before or (None, None)
        label = None if status is None else status.value
        return [job_of(row) for row in await self._run(RECENT, date, job_id, label, label, limit, repeatable=True)]

    async def segments(self, job_id: str, *, first: int = 0) -> list[Segment]:
        """Stored segments with id >= `first`, in order."""
        return segments_of(await self._run(SEGMENTS, job_id, first, repeatable=True))

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        """Take the tier's oldest job that may run."""
        rows = await self._run(CLAIM, owner, lease_seconds, tier, tier)
        return job_of(rows[0]) if rows else None

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        """Tier → number of jobs that could have been claimed for longer than `seconds`."""
        return {row["tier"]: row["jobs"] for row in await self._run(OVERDUE, seconds, repeatable=True)}

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Push the end of the lease out."""
        return bool(await self._run(EXTEND_LEASE, lease_seconds, claim.job_id, claim.attempt, repeatable=True))

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        """Store a chunk; its segments replace those from its first on."""
        news = (chunk.progress, chunk.duration, chunk.duration_after_vad, chunk.language, chunk.language_probability)
        last = chunk.segments[-1].id if chunk.segments else None
        segments = json_text(chunk.segments)
        return bool(await self._run(RECORD, *news, claim.job_id, claim.attempt, last, segments, repeatable=True))

    async def complete(self, claim: Claim, outcome: Completed) -> bool:
        """Move processing → completed."""
        audio = (outcome.duration, outcome.duration_after_vad)
        speed = (outcome.processing_time_seconds, outcome.real_time_factor)
        language = (outcome.language, outcome.language_probability)
        fence = (claim.job_id, claim.attempt)
        return bool(await self._run(COMPLETE, outcome.result_text, *audio, *speed, *language, *fence))

    async def fail(self, claim: Claim, outcome: Failed) -> bool:
        """Move processing → failed."""
        news = (outcome.error_code, outcome.error_message, outcome.processing_time_seconds)
        return bool(await self._run(FAIL, *news, claim.job_id, claim.attempt))

    async def release(self, claim: Claim, *, delay_seconds: float, spend_attempt: bool) -> bool:
        """Move processing → pending."""
        given_back = 0 if spend_attempt else 1
        return bool(await self._run(RELEASE, given_back, delay_seconds, claim.job_id, claim.attempt))

    async def is_object_needed(self, object_key: str, *, besides: str) -> bool:
        """Whether a job other than `besides` that is not over still needs this stored object."""
        rows = await self._run(IS_OBJECT_NEEDED, object_key, besides, repeatable=True)
        return rows[0]["needed"]

    async def check(self) -> None:
        """Raise DatabaseUnavailableError unless a query answers."""
        await self._run(CHECK, repeatable=True)

    async def _run(self, sql: str, *parameters: object, repeatable: bool = False) -> list[Mapping[str, Any]]:
        # A connection that breaks leaves open whether the statement was carried out: only one whose
        # repetition changes nothing is tried again, on another connection.
        statement = QueryString(sql, *map(storable, parameters))
        with vendor_errors():
            try:
                return await self._fetch(statement)
            except CONNECTION_LOST:
                if not repeatable:
                    raise
                return await self._fetch(statement)

    async def _fetch(self, statement: QueryString) -> list[Mapping[str, Any]]:
        return cast("list[Mapping[str, Any]]", await self._engine.run_querystring(statement))
