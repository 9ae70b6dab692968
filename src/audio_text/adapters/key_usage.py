"""What keys have used: the SQL of quotas. What decides is a function of the database, which a migration made."""

from audio_text.adapters.statements import Statements
from audio_text.domain.job import Job
from audio_text.domain.usage import Quota, Usage

WITHIN_QUOTA = "within_quota({}, {}, {}, {}, {}, {})"
"""True, and the seconds are reserved, or an error: for a statement that adds jobs of a key, or has one wait again."""

# Without a quota nothing is kept, and the jobs themselves tell: those that are still there.
USAGE = """
SELECT (
    SELECT count(*) FROM transcription_job WHERE key_id = asked.key_id AND status IN ('pending', 'processing')
) AS concurrent_jobs, COALESCE(
    (SELECT audio_seconds FROM key_usage AS kept WHERE kept.key_id = asked.key_id AND kept.day = asked.day),
    (SELECT sum(duration) FROM transcription_job AS job
     WHERE job.key_id = asked.key_id AND job.creation_date >= asked.day::timestamp AT TIME ZONE 'UTC'),
    0
)::float8 AS audio_seconds, COALESCE((
    SELECT sum(reserved_seconds) FROM transcription_job AS job
    WHERE job.key_id = asked.key_id AND job.status IN ('pending', 'processing') AND job.usage_day = asked.day
), 0)::float8 AS reserved_seconds
FROM (SELECT {}::varchar AS key_id, (now() AT TIME ZONE 'UTC')::date AS day) AS asked
"""


def quota_parameters(quota: Quota, *jobs: Job) -> tuple[object, ...]:
    """Give what WITHIN_QUOTA takes."""
    limits = quota.concurrent_jobs, quota.seconds(*jobs), quota.audio_seconds_per_day
    return quota.key_id, jobs[0].id, len(jobs), *limits


class PiccoloKeyUsages(Statements):
    """The part of the port `JobRepository` that tells what keys have used."""

    async def usage(self, key_id: str) -> Usage:
        """What the key has in work, and submitted today."""
        [row] = await self._run(USAGE, key_id, repeatable=True)
        return Usage(
            concurrent_jobs=row["concurrent_jobs"],
            audio_seconds_today=row["audio_seconds"],
            reserved_seconds=row["reserved_seconds"],
        )
