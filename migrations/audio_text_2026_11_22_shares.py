from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T16:00:00:000007"
VERSION = "1.38.0"
DESCRIPTION = "An index that leads from one owner whose jobs wait to the next"

# Of a tier's jobs of one priority, the oldest of each owner is found without reading the others, however many wait.
# It holds no column that a heartbeat or a progress update changes, so that these touch no index at all.
INDEX = (
    "CREATE INDEX transcription_job_share ON transcription_job "
    "(tier, priority, COALESCE(owner, ''), creation_date, id) WHERE status IN ('pending', 'processing')"
)


async def create() -> None:
    await DB.run_ddl(INDEX)


async def drop() -> None:
    await DB.run_ddl("DROP INDEX transcription_job_share")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
