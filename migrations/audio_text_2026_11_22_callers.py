from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Varchar

ID = "2026-11-22T20:20:00:000018"
VERSION = "1.38.0"
DESCRIPTION = "Which key a job came with, which batch it is one of, and where its recording has to be fetched"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    # Without a default that is not null: no row is written, and the code before this migration may go on inserting.
    for name in ("key_id", "batch_id", "source_url"):
        manager.add_column(
            "TranscriptionJob",
            "transcription_job",
            name,
            column_class=Varchar,
            params={"length": None, "default": None, "null": True},
        )
    return manager
