"""Jobs as clients and operators see them: what they ask for, and what they may do to a job."""

from datetime import datetime

from msgspec import UNSET

from audio_text.adapters.key_usage import WITHIN_QUOTA
from audio_text.adapters.rows import attempts_of, job_of, json_text, segments_of
from audio_text.adapters.statements import SELECTED, Statements
from audio_text.domain.job import MOST_METADATA, AttemptRecord, Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.domain.usage import Quota
from audio_text.errors import InvalidRequestError, JobNotFoundError, JobStateError
from audio_text.ports import Again, Notes

GET = f"SELECT {SELECTED} FROM transcription_job WHERE id = {{}}"  # noqa: S608 -- our own column names

OWNER = "SELECT owner FROM transcription_job WHERE id = {}"

# The tokens travel as JSON for the same reason as the enumeration: an array would be looked up first.
SEGMENTS = """
SELECT position AS id, seek, start, "end", text, to_jsonb(tokens) AS tokens,
       temperature, avg_logprob, compression_ratio, no_speech_prob, words, channel
FROM transcription_segment WHERE job_id = {} AND position >= {} ORDER BY position LIMIT {}
"""

LAST_SEGMENT = "SELECT max(position) AS id FROM transcription_segment WHERE job_id = {}"

ATTEMPTS = """
SELECT claim, attempt, owner, started_at, position, ended_at, "end", error_code, error_message
FROM transcription_attempt WHERE job_id = {} ORDER BY claim
"""

DEAD_LETTERS = f"""
SELECT {SELECTED} FROM transcription_job
WHERE is_dead_letter AND (finished_at, id) < (COALESCE({{}}, 'infinity'::timestamptz), COALESCE({{}}, ''))
ORDER BY finished_at DESC, id DESC LIMIT {{}}
"""  # noqa: S608 -- our own column names

# The lock waits for whoever writes the row just now, so that what is decided here, and told, is what stands then.
# A claim that came meanwhile has an attempt record that this statement's snapshot does not hold: only an insert that
# conflicts finds it. Were there none, the job would have been claimed without one, by an older version.
CANCEL = f"""
WITH found AS (
    SELECT * FROM transcription_job WHERE id = {{}} FOR UPDATE
), cancelled AS (
    UPDATE transcription_job AS job
    SET status = 'cancelled', lease_owner = NULL, lease_expires_at = NULL,
        finished_at = now(), update_date = now(), is_unannounced = true,
        expires_at = now() + make_interval(secs => job.expires_in_seconds)
    FROM found WHERE job.id = found.id AND found.status IN ('pending', 'processing')
    RETURNING job.*
), closed AS (
    INSERT INTO transcription_attempt (job_id, claim, attempt, owner, started_at, position, ended_at, "end")
    SELECT id, claims, attempt, '', now(), 0, now(), 'cancelled' FROM cancelled WHERE claims > 0
    ON CONFLICT (job_id, claim) DO UPDATE SET ended_at = excluded.ended_at, "end" = excluded."end"
    WHERE transcription_attempt."end" IS NULL
)
SELECT {SELECTED} FROM (
    SELECT * FROM cancelled UNION ALL SELECT * FROM found WHERE NOT EXISTS (SELECT FROM cancelled)
) AS job
"""  # noqa: S608 -- our own column names

# Under no id: with one that is there it would be a job that was sent again. Who takes no seconds needs none to be left,
# unless it was for lack of them that the job failed: then the day must not be full.
IN_QUOTA = WITHIN_QUOTA.format(
    *("asked.of_key", "NULL", "1", "asked.most_jobs", "COALESCE(taken.seconds, 0)"),
    "CASE WHEN taken.seconds IS NOT NULL THEN asked.most_seconds END",
)

# Its length is that of the clip; the recording's is not known any more.
IS_CLIP = "(found.options ->> 'clip_end_seconds' IS NOT NULL OR (found.options ->> 'clip_start_seconds')::float8 > 0)"

# Another model or other options would not continue what the old ones began: then everything begins anew.
# It waits from now on, not since it was submitted; its claims are never reset, because their tokens must not come back.
RETRY = f"""
WITH asked AS (
    SELECT {{}}::text AS whisper_model, {{}}::text AS tier, {{}}::jsonb AS options,
           {{}}::varchar AS of_key, {{}}::integer AS most_jobs, {{}}::float8 AS reserve, {{}}::float8 AS most_seconds,
           {{}}::float8 AS day_limit, (now() AT TIME ZONE 'UTC')::date AS today
), found AS (
    SELECT * FROM transcription_job WHERE id = {{}} FOR UPDATE
), compared AS (
    SELECT found.id, COALESCE(asked.whisper_model, found.whisper_model) AS whisper_model,
           COALESCE(asked.tier, found.tier) AS tier, COALESCE(asked.options, found.options) AS options,
           COALESCE(asked.whisper_model <> found.whisper_model, false)
               OR COALESCE(asked.options <> found.options, false) AS is_new
    FROM found CROSS JOIN asked WHERE found.status IN ('failed', 'cancelled')
), wanted AS MATERIALIZED (
    SELECT compared.*, asked.day_limit, asked.today, taken.seconds,
           is_new OR taken.seconds IS NOT NULL AND NOT is_settled AS takes
    FROM compared JOIN found USING (id) CROSS JOIN asked CROSS JOIN LATERAL (
        SELECT CASE
            WHEN asked.reserve IS NULL THEN NULL
            WHEN compared.is_new AND (found.reserved_seconds IS NOT NULL OR {IS_CLIP})
                THEN GREATEST(found.duration, asked.reserve)
            WHEN compared.is_new THEN COALESCE(found.duration, asked.reserve)
            WHEN is_settled AND found.error_code = 'audio_quota_exceeded' THEN 0
            WHEN is_settled OR found.usage_day >= asked.today AND found.reserved_seconds > 0 THEN NULL
            ELSE GREATEST(found.position, asked.reserve)
        END AS seconds, is_settled
        FROM (SELECT found.duration IS NOT NULL AND found.reserved_seconds IS NULL AS is_settled) AS known
    ) AS taken
    WHERE CASE WHEN asked.of_key IS NULL THEN true ELSE {IN_QUOTA} END
), retried AS (
    UPDATE transcription_job AS job
    SET status = 'pending', attempt = 0, available_at = now(), started_at = NULL, finished_at = NULL, expires_at = NULL,
        deadline = NULL, whisper_model = wanted.whisper_model, tier = wanted.tier, options = wanted.options,
        progress = CASE WHEN is_new THEN 0 ELSE progress END,
        position = CASE WHEN is_new THEN 0 ELSE position END,
        block_start = CASE WHEN is_new THEN NULL ELSE block_start END,
        next_window = CASE WHEN is_new THEN NULL ELSE next_window END,
        channel_progress = CASE WHEN is_new THEN NULL ELSE channel_progress END,
        device = CASE WHEN is_new THEN NULL ELSE device END,
        compute_type = CASE WHEN is_new THEN NULL ELSE compute_type END,
        duration = CASE WHEN is_new THEN NULL ELSE duration END,
        duration_after_vad = CASE WHEN is_new THEN NULL ELSE duration_after_vad END,
        language = CASE WHEN is_new THEN NULL ELSE language END,
        language_probability = CASE WHEN is_new THEN NULL ELSE language_probability END,
        reserved_seconds = CASE WHEN takes THEN seconds ELSE reserved_seconds END,
        usage_day = CASE WHEN takes THEN today ELSE usage_day END,
        day_limit_seconds = day_limit, processing_time_seconds = NULL, error_code = NULL, error_message = NULL,
        is_dead_letter = false, is_unannounced = false, update_date = now()
    FROM wanted WHERE job.id = wanted.id
    RETURNING job.*
), superseded AS (
    DELETE FROM transcription_segment USING wanted WHERE job_id = wanted.id AND is_new
)
SELECT {SELECTED} FROM (
    SELECT * FROM retried UNION ALL SELECT * FROM found WHERE NOT EXISTS (SELECT FROM retried)
) AS job
"""  # noqa: S608 -- our own column names

# A row that somebody else writes meanwhile is looked at again, as it is then: two changes at once are both made, and
# the number of keys is that of both.
MERGED = "jsonb_strip_nulls(CASE WHEN asked.is_cleared THEN jsonb_build_object() ELSE metadata END || asked.changes)"

ANNOTATE = f"""
WITH asked AS (
    SELECT {{}}::boolean AS is_described, {{}}::text AS text, {{}}::boolean AS is_cleared, {{}}::jsonb AS changes
)
UPDATE transcription_job
SET description = CASE WHEN asked.is_described THEN asked.text ELSE description END,
    metadata = {MERGED}, update_date = now()
FROM asked WHERE id = {{}} AND (SELECT count(*) FROM jsonb_object_keys({MERGED})) <= {MOST_METADATA}
RETURNING {SELECTED}
"""  # noqa: S608 -- our own column names

DELETE = f"DELETE FROM transcription_job WHERE id = {{}} RETURNING {SELECTED}"  # noqa: S608 -- our own column names

DROP_DEAD_LETTER = """
UPDATE transcription_job SET is_dead_letter = false, update_date = now() WHERE id = {} AND is_dead_letter RETURNING id
"""


class PiccoloJobTable(Statements):
    """The part of the port `JobRepository` that the API and the command line use."""

    async def get(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFoundError."""
        rows = await self._run(GET, job_id, repeatable=True)
        if not rows:
            raise JobNotFoundError
        return job_of(rows[0])

    async def owner_of(self, job_id: str) -> str | None:
        """Whose a job is. Raises JobNotFoundError."""
        rows = await self._run(OWNER, job_id, repeatable=True)
        if not rows:
            raise JobNotFoundError
        return rows[0]["owner"]

    async def segments(self, job_id: str, *, first: int = 0, limit: int | None = None) -> list[Segment]:
        """Stored segments with id >= `first`, in order."""
        return segments_of(await self._run(SEGMENTS, job_id, first, limit, repeatable=True))

    async def last_segment(self, job_id: str) -> int | None:
        """The id of the last segment stored so far."""
        [row] = await self._run(LAST_SEGMENT, job_id, repeatable=True)
        return row["id"]

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        """Every claim of the job so far, oldest first."""
        return attempts_of(await self._run(ATTEMPTS, job_id, repeatable=True))

    async def cancel(self, job_id: str) -> Job:
        """Move pending or processing → cancelled. Raises JobNotFoundError, JobStateError."""
        rows = await self._run(CANCEL, job_id, repeatable=True)
        if not rows:
            raise JobNotFoundError
        job = job_of(rows[0])
        if job.status is not JobStatus.cancelled:
            raise JobStateError(f"The job is {job.status.value}: there is nothing left to cancel.")
        return job

    async def retry(self, job_id: str, *, again: Again, quota: Quota | None = None) -> Job:
        """Move failed or cancelled → pending.

        Raises JobNotFoundError, JobStateError, ConcurrentJobsError, AudioQuotaError.
        """
        asked = (again.whisper_model, again.tier, json_text(again.options))
        seconds = (quota.reserve, quota.audio_seconds_per_day, quota.day_limit_seconds) if quota else (None,) * 3
        limits = (quota.key_id, quota.concurrent_jobs, *seconds) if quota else (None, None, *seconds)
        rows = await self._run(RETRY, *asked, *limits, job_id, repeatable=True)
        if not rows:
            raise JobNotFoundError
        job = job_of(rows[0])
        if job.status is JobStatus.completed:
            raise JobStateError("The job is completed: submit the recording again to transcribe it in another way.")
        return job

    async def annotate(self, job_id: str, *, notes: Notes) -> Job:
        """Change description and metadata. Raises JobNotFoundError, InvalidRequestError."""
        description = None if notes.description is UNSET else notes.description
        changes = json_text({} if notes.metadata is UNSET or notes.metadata is None else notes.metadata)
        asked = (notes.description is not UNSET, description, notes.metadata is None, changes)
        rows = await self._run(ANNOTATE, *asked, job_id, repeatable=True)
        if not rows:
            await self.get(job_id)
            raise InvalidRequestError(f"`metadata` would have more than {MOST_METADATA} keys: remove some with null.")
        return job_of(rows[0])

    async def delete(self, job_id: str) -> Job | None:
        """Remove the job with its segments and attempts."""
        rows = await self._run(DELETE, job_id)
        return job_of(rows[0]) if rows else None

    async def dead_letters(self, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Job]:
        """Failed jobs that used up their attempts, the newest failure first, strictly earlier than `before`."""
        date, job_id = before or (None, None)
        return [job_of(row) for row in await self._run(DEAD_LETTERS, date, job_id, limit, repeatable=True)]

    async def drop_dead_letter(self, job_id: str) -> bool:
        """Take a job off the list of dead letters."""
        return bool(await self._run(DROP_DEAD_LETTER, job_id))
