from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T19:10:00:000017"
VERSION = "1.38.0"
DESCRIPTION = "An index that leads from a recording to the newest job that it was completed by"

# The digest alone finds the job. Piccolo adds columns last: what needs them is a migration of its own.
INDEX = """
CREATE INDEX transcription_job_digest ON transcription_job (audio_sha256, finished_at)
WHERE status = 'completed' AND audio_sha256 IS NOT NULL
"""


async def create() -> None:
    await DB.run_ddl(INDEX)


async def drop() -> None:
    await DB.run_ddl("DROP INDEX transcription_job_digest")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
