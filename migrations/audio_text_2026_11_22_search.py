from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T18:20:00:000012"
VERSION = "1.38.0"
DESCRIPTION = "Indexes for lists of jobs, by end, length, status, metadata, deadline and words, and for keys"

# A tsvector holds at most 1 MiB, and a transcript that is too long for one must not keep its job from being completed:
# then its first hour or so is what can be found. Its cost keeps the planner from reading transcripts row by row.
WORDS = """
CREATE OR REPLACE FUNCTION transcript_words(transcript text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
BEGIN
    RETURN to_tsvector('pg_catalog.simple', transcript);
EXCEPTION WHEN program_limit_exceeded THEN
    RETURN to_tsvector('pg_catalog.simple', left(transcript, 50000));
END $$
"""

# Building an index keeps others from writing to the table, for a moment with all of these but the last: the words of
# 10,000 transcripts of an hour take about a minute. With a large table, create the function and that index beforehand,
# with CREATE INDEX CONCURRENTLY and this name: then this migration passes over it.
#
# None holds a column that a heartbeat or a progress update changes, so that these touch no index at all.
INDEXES = {
    "transcription_job_end": "(COALESCE(finished_at, 'infinity'), id)",
    "transcription_job_length": "(COALESCE(duration, -1), id)",
    "transcription_job_status": "(status, creation_date, id)",
    "transcription_job_deadline": "(deadline, id) WHERE status = 'pending' AND deadline IS NOT NULL",
    "transcription_job_metadata": "USING gin (metadata jsonb_path_ops) WHERE metadata <> '{}'",
    "transcription_job_words": "USING gin (transcript_words(result_text)) WHERE result_text IS NOT NULL",
}

# For the jobs that are deleted, and for the keys that are over.
OF_KEYS = {"idempotency_key_job": "(job_id)", "idempotency_key_expiry": "(expires_at, id)"}


async def create() -> None:
    for name, columns in OF_KEYS.items():
        await DB.run_ddl(f"CREATE INDEX {name} ON idempotency_key {columns}")
    await DB.run_ddl(WORDS)
    for name, columns in INDEXES.items():
        await DB.run_ddl(f"CREATE INDEX IF NOT EXISTS {name} ON transcription_job {columns}")


async def drop() -> None:
    for name in (*INDEXES, *OF_KEYS):
        await DB.run_ddl(f"DROP INDEX {name}")
    await DB.run_ddl("DROP FUNCTION transcript_words(text)")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
