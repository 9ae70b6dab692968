"""Jobs as they are submitted: under one idempotency key, a unique index decides which of several is stored."""

import msgspec

from audio_text.adapters.key_usage import WITHIN_QUOTA, quota_parameters
from audio_text.adapters.rows import job_parameters, json_text
from audio_text.adapters.statements import COLUMNS, VALUES, Statements
from audio_text.domain.idempotency import IdempotencyKey, Submitted
from audio_text.domain.job import Job
from audio_text.domain.usage import Quota

# Ids are random, so a conflict can only be this very statement, sent again after its answer was lost.
ADD = f"INSERT INTO transcription_job ({COLUMNS}) VALUES ({VALUES}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 -- names

# What does not fit into a quota raises an error there, and leaves nothing behind, no key either.
ADD_IN_QUOTA = f"""
INSERT INTO transcription_job ({COLUMNS}) SELECT {VALUES} WHERE {WITHIN_QUOTA} ON CONFLICT (id) DO NOTHING
"""

# Key and job in one statement: both or none. A twin waits at the unique index until the first is committed, then finds
# that the key is taken, and stores no job.
ADD_UNDER_KEY = f"""
WITH kept AS (
    INSERT INTO idempotency_key AS held (owner, key, fingerprint, job_id, answer, expires_at)
    VALUES ({{}}, {{}}, {{}}, {{}}, {{}}, now() + make_interval(secs => {{}}))
    ON CONFLICT (owner, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, job_id = excluded.job_id, answer = excluded.answer,
        expires_at = excluded.expires_at
    WHERE held.expires_at <= now() OR held.job_id = excluded.job_id OR {{}}::boolean
    RETURNING job_id
), added AS (
    INSERT INTO transcription_job ({COLUMNS}) SELECT {VALUES} FROM kept ON CONFLICT (id) DO NOTHING
)
SELECT job_id FROM kept
"""  # noqa: S608 -- our own column names

ADD_UNDER_KEY_IN_QUOTA = ADD_UNDER_KEY.replace("FROM kept ON", f"FROM kept WHERE {WITHIN_QUOTA} ON")

SUBMITTED = """
SELECT fingerprint, answer FROM idempotency_key
WHERE key = {} AND owner IS NOT DISTINCT FROM {} AND expires_at > now()
"""

FORGET_IDEMPOTENCY_KEYS = """
WITH expired AS MATERIALIZED (
    SELECT id FROM idempotency_key WHERE expires_at <= now() ORDER BY expires_at, id LIMIT {} FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_key USING expired WHERE idempotency_key.id = expired.id RETURNING expired.id
"""


class PiccoloJobSubmission(Statements):
    """The part of the port `JobRepository` that stores jobs, under idempotency keys or without."""

    async def add(self, job: Job, *, key: IdempotencyKey | None = None, quota: Quota | None = None) -> bool:
        """Store a new job. Raises ConcurrentJobsError, AudioQuotaError."""
        asked = quota_parameters(quota, job) if quota else ()
        job = quota.held(job) if quota else job
        if key is None:
            await self._run(ADD_IN_QUOTA if quota else ADD, *job_parameters(job), *asked, repeatable=True)
            return True
        kept = (key.owner, key.text, key.fingerprint, job.id, json_text(job), key.seconds, key.takes_over)
        add = ADD_UNDER_KEY_IN_QUOTA if quota else ADD_UNDER_KEY
        return bool(await self._run(add, *kept, *job_parameters(job), *asked, repeatable=True))

    async def submitted(self, key: IdempotencyKey) -> Submitted | None:
        """What was submitted under the key."""
        rows = await self._run(SUBMITTED, key.text, key.owner, repeatable=True)
        if not rows:
            return None
        job = msgspec.json.decode(rows[0]["answer"], type=Job)
        return Submitted(fingerprint=rows[0]["fingerprint"], job=job)

    async def forget_idempotency_keys(self, *, limit: int) -> int:
        """Remove those that have expired, the oldest first; how many."""
        return len(await self._run(FORGET_IDEMPOTENCY_KEYS, limit))
