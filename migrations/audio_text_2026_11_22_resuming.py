from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Column, DoublePrecision, Varchar

ID = "2026-11-22T16:20:00:000009"
VERSION = "1.38.0"
DESCRIPTION = "How far a job has come, and what it was transcribed with"

# Each has a constant default: no row is written, and the code before this migration may go on inserting.
COLUMNS: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("position", DoublePrecision, {"default": 0.0}),
    ("block_start", DoublePrecision, {"default": None, "null": True}),
    ("device", Varchar, {"length": None, "default": None, "null": True}),
    ("compute_type", Varchar, {"length": None, "default": None, "null": True}),
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    for name, column_class, params in COLUMNS:
        manager.add_column("TranscriptionJob", "transcription_job", name, column_class=column_class, params=params)
    return manager
