from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

# Directly behind the columns: Piccolo runs such statements before it adds a migration's own.
ID = "2026-11-22T20:30:00:0000261"
VERSION = "1.38.0"
DESCRIPTION = (
    "Reserves are settled when a length is known, given back where nothing was heard, and hold the day's bound"
)

# The day in whose usage `within_quota` counts a job that the same statement adds: both ask for the time of the same
# transaction. Jobs from before have none, and count on the day on which they were submitted.
DAY = "ALTER TABLE transcription_job ALTER COLUMN usage_day SET DEFAULT (now() AT TIME ZONE 'UTC')::date"

# A job has taken of its day what it was let in with, its length or a reserve, and more as soon as more of it is heard;
# at its end, what it turned out to be. While it is heard, a length that no file tells is a guess, and settles nothing.
# Whoever knows the length lets go of the reserve. What ended before there was anything to hear, because nobody began it or
# its recording was never brought, takes nothing; whatever a worker may have heard of keeps its reserve, or jobs that are
# cancelled in time would cost nothing.
# What comes back, comes back to the day that it was taken from. What is more counts on the day on which that is learned,
# or who retries jobs of many days would have all those days at once. Where it is too much for the day, an error undoes
# the statement that would have told it. Without a quota nothing is kept that is not kept already.
SETTLE = """
CREATE FUNCTION settle_audio_seconds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    had float8 := COALESCE(OLD.reserved_seconds, OLD.duration, 0);
    takes float8;
    used float8;
BEGIN
    IF NEW.duration IS NULL AND (
        NEW.status IN ('cancelled', 'failed') AND NEW.claims = 0
        OR NEW.status = 'failed' AND NEW.source_url IS NOT NULL AND NEW.file_size_bytes = 0
    ) THEN
        takes := 0;
        NEW.reserved_seconds := NULL;
    ELSIF OLD.reserved_seconds IS NULL OR NEW.reserved_seconds IS NULL OR NEW.status = 'completed' THEN
        takes := COALESCE(NEW.duration, had);
        NEW.reserved_seconds := NULL;
    ELSE
        takes := CASE WHEN NEW.position > OLD.position THEN GREATEST(had, NEW.position) ELSE had END;
        NEW.reserved_seconds := takes;
    END IF;
    IF takes = had THEN
        RETURN NEW; -- most progress, for which the key's row is neither locked nor written anew
    ELSIF takes < had THEN
        UPDATE key_usage SET audio_seconds = audio_seconds + takes - had
        WHERE key_id = OLD.key_id AND day = COALESCE(OLD.usage_day, (OLD.creation_date AT TIME ZONE 'UTC')::date);
    ELSIF NEW.day_limit_seconds IS NULL THEN
        UPDATE key_usage SET audio_seconds = audio_seconds + takes - had WHERE key_id = OLD.key_id AND day = today;
    ELSE
        INSERT INTO key_usage AS kept (key_id, day, audio_seconds) VALUES (OLD.key_id, today, takes - had)
        ON CONFLICT (key_id, day) DO UPDATE SET audio_seconds = kept.audio_seconds + excluded.audio_seconds
        RETURNING kept.audio_seconds INTO used;
        IF used > NEW.day_limit_seconds THEN
            RAISE EXCEPTION 'audio_quota_exceeded';
        END IF;
    END IF;
    RETURN NEW;
END $$
"""

# Not for heartbeats, which name none of these.
SETTLED = """
CREATE TRIGGER transcription_job_settled BEFORE UPDATE OF duration, position, status ON transcription_job FOR EACH ROW
WHEN (
    NEW.key_id IS NOT NULL AND OLD.status IN ('pending', 'processing')
    AND (OLD.reserved_seconds IS NOT NULL OR NEW.duration IS NOT NULL AND NEW.duration IS DISTINCT FROM OLD.duration)
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
    for statement in (DAY, SETTLE, SETTLED, GIVE_BACK, DELETED):
        await DB.run_ddl(statement)


async def drop() -> None:
    for trigger in ("settled", "unheard_deleted"):
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
