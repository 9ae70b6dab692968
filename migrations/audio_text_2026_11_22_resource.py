from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import JSONB, BigSerial, Column, ForeignKey, OnDelete, Timestamptz, Varchar
from piccolo.constraints import Unique
from piccolo.table import Table

from audio_text.adapters.tables import TsVector

ID = "2026-11-22T18:10:00:000011"
VERSION = "1.38.0"
DESCRIPTION = "Metadata, deadlines and words of jobs, and the keys that clients submit them under"


class TranscriptionJob(Table, tablename="transcription_job"):
    id = Varchar(length=None, default=None, primary_key=True)


WORD = {"length": None, "default": None}

# Each has a constant default: no row is written, and the code before this migration may go on inserting.
JOB: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("metadata", JSONB, {"default": "{}"}),
    ("deadline", Timestamptz, {"default": None, "null": True}),
    ("words", TsVector, {"default": None, "null": True}),
]

KEY: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", BigSerial, {"primary_key": True}),
    ("owner", Varchar, WORD | {"null": True}),
    ("key", Varchar, WORD),
    ("fingerprint", Varchar, WORD),
    ("job_id", ForeignKey, {"references": TranscriptionJob, "on_delete": OnDelete.cascade, "null": False}),
    ("answer", JSONB, {"default": None}),
    ("expires_at", Timestamptz, {"default": None}),
]

async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_table("IdempotencyKey", "idempotency_key")
    for class_name, tablename, columns in (
        ("TranscriptionJob", "transcription_job", JOB),
        ("IdempotencyKey", "idempotency_key", KEY),
    ):
        for name, column_class, params in columns:
            manager.add_column(class_name, tablename, name, column_class=column_class, params=params)
    # Nobody in particular is an owner like any other.
    manager.add_constraint(
        "IdempotencyKey",
        "idempotency_key",
        "idempotency_key_owner",
        constraint_class=Unique,
        params={"columns": ["owner", "key"], "nulls_distinct": False},
    )
    return manager
