"""Whose turn it is: the SQL that finds the next job of a tier for the one claim that asks."""

# A deadline is for the beginning: what was begun goes on, also after a pause.
IN_TIME = "COALESCE(deadline > now() OR started_at IS NOT NULL, true)"

# A lease exists only while a job is processing, so the first of the two dates that is set says from when on somebody
# may take the job.
CLAIMABLE = f"""
status IN ('pending', 'processing') AND COALESCE(lease_expires_at, available_at, '-infinity') <= now() AND {IN_TIME}
"""

# Two comparisons instead of one equality, and the tier in the order: this order only the index of turns has. With
# `tier = …` the planner likes to walk the index of all jobs by date, through those that are over.
BY_AGE = "ORDER BY tier, priority DESC, creation_date, id LIMIT 1"

TURNS = 16
"""How many claims at the same time are dealt out fairly where few owners wait; further ones go by age alone."""

# `best` is the highest priority that waits; `share` steps along its index from owner to owner, ending with null. Each
# share deals a few of its oldest jobs: its first as if the owner had only what is running, its second as if the first
# was running, too. So claims that come together, and see nothing of each other but locks, still go round the owners.
#
# SKIP LOCKED gives each of many callers another row without waiting. Rows are locked one by one, until one is had, for
# the limit asks for no second. Where others took all that was dealt, whatever else may be claimed is taken as it comes:
# fairness is a preference, and a claim finds nothing only when there is nothing.
NEXT = f"""
best AS (
    SELECT tier, priority FROM transcription_job WHERE {CLAIMABLE} AND tier >= {{}} AND tier <= {{}} {BY_AGE}
), share AS (
    SELECT best.*, (
        SELECT min(COALESCE(job.owner, '')) FROM transcription_job AS job
        WHERE status IN ('pending', 'processing') AND job.tier = best.tier AND job.priority = best.priority
    ) AS owner FROM best
    UNION ALL
    SELECT tier, priority, (
        SELECT min(COALESCE(job.owner, '')) FROM transcription_job AS job
        WHERE status IN ('pending', 'processing') AND job.tier = share.tier AND job.priority = share.priority
          AND COALESCE(job.owner, '') > share.owner
    ) FROM share WHERE owner IS NOT NULL
), busy AS (
    SELECT COALESCE(owner, '') AS owner, count(*) AS jobs FROM transcription_job JOIN best USING (tier)
    WHERE status = 'processing' AND lease_expires_at > now() GROUP BY 1
), dealt AS MATERIALIZED (
    SELECT oldest.id FROM share LEFT JOIN busy USING (owner) CROSS JOIN LATERAL (
        SELECT id, creation_date, row_number() OVER (ORDER BY creation_date, id) AS place FROM transcription_job AS job
        WHERE {CLAIMABLE}
          AND job.tier = share.tier AND job.priority = share.priority AND COALESCE(job.owner, '') = share.owner
        ORDER BY creation_date, id LIMIT (SELECT 1 + {TURNS} / count(*) FROM share)
    ) AS oldest
    ORDER BY COALESCE(busy.jobs, 0) + place, creation_date, id
), fair AS (
    SELECT job.* FROM dealt CROSS JOIN LATERAL (
        SELECT * FROM transcription_job WHERE id = dealt.id AND {CLAIMABLE} FOR UPDATE SKIP LOCKED
    ) AS job LIMIT 1
), other AS (
    SELECT * FROM transcription_job
    WHERE NOT EXISTS (SELECT FROM fair) AND {CLAIMABLE}
      AND tier >= (SELECT tier FROM best) AND tier <= (SELECT tier FROM best) {BY_AGE} FOR UPDATE SKIP LOCKED
), next AS (
    SELECT * FROM fair UNION ALL SELECT * FROM other
)
"""  # noqa: S608 -- our own statement
"""Common table expressions, the last of them `next`: one locked row, or none. Takes the tier twice; recursive."""
