from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import BigSerial, Column, Date, DoublePrecision, Varchar
from piccolo.constraints import Unique

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T20:30:00:000020"
VERSION = "1.38.0"
DESCRIPTION = "Quotas of keys: jobs in work, and seconds of audio a day"

COLUMNS: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", BigSerial, {"primary_key": True}),
    ("key_id", Varchar, {"length": None, "default": None}),
    ("day", Date, {"default": None}),
    ("audio_seconds", DoublePrecision, {"default": 0.0}),
]

# Holds the unfinished jobs of keys alone.
INDEX = """
CREATE INDEX transcription_job_key ON transcription_job (key_id)
WHERE key_id IS NOT NULL AND status IN ('pending', 'processing')
"""

# Called by the statement that adds jobs, before it adds them, and only where there is a quota. Whoever asks for the
# same key waits for the lock until that statement is committed, and only then looks: each statement in here sees what
# is committed when it begins. What does not fit raises an error, and everything is as it was.
# A job that is there already is one that was sent again after its answer was lost.
WITHIN_QUOTA = """
CREATE FUNCTION within_quota(
    of_key varchar, job_id varchar, jobs integer, most_jobs integer, seconds float8, most_seconds float8
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    used float8;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audio-text quota ' || of_key, 0));
    IF EXISTS (SELECT FROM transcription_job WHERE id = job_id) THEN
        RETURN true;
    END IF;
    IF most_jobs IS NOT NULL THEN
        SELECT count(*) INTO used FROM transcription_job
        WHERE key_id = of_key AND status IN ('pending', 'processing');
        IF used + jobs > most_jobs THEN
            RAISE EXCEPTION 'concurrent_jobs_exceeded';
        END IF;
    END IF;
    IF most_seconds IS NOT NULL THEN
        INSERT INTO key_usage AS kept (key_id, day, audio_seconds) VALUES (of_key, today, seconds)
        ON CONFLICT (key_id, day) DO UPDATE SET audio_seconds = kept.audio_seconds + excluded.audio_seconds
        RETURNING kept.audio_seconds INTO used;
        IF used > most_seconds OR used - seconds >= most_seconds THEN
            RAISE EXCEPTION 'audio_quota_exceeded';
        END IF;
        DELETE FROM key_usage WHERE key_id = of_key AND day < today - 31;
    END IF;
    RETURN true;
END $$
"""

# A worker learns how long a recording is, if its container did not tell or did not tell the truth. Only where a quota
# was asked for, there is a row. A job that is deleted changes nothing.
LEARNED = """
CREATE FUNCTION learn_audio_seconds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE key_usage SET audio_seconds = audio_seconds + NEW.duration - COALESCE(OLD.duration, 0)
    WHERE key_id = NEW.key_id AND day = (NEW.creation_date AT TIME ZONE 'UTC')::date;
    RETURN NULL;
END $$
"""

# Not for heartbeats, which name no duration; for progress, only when it is another one.
TRIGGER = """
CREATE TRIGGER transcription_job_learned AFTER UPDATE OF duration ON transcription_job FOR EACH ROW
WHEN (NEW.key_id IS NOT NULL AND NEW.duration IS NOT NULL AND NEW.duration IS DISTINCT FROM OLD.duration)
EXECUTE FUNCTION learn_audio_seconds()
"""


async def create() -> None:
    for statement in (INDEX, WITHIN_QUOTA, LEARNED, TRIGGER):
        await DB.run_ddl(statement)


async def drop() -> None:
    await DB.run_ddl("DROP TRIGGER transcription_job_learned ON transcription_job")
    await DB.run_ddl("DROP FUNCTION learn_audio_seconds()")
    await DB.run_ddl("DROP FUNCTION within_quota(varchar, varchar, integer, integer, float8, float8)")
    await DB.run_ddl("DROP INDEX transcription_job_key")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_table("KeyUsage", "key_usage")
    for name, column_class, params in COLUMNS:
        manager.add_column("KeyUsage", "key_usage", name, column_class=column_class, params=params)
    manager.add_constraint(
        "KeyUsage",
        "key_usage",
        "key_usage_day",
        constraint_class=Unique,
        params={"columns": ["key_id", "day"]},
    )
    # Piccolo runs such statements before it creates the table: functions look for it only when they are called.
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
