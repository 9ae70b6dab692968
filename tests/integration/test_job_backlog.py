"""With many jobs in the table, no statement looks at more of them than it needs."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from piccolo.querystring import QueryString

from audio_text.adapters.job_backlog import BACKLOGS
from audio_text.adapters.job_claims import CLAIM, COMPLETE, FAIL, RECORD, RELEASE
from audio_text.adapters.job_search import statement_of
from audio_text.adapters.job_submission import ADD
from audio_text.adapters.job_table import ATTEMPTS, CANCEL, DEAD_LETTERS, GET, RETRY, SEGMENTS
from audio_text.adapters.job_upkeep import (
    DELETE_EXPIRED,
    END_EXHAUSTED,
    END_LATE,
    MARK_ANNOUNCED,
    NEEDED_OBJECTS,
    UNANNOUNCED,
)
from audio_text.adapters.rows import job_parameters
from audio_text.domain.job import JobStatus
from audio_text.domain.listing import JobQuery, JobSort
from factories import make_job
from services.database import Database, numbered, temporary_database
from services.postgres import PostgresServer

NOW = datetime.now(UTC)

BACKLOG = """
CREATE TEMPORARY TABLE model AS SELECT * FROM transcription_job;
INSERT INTO transcription_job
SELECT (jsonb_populate_record(model, jsonb_build_object(
    'id', gen_random_uuid(), 'object_key', gen_random_uuid(), 'creation_date', creation_date + number * interval '1 s',
    'tier', CASE number % 3 WHEN 0 THEN 'audio_large' ELSE tier END,
    'owner', 'owner ' || number % 100, 'priority', number % 3 - 1,
    'finished_at', creation_date, 'expires_at', creation_date + number * interval '1 day',
    'is_dead_letter', number < 20, 'is_unannounced', number < 40,
    'status', CASE WHEN number < 50 THEN 'failed' WHEN number < 5000 THEN 'completed'
                   WHEN number < 5010 THEN 'processing' ELSE 'pending' END
))).* FROM model, generate_series(1, 15000) AS number;
INSERT INTO transcription_segment (
    job_id, position, seek, start, "end", text, tokens, temperature, avg_logprob, compression_ratio, no_speech_prob
) SELECT id, number, 0, 0, 0, '', '{}', 0, 0, 0, 0 FROM transcription_job, generate_series(1, 2) AS number;
INSERT INTO transcription_attempt (job_id, claim, attempt, owner, started_at, position)
SELECT id, number, number, 'w', now(), 0 FROM transcription_job, generate_series(1, 2) AS number
"""
"""5,000 jobs that are over and 10,000 that wait."""

SOME_MAY_BE_SORTED = {BACKLOGS, CLAIM, SEGMENTS, ATTEMPTS, END_EXHAUSTED, END_LATE, DELETE_EXPIRED}
"""The oldest of each owner, the few of one job, or the few that are due."""


@pytest.fixture(scope="module")
async def backlog(postgres_server: PostgresServer, migrated_database: str) -> AsyncGenerator[Database]:
    async with temporary_database(postgres_server, template=migrated_database) as database:
        connection = await database.connect()
        await connection.execute(numbered(ADD), *job_parameters(make_job(tier="audio_small")))
        await connection.execute(BACKLOG)
        await connection.close()
        yield database


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"], ids=["custom", "generic"])
@pytest.mark.parametrize(
    ("statement", "parameters", "index"),
    [
        pytest.param(CLAIM, "'audio_small', 'audio_small', 'w', 60", "transcription_job_turn", id="claim"),
        pytest.param(CLAIM, "'audio_small', 'audio_small', 'w', 60", "transcription_job_share", id="claim's share"),
        pytest.param(BACKLOGS, "'[\"audio_small\"]', 10000", "transcription_job_turn", id="backlog"),
        pytest.param(BACKLOGS, "'[\"audio_small\"]', 10000", "transcription_job_speed", id="speed"),
        pytest.param(GET, "'x'", "transcription_job_pkey", id="get"),
        pytest.param(SEGMENTS, "'x', 0, NULL", "transcription_segment_position", id="segments"),
        pytest.param(ATTEMPTS, "'x'", "transcription_attempt_claim", id="attempts"),
        pytest.param(
            RECORD,
            "1, 1, 1, NULL, 1, 1, 'en', 1, 'cpu', 'int8', NULL, 'x', 1, 0, '[]'",
            "transcription_job_pkey",
            id="record",
        ),
        pytest.param(
            COMPLETE,
            "'', 1, 1, 1, 1, 'en', 1, NULL, 'x', 1, 'e', 'c', 'm'",
            "transcription_attempt_claim",
            id="complete",
        ),
        pytest.param(FAIL, "'c', 'm', 1, false, 'x', 1, 'e', 'c', 'm'", "transcription_attempt_claim", id="fail"),
        pytest.param(RELEASE, "1, 1, 'x', 1, 'e', 'c', 'm'", "transcription_attempt_claim", id="release"),
        pytest.param(CANCEL, "'x'", "transcription_job_pkey", id="cancel"),
        pytest.param(RETRY, "NULL, NULL, '{}', 'k', 1, 1, 1, 1, 'x'", "transcription_segment_position", id="retry"),
        pytest.param(DEAD_LETTERS, "NULL, NULL, 100", "transcription_job_dead_letter", id="dead letters"),
        pytest.param(END_EXHAUSTED, "'{\"a\": 1}', 'c', 'm'", "transcription_job_running", id="exhausted"),
        pytest.param(END_LATE, "100, 'c', 'm'", "transcription_job_deadline", id="late"),
        pytest.param(UNANNOUNCED, "1, 100", "transcription_job_unannounced", id="unannounced"),
        pytest.param(MARK_ANNOUNCED, "'[\"x\"]'", "transcription_job_", id="announced"),
        pytest.param(DELETE_EXPIRED, "100", "transcription_job_expiry", id="expired"),
        pytest.param(NEEDED_OBJECTS, "'[\"k\"]', NULL, 1", "transcription_job_recording", id="objects"),
    ],
)
@pytest.mark.parametrize("before", ["SELECT", "ANALYZE"], ids=["fresh", "analyzed"])
async def test_a_statement_goes_by_its_index(
    backlog: Database, statement: str, parameters: str, index: str, plan_cache_mode: str, before: str
) -> None:
    connection = await backlog.connect()
    try:
        await connection.execute(f"{before}; SET plan_cache_mode = {plan_cache_mode}")
        await connection.execute(f"PREPARE asked AS {numbered(statement)}")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE asked({parameters})"))
    finally:
        await connection.close()
    assert index in plan
    assert "Seq Scan" not in plan
    assert statement in SOME_MAY_BE_SORTED or "Sort" not in plan


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"], ids=["custom", "generic"])
@pytest.mark.parametrize(
    ("query", "index"),
    [
        pytest.param(JobQuery(), "transcription_job_newest", id="newest"),
        pytest.param(JobQuery(after=(NOW, "x"), is_ascending=True), "transcription_job_newest", id="oldest"),
        pytest.param(JobQuery(owner="owner 7"), "transcription_job_owned", id="owned"),
        pytest.param(
            JobQuery(owner="owner 7", sort=JobSort.finished_at), "transcription_job_owned", id="owned, by their ends"
        ),
        pytest.param(JobQuery(owner="owner 7", models=("none",)), "transcription_job_owned", id="owned, of a model"),
        pytest.param(JobQuery(created_before=NOW - timedelta(days=1)), "transcription_job_newest", id="times"),
        pytest.param(JobQuery(models=("demo",)), "transcription_job_newest", id="model"),
        pytest.param(JobQuery(statuses=(JobStatus.failed,)), "transcription_job_status", id="status"),
        pytest.param(JobQuery(sort=JobSort.finished_at), "transcription_job_end", id="ends"),
        pytest.param(JobQuery(sort=JobSort.finished_at, after=(None, "x")), "transcription_job_end", id="no ends"),
        pytest.param(JobQuery(sort=JobSort.duration, after=(1.5, "x")), "transcription_job_length", id="duration"),
        pytest.param(JobQuery(metadata={"a": "b"}), "transcription_job_metadata", id="metadata"),
        pytest.param(JobQuery(words="a b"), "transcription_job_said", id="words"),
    ],
)
async def test_a_list_goes_by_an_index(backlog: Database, query: JobQuery, index: str, plan_cache_mode: str) -> None:
    connection = await backlog.connect()
    try:
        await connection.execute(f"ANALYZE; SET plan_cache_mode = {plan_cache_mode}")
        sql, parameters = statement_of(query, 100)
        statement, arguments = QueryString(sql, *parameters).compile_string()
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
    finally:
        await connection.close()
    assert index in plan
    assert "Seq Scan" not in plan
