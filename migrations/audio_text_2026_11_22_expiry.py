from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Integer

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T16:10:00:000008"
VERSION = "1.38.0"
DESCRIPTION = "Jobs that expire, and an index for the recordings of completed jobs as well"


async def create() -> None:
    # A completed job may keep its recording, too.
    await DB.run_ddl("CREATE INDEX transcription_job_recording ON transcription_job (object_key)")
    await DB.run_ddl("DROP INDEX transcription_job_needed")


async def drop() -> None:
    await DB.run_ddl(
        "CREATE INDEX transcription_job_needed ON transcription_job (object_key) "
        "WHERE status IN ('pending', 'processing', 'failed', 'cancelled')"
    )
    await DB.run_ddl("DROP INDEX transcription_job_recording")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    # It has a constant default: no row is written, and the code before this migration may go on inserting.
    manager.add_column(
        "TranscriptionJob",
        "transcription_job",
        "expires_in_seconds",
        column_class=Integer,
        params={"default": None, "null": True},
    )
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
