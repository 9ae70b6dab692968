from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import JSONB

ID = "2026-11-22T18:50:00:000015"
VERSION = "1.38.0"
DESCRIPTION = "Where within a block the model goes on"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    # It is empty by default: no row is written, and the code before this migration may go on inserting.
    manager.add_column(
        "TranscriptionJob",
        "transcription_job",
        "next_window",
        column_class=JSONB,
        params={"default": None, "null": True},
    )
    return manager
