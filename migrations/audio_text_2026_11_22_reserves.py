from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Column, Date, DoublePrecision

ID = "2026-11-22T20:30:00:000026"
VERSION = "1.38.0"
DESCRIPTION = "What a job of unknown length reserves of its key's day, which day that is, and how much that may come to"

COLUMNS: dict[str, type[Column]] = {
    "reserved_seconds": DoublePrecision,
    "day_limit_seconds": DoublePrecision,
    "usage_day": Date,
}


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    # Without a default that is not null: no row is written, and the code before this migration may go on inserting.
    for name, column_class in COLUMNS.items():
        manager.add_column(
            "TranscriptionJob",
            "transcription_job",
            name,
            column_class=column_class,
            params={"default": None, "null": True},
        )
    return manager
