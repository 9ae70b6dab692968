from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T13:00:00:000001"
VERSION = "1.38.0"
DESCRIPTION = "The type of a job's status"


async def create() -> None:
    await DB.run_ddl("CREATE TYPE job_status AS ENUM ('pending', 'processing', 'completed', 'failed', 'cancelled')")


async def drop() -> None:
    await DB.run_ddl("DROP TYPE job_status")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
