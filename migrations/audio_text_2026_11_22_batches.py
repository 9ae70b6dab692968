from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import JSONB, Column, Integer, Text, Timestamptz, Varchar

ID = "2026-11-22T20:30:00:000023"
VERSION = "1.38.0"
DESCRIPTION = "Batches of jobs"

WORD = {"length": None, "default": None}

COLUMNS: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", Varchar, WORD | {"primary_key": True}),
    ("owner", Varchar, WORD | {"null": True}),
    ("size", Integer, {"default": None}),
    ("created_at", Timestamptz, {"default": None}),
    ("description", Text, {"default": None, "null": True}),
    ("metadata", JSONB, {"default": "{}"}),
    ("finished_at", Timestamptz, {"default": None, "null": True}),
    ("key", Varchar, WORD | {"null": True}),
    ("fingerprint", Varchar, WORD | {"null": True}),
]

async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_table("Batch", "batch")
    for name, column_class, params in COLUMNS:
        manager.add_column("Batch", "batch", name, column_class=column_class, params=params)
    return manager
