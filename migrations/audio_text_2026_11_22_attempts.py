from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import (
    BigSerial,
    Boolean,
    Column,
    DoublePrecision,
    ForeignKey,
    Integer,
    OnDelete,
    SmallInt,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.constraints import Unique
from piccolo.table import Table

ID = "2026-11-22T15:00:00:000004"
VERSION = "1.38.0"
DESCRIPTION = "Claims that are counted and on record, priorities, dead letters, and ends that are announced"


class TranscriptionJob(Table, tablename="transcription_job"):
    id = Varchar(length=None, default=None, primary_key=True)


TEXT = {"default": None}
WORD = {"length": None, "default": None}
NUMBER = {"default": None}
DATE = {"default": None}
MAYBE = {"null": True}

# Each has a constant default: no row is written, and the code before this migration may go on inserting.
JOB: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("priority", SmallInt, {"default": 0}),
    ("claims", Integer, {"default": 0}),
    ("recomputed_seconds", DoublePrecision, {"default": 0.0}),
    ("is_dead_letter", Boolean, {"default": False}),
    ("expires_at", Timestamptz, DATE | MAYBE),
    ("is_unannounced", Boolean, {"default": False}),
]

ATTEMPT: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", BigSerial, {"primary_key": True}),
    ("job_id", ForeignKey, {"references": TranscriptionJob, "on_delete": OnDelete.cascade, "null": False}),
    ("claim", Integer, NUMBER),
    ("attempt", Integer, NUMBER),
    ("owner", Varchar, WORD),
    ("started_at", Timestamptz, DATE),
    ("position", DoublePrecision, NUMBER),
    ("ended_at", Timestamptz, DATE | MAYBE),
    ("end", Varchar, WORD | MAYBE),
    ("error_code", Varchar, WORD | MAYBE),
    ("error_message", Text, TEXT | MAYBE),
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_table("TranscriptionAttempt", "transcription_attempt")
    for class_name, tablename, columns in (
        ("TranscriptionJob", "transcription_job", JOB),
        ("TranscriptionAttempt", "transcription_attempt", ATTEMPT),
    ):
        for name, column_class, params in columns:
            manager.add_column(class_name, tablename, name, column_class=column_class, params=params)
    manager.add_constraint(
        "TranscriptionAttempt",
        "transcription_attempt",
        "transcription_attempt_claim",
        constraint_class=Unique,
        params={"columns": ["job_id", "claim"], "nulls_distinct": True},
    )
    return manager
