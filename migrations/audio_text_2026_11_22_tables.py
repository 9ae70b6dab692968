from enum import Enum
from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import (
    JSONB,
    Array,
    BigInt,
    BigSerial,
    Column,
    DoublePrecision,
    ForeignKey,
    Integer,
    OnDelete,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.constraints import Unique
from piccolo.table import Table

from audio_text.adapters.tables import EnumVarchar

ID = "2026-11-22T13:00:00:000002"
VERSION = "1.38.0"
DESCRIPTION = "Jobs and their segments"


class TranscriptionJob(Table, tablename="transcription_job"):
    id = Varchar(length=None, default=None, primary_key=True)


# A copy: what this migration does must not change with the code.
JobStatus = Enum(
    "JobStatus",
    {
        "pending": "pending",
        "processing": "processing",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
    },
)

TEXT = {"default": None}
WORD = {"length": None, "default": None}
NUMBER = {"default": None}
MAYBE = {"null": True}

JOB: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", Varchar, WORD | {"primary_key": True}),
    ("filename", Varchar, WORD),
    ("url", Varchar, WORD),
    ("object_key", Varchar, WORD),
    ("file_size_bytes", BigInt, NUMBER),
    ("content_type", Varchar, WORD | MAYBE),
    ("status", EnumVarchar, {"type_name": "job_status", "choices": JobStatus, "default": "pending"}),
    ("whisper_model", Varchar, WORD),
    ("tier", Varchar, WORD),
    ("options", JSONB, {"default": None}),
    ("creation_date", Timestamptz, {"default": TimestamptzNow()}),
    ("update_date", Timestamptz, {"default": TimestamptzNow()}),
    ("description", Text, TEXT | MAYBE),
    ("request_id", Varchar, WORD | MAYBE),
    ("attempt", Integer, {"default": 0}),
    ("lease_owner", Varchar, WORD | MAYBE),
    ("lease_expires_at", Timestamptz, {"default": None} | MAYBE),
    ("available_at", Timestamptz, {"default": None} | MAYBE),
    ("started_at", Timestamptz, {"default": None} | MAYBE),
    ("finished_at", Timestamptz, {"default": None} | MAYBE),
    ("progress", DoublePrecision, {"default": 0.0}),
    ("duration", DoublePrecision, NUMBER | MAYBE),
    ("duration_after_vad", DoublePrecision, NUMBER | MAYBE),
    ("processing_time_seconds", DoublePrecision, NUMBER | MAYBE),
    ("real_time_factor", DoublePrecision, NUMBER | MAYBE),
    ("language", Varchar, WORD | MAYBE),
    ("language_probability", DoublePrecision, NUMBER | MAYBE),
    ("result_text", Text, TEXT | MAYBE),
    ("error_code", Varchar, WORD | MAYBE),
    ("error_message", Text, TEXT | MAYBE),
]

SEGMENT: list[tuple[str, type[Column], dict[str, Any]]] = [
    ("id", BigSerial, {"primary_key": True}),
    ("job_id", ForeignKey, {"references": TranscriptionJob, "on_delete": OnDelete.cascade, "null": False}),
    ("position", Integer, NUMBER),
    ("seek", Integer, NUMBER),
    ("start", DoublePrecision, NUMBER),
    ("end", DoublePrecision, NUMBER),
    ("text", Text, TEXT),
    ("tokens", Array, {"base_column": Integer(), "default": None}),
    ("temperature", DoublePrecision, NUMBER),
    ("avg_logprob", DoublePrecision, NUMBER),
    ("compression_ratio", DoublePrecision, NUMBER),
    ("no_speech_prob", DoublePrecision, NUMBER),
    ("words", JSONB, {"default": None} | MAYBE),
]


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    for class_name, tablename, columns in (
        ("TranscriptionJob", "transcription_job", JOB),
        ("TranscriptionSegment", "transcription_segment", SEGMENT),
    ):
        manager.add_table(class_name, tablename)
        for name, column_class, params in columns:
            manager.add_column(class_name, tablename, name, column_class=column_class, params=params)
    manager.add_constraint(
        "TranscriptionSegment",
        "transcription_segment",
        "transcription_segment_position",
        constraint_class=Unique,
        params={"columns": ["job_id", "position"], "nulls_distinct": True},
    )
    return manager
