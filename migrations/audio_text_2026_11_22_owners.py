from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Varchar

ID = "2026-11-22T16:00:00:000006"
VERSION = "1.38.0"
DESCRIPTION = "Jobs have owners"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    # Without a default that is not null: no row is written, and the code before this migration may go on inserting.
    manager.add_column(
        "TranscriptionJob",
        "transcription_job",
        "owner",
        column_class=Varchar,
        params={"length": None, "default": None, "null": True},
    )
    return manager
