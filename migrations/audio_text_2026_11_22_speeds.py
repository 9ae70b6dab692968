from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T18:40:00:000014"
VERSION = "1.38.0"
DESCRIPTION = "An index that leads to the jobs of a tier that were completed last: how fast it is"

INDEX = "CREATE INDEX transcription_job_speed ON transcription_job (tier, finished_at) WHERE status = 'completed'"


async def create() -> None:
    await DB.run_ddl(INDEX)


async def drop() -> None:
    await DB.run_ddl("DROP INDEX transcription_job_speed")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
