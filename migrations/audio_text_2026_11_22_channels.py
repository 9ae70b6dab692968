from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import JSONB, SmallInt

ID = "2026-11-22T18:30:00:000013"
VERSION = "1.38.0"
DESCRIPTION = "Channels that are transcribed separately: whose a segment is, and how far each has come"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    # Both are empty by default: no row is written, and the code before this migration may go on inserting.
    manager.add_column(
        "TranscriptionSegment",
        "transcription_segment",
        "channel",
        column_class=SmallInt,
        params={"default": None, "null": True},
    )
    manager.add_column(
        "TranscriptionJob",
        "transcription_job",
        "channel_progress",
        column_class=JSONB,
        params={"default": None, "null": True},
    )
    return manager
