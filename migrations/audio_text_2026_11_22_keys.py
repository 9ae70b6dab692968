from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import JSONB, Array, Column, Timestamptz, Varchar

ID = "2026-11-22T20:30:00:000019"
VERSION = "1.38.0"
DESCRIPTION = "Keys that were given out"

WORD = {"length": None, "default": None}
TIME = {"default": None, "null": True}

KEY: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", Varchar, WORD | {"primary_key": True}),
    ("prefix", Varchar, WORD),
    ("name", Varchar, WORD),
    ("owner", Varchar, WORD),
    ("scopes", Array, {"base_column": Varchar(length=None), "default": None}),
    ("limits", JSONB, {"default": None}),
    ("created_at", Timestamptz, {"default": None}),
    ("expires_at", Timestamptz, TIME),
    ("revoked_at", Timestamptz, TIME),
    ("last_used_at", Timestamptz, TIME),
    ("digest", Varchar, WORD | {"unique": True}),
    ("previous_digest", Varchar, WORD | {"null": True, "unique": True}),
    ("replaced_at", Timestamptz, TIME),
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_table("ApiKey", "api_key")
    for name, column_class, params in KEY:
        manager.add_column("ApiKey", "api_key", name, column_class=column_class, params=params)
    return manager
