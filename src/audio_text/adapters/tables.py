"""The tables, for Piccolo's migrations.

The columns of a job are the fields of `Job`, name for name, and three that the table has for itself.
"""

from enum import Enum
from typing import Any

from piccolo.columns import (
    JSONB,
    Array,
    BigInt,
    BigSerial,
    Boolean,
    Column,
    Date,
    DoublePrecision,
    ForeignKey,
    Integer,
    OnDelete,
    SmallInt,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.constraints import Unique
from piccolo.table import Table

from audio_text.domain.job import JobStatus


class EnumVarchar(Varchar):
    """A column of a PostgreSQL ENUM type, which a migration creates; `choices` are its labels.

    Both are parameters of the column, so that Piccolo sees a new label as a change that wants a migration.
    """

    def __init__(self, type_name: str, choices: type[Enum], **parameters: Any) -> None:  # noqa: ANN401 -- any of a column's
        self.type_name = type_name
        super().__init__(length=None, choices=choices, **parameters)
        self._meta.params["type_name"] = type_name

    @property
    def column_type(self) -> str:
        """The type in DDL."""
        return self.type_name


class TsVector(Column):
    """A column of words that can be searched for, which PostgreSQL makes and nobody reads."""

    value_type = str

    @property
    def column_type(self) -> str:
        """The type in DDL."""
        return "TSVECTOR"


class TranscriptionJob(Table, tablename="transcription_job"):
    """One row per job. No default stands in for a value that whoever inserts has to know."""

    id = Varchar(length=None, default=None, primary_key=True)
    filename = Varchar(length=None, default=None)
    url = Varchar(length=None, default=None)
    object_key = Varchar(length=None, default=None)
    file_size_bytes = BigInt(default=None)
    content_type = Varchar(length=None, default=None, null=True)
    status = EnumVarchar("job_status", JobStatus, default=JobStatus.pending)
    whisper_model = Varchar(length=None, default=None)
    tier = Varchar(length=None, default=None)
    options = JSONB(default=None)
    creation_date = Timestamptz(default=TimestamptzNow())
    update_date = Timestamptz(default=TimestamptzNow())
    description = Text(default=None, null=True)
    request_id = Varchar(length=None, default=None, null=True)
    owner = Varchar(length=None, default=None, null=True)
    key_id = Varchar(length=None, default=None, null=True)
    batch_id = Varchar(length=None, default=None, null=True)
    source_url = Varchar(length=None, default=None, null=True)
    metadata = JSONB(default="{}")
    priority = SmallInt(default=0)
    reuse = Boolean(default=False)
    deadline = Timestamptz(default=None, null=True)
    attempt = Integer(default=0)
    claims = Integer(default=0)
    position = DoublePrecision(default=0.0)
    block_start = DoublePrecision(default=None, null=True)
    next_window = JSONB(default=None, null=True)
    channel_progress = JSONB(default=None, null=True)
    recomputed_seconds = DoublePrecision(default=0.0)
    device = Varchar(length=None, default=None, null=True)
    compute_type = Varchar(length=None, default=None, null=True)
    audio_sha256 = Varchar(length=None, default=None, null=True)
    reused_from = Varchar(length=None, default=None, null=True)
    is_dead_letter = Boolean(default=False)
    expires_in_seconds = Integer(default=None, null=True)
    expires_at = Timestamptz(default=None, null=True)
    lease_owner = Varchar(length=None, default=None, null=True)
    lease_expires_at = Timestamptz(default=None, null=True)
    available_at = Timestamptz(default=None, null=True)
    started_at = Timestamptz(default=None, null=True)
    finished_at = Timestamptz(default=None, null=True)
    progress = DoublePrecision(default=0.0)
    duration = DoublePrecision(default=None, null=True)
    duration_after_vad = DoublePrecision(default=None, null=True)
    processing_time_seconds = DoublePrecision(default=None, null=True)
    real_time_factor = DoublePrecision(default=None, null=True)
    language = Varchar(length=None, default=None, null=True)
    language_probability = DoublePrecision(default=None, null=True)
    result_text = Text(default=None, null=True)
    error_code = Varchar(length=None, default=None, null=True)
    error_message = Text(default=None, null=True)
    reserved_seconds = DoublePrecision(default=None, null=True)
    day_limit_seconds = DoublePrecision(default=None, null=True)
    usage_day = Date(default=None, null=True)  # in which its seconds count, by UTC; the database knows it
    is_unannounced = Boolean(default=False)  # it is over, and nobody knows whether its followers were told
    words = TsVector(default=None, null=True)  # of result_text; a trigger keeps them


class TranscriptionSegment(Table, tablename="transcription_segment"):
    """One row per segment; `position` is the segment's id within its job."""

    id = BigSerial(primary_key=True)  # Piccolo knows no primary key of two columns
    job_id = ForeignKey(TranscriptionJob, on_delete=OnDelete.cascade, null=False)
    position = Integer(default=None)
    seek = Integer(default=None)
    start = DoublePrecision(default=None)
    end = DoublePrecision(default=None)
    text = Text(default=None)
    tokens = Array(base_column=Integer(), default=None)
    temperature = DoublePrecision(default=None)
    avg_logprob = DoublePrecision(default=None)
    compression_ratio = DoublePrecision(default=None)
    no_speech_prob = DoublePrecision(default=None)
    words = JSONB(default=None, null=True)
    channel = SmallInt(default=None, null=True)

    transcription_segment_position = Unique([job_id, position])


class TranscriptionAttempt(Table, tablename="transcription_attempt"):
    """One row per claim of a job; `end` is a label of `AttemptEnd`, and null while the attempt runs."""

    id = BigSerial(primary_key=True)  # Piccolo knows no primary key of two columns
    job_id = ForeignKey(TranscriptionJob, on_delete=OnDelete.cascade, null=False)
    claim = Integer(default=None)
    attempt = Integer(default=None)
    owner = Varchar(length=None, default=None)
    started_at = Timestamptz(default=None)
    position = DoublePrecision(default=None)
    ended_at = Timestamptz(default=None, null=True)
    end = Varchar(length=None, default=None, null=True)
    error_code = Varchar(length=None, default=None, null=True)
    error_message = Text(default=None, null=True)

    transcription_attempt_claim = Unique([job_id, claim])


class ApiKey(Table, tablename="api_key"):
    """One row per key that was given out: the fields of `domain.access.ApiKey`, and the SHA-256s of its secrets."""

    id = Varchar(length=None, default=None, primary_key=True)
    prefix = Varchar(length=None, default=None)
    name = Varchar(length=None, default=None)
    owner = Varchar(length=None, default=None)
    scopes = Array(base_column=Varchar(length=None), default=None)
    limits = JSONB(default=None)
    created_at = Timestamptz(default=None)
    expires_at = Timestamptz(default=None, null=True)
    revoked_at = Timestamptz(default=None, null=True)
    last_used_at = Timestamptz(default=None, null=True)
    digest = Varchar(length=None, default=None, unique=True)
    previous_digest = Varchar(length=None, default=None, null=True, unique=True)
    replaced_at = Timestamptz(default=None, null=True)  # from when on what has the previous digest holds no more


class IdempotencyKey(Table, tablename="idempotency_key"):
    """One row per key that a client submitted a job under; `answer` is the job as it was told then."""

    id = BigSerial(primary_key=True)  # Piccolo knows no primary key of two columns
    owner = Varchar(length=None, default=None, null=True)
    key = Varchar(length=None, default=None)
    fingerprint = Varchar(length=None, default=None)
    job_id = ForeignKey(TranscriptionJob, on_delete=OnDelete.cascade, null=False)
    answer = JSONB(default=None)
    expires_at = Timestamptz(default=None)

    idempotency_key_owner = Unique([owner, key], nulls_distinct=False)


class WebhookEndpoint(Table, tablename="webhook_endpoint"):
    """One row per address that is told of jobs and batches; `state` is a label of `EndpointState`."""

    id = Varchar(length=None, default=None, primary_key=True)
    url = Varchar(length=None, default=None)
    events = JSONB(default=None)
    created_at = Timestamptz(default=None)
    owner = Varchar(length=None, default=None, null=True)
    description = Varchar(length=None, default=None, null=True)
    secret_version = Integer(default=1)
    overlap_until = Timestamptz(default=None, null=True)
    state = Varchar(length=None, default="enabled")
    paused_at = Timestamptz(default=None, null=True)
    paused_reason = Varchar(length=None, default=None, null=True)
    failures = Integer(default=0)
    failing_since = Timestamptz(default=None, null=True)


class Delivery(Table, tablename="delivery"):
    """One row per event and receiver; `kind` and `status` are labels of the domain's enumerations."""

    id = Varchar(length=None, default=None, primary_key=True)
    kind = Varchar(length=None, default=None)
    lane = Varchar(length=None, default=None)
    event_type = Varchar(length=None, default=None)
    event_id = Varchar(length=None, default=None)
    payload = JSONB(default=None)
    created_at = Timestamptz(default=None)
    due_at = Timestamptz(default=None)
    subject = Varchar(length=None, default=None, null=True)
    owner = Varchar(length=None, default=None, null=True)
    endpoint_id = ForeignKey(WebhookEndpoint, on_delete=OnDelete.cascade, null=True)
    recipient = Varchar(length=None, default=None, null=True)
    status = Varchar(length=None, default="pending")
    attempts = Integer(default=0)
    claims = Integer(default=0)
    lease_expires_at = Timestamptz(default=None, null=True)
    status_code = Integer(default=None, null=True)
    error = Varchar(length=None, default=None, null=True)
    log = JSONB(default="[]")
    finished_at = Timestamptz(default=None, null=True)

    delivery_once = Unique([endpoint_id, event_id])


class KeyUsage(Table, tablename="key_usage"):
    """One row per key with a quota and day, by UTC: the seconds of audio that it submitted then."""

    id = BigSerial(primary_key=True)  # Piccolo knows no primary key of two columns
    key_id = Varchar(length=None, default=None)
    day = Date(default=None)
    audio_seconds = DoublePrecision(default=0.0)

    key_usage_day = Unique([key_id, day])


class Batch(Table, tablename="batch"):
    """One row per batch; its jobs name it. `key` is what a client submitted it under, with what it asked for."""

    id = Varchar(length=None, default=None, primary_key=True)
    owner = Varchar(length=None, default=None, null=True)
    size = Integer(default=None)
    created_at = Timestamptz(default=None)
    description = Text(default=None, null=True)
    metadata = JSONB(default="{}")
    finished_at = Timestamptz(default=None, null=True)
    key = Varchar(length=None, default=None, null=True)
    fingerprint = Varchar(length=None, default=None, null=True)
