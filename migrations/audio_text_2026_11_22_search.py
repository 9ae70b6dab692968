from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T18:20:00:000012"
VERSION = "1.38.0"
DESCRIPTION = "Indexes for lists of jobs, by end, length, status, metadata, deadline and words, and for keys"

# The table keeps them itself, whatever code writes a transcript. A tsvector holds at most 1 MiB, and a transcript that
# is too long for one must not keep its job from being completed: then its first hour or so is what can be found.
WORDS = """
CREATE FUNCTION transcript_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.words := to_tsvector('pg_catalog.simple', NEW.result_text);
    RETURN NEW;
EXCEPTION WHEN program_limit_exceeded THEN
    NEW.words := to_tsvector('pg_catalog.simple', left(NEW.result_text, 50000));
    RETURN NEW;
END $$
"""

# It does not fire for a statement that leaves the transcript alone: heartbeats and progress cost nothing more.
TRIGGER = """
CREATE TRIGGER transcription_job_words BEFORE INSERT OR UPDATE OF result_text ON transcription_job
FOR EACH ROW WHEN (NEW.result_text IS NOT NULL) EXECUTE FUNCTION transcript_words()
"""

# Those that were completed before: half a minute for 10,000 transcripts of ten minutes. It locks rows that hardly
# anybody writes to, and no table.
FILL = "UPDATE transcription_job SET result_text = result_text WHERE result_text IS NOT NULL"

# Building an index keeps others from writing to the table, a second for the words of those 10,000 and a moment for
# the rest. Where that is too long, create them beforehand with CREATE INDEX CONCURRENTLY and these names, once the
# migration before this one is applied: then this one passes over them.
#
# None holds a column that a heartbeat or a progress update changes, so that these touch no index at all.
INDEXES = {
    "transcription_job_end": "(COALESCE(finished_at, 'infinity'), id)",
    "transcription_job_length": "(COALESCE(duration, -1), id)",
    "transcription_job_status": "(status, creation_date, id)",
    "transcription_job_deadline": "(deadline, id) WHERE status = 'pending' AND deadline IS NOT NULL",
    "transcription_job_metadata": "USING gin (metadata jsonb_path_ops)",
    "transcription_job_said": "USING gin (words) WHERE words IS NOT NULL",
}

# For the jobs that are deleted, and for the keys that are over.
OF_KEYS = {"idempotency_key_job": "(job_id)", "idempotency_key_expiry": "(expires_at, id)"}


async def create() -> None:
    for name, columns in OF_KEYS.items():
        await DB.run_ddl(f"CREATE INDEX {name} ON idempotency_key {columns}")
    for statement in (WORDS, TRIGGER, FILL):
        await DB.run_ddl(statement)
    for name, columns in INDEXES.items():
        await DB.run_ddl(f"CREATE INDEX IF NOT EXISTS {name} ON transcription_job {columns}")


async def drop() -> None:
    for name in (*INDEXES, *OF_KEYS):
        await DB.run_ddl(f"DROP INDEX {name}")
    await DB.run_ddl("DROP TRIGGER transcription_job_words ON transcription_job")
    await DB.run_ddl("DROP FUNCTION transcript_words()")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
