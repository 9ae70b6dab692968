"""Jobs as those see them who wait: how many are ahead, and how fast it goes. The SQL of whole tiers at a glance."""

from collections.abc import Collection

import msgspec

from audio_text.adapters.job_turn import CLAIMABLE
from audio_text.adapters.rows import PRIORITIES, json_text
from audio_text.adapters.statements import Statements
from audio_text.domain.backlog import Backlog, Waiting

RECENT = 50
"""So many completed jobs tell how fast a tier is: enough to be no accident, few enough to be of today."""

# The oldest jobs of a tier, by the index of turns and in the way that `job_turn` chooses among them: each job's turn is
# how many its owner has in work and ahead of it. Jobs that are put off, or came too late, wait for nobody's turn.
# A recording that does not tell how long it is counts as long as others were.
BACKLOGS = f"""
SELECT asked.tier, running.jobs AS running, running.seconds AS running_seconds, speed.real_time_factor, waiting.jobs
FROM jsonb_array_elements_text({{}}::jsonb) AS asked (tier)
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, COALESCE(sum(GREATEST(duration - position, 0)), 0) AS seconds FROM transcription_job
    WHERE status = 'processing' AND lease_expires_at > now() AND tier = asked.tier
) AS running
CROSS JOIN LATERAL (
    SELECT sum(processing_time_seconds) / NULLIF(sum(duration), 0) AS real_time_factor, avg(duration) AS typical FROM (
        SELECT processing_time_seconds, duration FROM transcription_job
        WHERE status = 'completed' AND reused_from IS NULL AND tier >= asked.tier AND tier <= asked.tier
        ORDER BY tier DESC, finished_at DESC LIMIT {RECENT}
    ) AS recent
) AS speed
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(id, priority, seconds) ORDER BY priority DESC, turn, creation_date, id) AS jobs
    FROM (
        SELECT id, priority, seconds, creation_date, COALESCE(busy.jobs, 0) + row_number() OVER (
            PARTITION BY priority, owner ORDER BY creation_date, id
        ) AS turn
        FROM (
            SELECT id, priority, creation_date, COALESCE(owner, '') AS owner, GREATEST(
                LEAST(COALESCE(duration, speed.typical, 0), (options ->> 'clip_end_seconds')::float8)
                - (options ->> 'clip_start_seconds')::float8 - position, 0
            ) AS seconds
            FROM transcription_job
            WHERE {CLAIMABLE} AND status = 'pending' AND tier >= asked.tier AND tier <= asked.tier
            ORDER BY tier, priority DESC, creation_date, id LIMIT {{}}
        ) AS oldest
        LEFT JOIN (
            SELECT COALESCE(owner, '') AS owner, count(*) AS jobs FROM transcription_job
            WHERE status = 'processing' AND lease_expires_at > now() AND tier = asked.tier GROUP BY 1
        ) AS busy USING (owner)
    ) AS in_turn
) AS waiting
"""  # noqa: S608 -- our own text

PENDING = """
SELECT count(*) AS jobs FROM (
    SELECT FROM transcription_job WHERE status = 'pending' AND tier = {} LIMIT {}
) AS waiting
"""

_decoder = msgspec.json.Decoder(list[tuple[str, int, float]] | None)


class PiccoloJobBacklog(Statements):
    """The part of the port `JobRepository` that tells of tiers."""

    async def backlogs(self, tiers: Collection[str], *, limit: int) -> dict[str, Backlog]:
        """What waits on each of the tiers, and how fast it goes there."""
        rows = await self._run(BACKLOGS, json_text(list(tiers)), limit, repeatable=True)
        return {
            row["tier"]: Backlog(
                waiting=tuple(
                    Waiting(job_id, PRIORITIES[rank], seconds)
                    for job_id, rank, seconds in _decoder.decode(row["jobs"] or "null") or ()
                ),
                running=row["running"],
                running_seconds=row["running_seconds"],
                real_time_factor=row["real_time_factor"],
            )
            for row in rows
        }

    async def pending(self, tier: str, *, limit: int) -> int:
        """How many jobs of the tier wait, no more than `limit`."""
        [row] = await self._run(PENDING, tier, limit, repeatable=True)
        return row["jobs"]
