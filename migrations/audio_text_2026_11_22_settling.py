from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

# Directly behind the columns: Piccolo runs such statements before it adds a migration's own.
ID = "2026-11-22T20:30:00:0000261"
VERSION = "1.38.0"
DESCRIPTION = (
    "Reserves are settled when a length is learned, given back where nothing was heard, and hold the day's bound"
)

# The day in whose usage `within_quota` counts a job that the same statement adds: both ask for the time of the same
# transaction. Jobs from before have none, and count on the day on which they were submitted.
DAY = "ALTER TABLE transcription_job ALTER COLUMN usage_day SET DEFAULT (now() AT TIME ZONE 'UTC')::date"

# The difference between what a job has taken of its day and what it turns out to take, once: afterwards its duration is
# what it has taken. Where that is too much for the day, an error undoes the statement that would have told it.
# Only where a quota was asked for, there is a row.
SETTLE = """
CREATE FUNCTION settle_audio_seconds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    more float8 := COALESCE(NEW.duration, 0) - COALESCE(OLD.duration, OLD.reserved_seconds, 0);
    used float8;
BEGIN
    UPDATE key_usage SET audio_seconds = audio_seconds + more
    WHERE key_id = OLD.key_id AND day = COALESCE(OLD.usage_day, (OLD.creation_date AT TIME ZONE 'UTC')::date)
    RETURNING audio_seconds INTO used;
    IF more > 0 AND used > NEW.day_limit_seconds THEN
        RAISE EXCEPTION 'audio_quota_exceeded';
    END IF;
    NEW.reserved_seconds := NULL;
    RETURN NEW;
END $$
"""

# Not for heartbeats, which name no duration; for progress, only when it is another one.
LEARNED = """
CREATE TRIGGER transcription_job_settled BEFORE UPDATE OF duration ON transcription_job FOR EACH ROW
WHEN (NEW.key_id IS NOT NULL AND NEW.duration IS NOT NULL AND NEW.duration IS DISTINCT FROM OLD.duration)
EXECUTE FUNCTION settle_audio_seconds()
"""

# It ended before there was anything to hear: nobody began it, or its recording was never brought. Whatever a worker may
# have heard of keeps its reserve, or jobs that are cancelled in time would cost nothing.
UNHEARD = """
CREATE TRIGGER transcription_job_unheard BEFORE UPDATE OF status ON transcription_job FOR EACH ROW
WHEN (
    NEW.key_id IS NOT NULL AND NEW.reserved_seconds IS NOT NULL AND NEW.duration IS NULL
    AND OLD.status IN ('pending', 'processing') AND (
        NEW.status IN ('cancelled', 'failed') AND NEW.claims = 0
        OR NEW.status = 'failed' AND NEW.source_url IS NOT NULL AND NEW.file_size_bytes = 0
    )
)
EXECUTE FUNCTION settle_audio_seconds()
"""

GIVE_BACK = """
CREATE FUNCTION give_back_audio_seconds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE key_usage SET audio_seconds = audio_seconds - OLD.reserved_seconds
    WHERE key_id = OLD.key_id AND day = OLD.usage_day;
    RETURN NULL;
END $$
"""

DELETED = """
CREATE TRIGGER transcription_job_unheard_deleted AFTER DELETE ON transcription_job FOR EACH ROW
WHEN (
    OLD.key_id IS NOT NULL AND OLD.reserved_seconds IS NOT NULL AND OLD.duration IS NULL
    AND OLD.status = 'pending' AND OLD.claims = 0
)
EXECUTE FUNCTION give_back_audio_seconds()
"""

# Its function stays, for the way back.
FORMER = """
CREATE TRIGGER transcription_job_learned AFTER UPDATE OF duration ON transcription_job FOR EACH ROW
WHEN (NEW.key_id IS NOT NULL AND NEW.duration IS NOT NULL AND NEW.duration IS DISTINCT FROM OLD.duration)
EXECUTE FUNCTION learn_audio_seconds()
"""


async def create() -> None:
    await DB.run_ddl("DROP TRIGGER transcription_job_learned ON transcription_job")
    for statement in (DAY, SETTLE, LEARNED, UNHEARD, GIVE_BACK, DELETED):
        await DB.run_ddl(statement)


async def drop() -> None:
    for trigger in ("settled", "unheard", "unheard_deleted"):
        await DB.run_ddl(f"DROP TRIGGER transcription_job_{trigger} ON transcription_job")
    for function in ("settle_audio_seconds", "give_back_audio_seconds"):
        await DB.run_ddl(f"DROP FUNCTION {function}()")
    await DB.run_ddl("ALTER TABLE transcription_job ALTER COLUMN usage_day DROP DEFAULT")
    await DB.run_ddl(FORMER)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
