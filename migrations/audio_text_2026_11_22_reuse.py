from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Boolean, Column, Varchar

ID = "2026-11-22T19:00:00:000016"
VERSION = "1.38.0"
DESCRIPTION = "What a completed job's recording was, and which earlier job answered it"

# Each has a constant default: no row is written, and the code before this migration may go on inserting.
COLUMNS: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("reuse", Boolean, {"default": False}),
    ("audio_sha256", Varchar, {"length": None, "default": None, "null": True}),
    ("reused_from", Varchar, {"length": None, "default": None, "null": True}),
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    for name, column_class, params in COLUMNS:
        manager.add_column("TranscriptionJob", "transcription_job", name, column_class=column_class, params=params)
    return manager
