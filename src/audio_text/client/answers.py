"""What the service says, as this client reads it: fields that it does not know are passed over.

The words are the service's own (`api/dto.py`, `api/messages.py`, `api/transcript_views.py`), which a test compares.
A field that a service of another version may not send has a default.
"""

from datetime import datetime
from typing import TypeVar

import msgspec

from audio_text.domain import transcript
from audio_text.domain.job import AttemptEnd, JobStatus, Priority
from audio_text.domain.options import Task
from audio_text.errors import ServerRefusedError

T = TypeVar("T")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that the service's store has: what a job is submitted with. `filename` is only a label."""

    url: str
    filename: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job. Times are aware, `progress` is percent 0-100, durations are seconds; None: not known, or not yet."""

    id: str
    filename: str
    status: JobStatus
    creation_date: datetime | None = None
    update_date: datetime | None = None
    result_text: str | None = None
    processing_time_seconds: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    language: str | None = None
    language_probability: float | None = None
    whisper_model: str | None = None
    tier: str | None = None
    priority: Priority = Priority.normal
    options: dict[str, object] = {}
    description: str | None = None
    metadata: dict[str, str] = {}
    reuse: bool = False
    reused_from: str | None = None
    deadline: datetime | None = None
    progress: float = 0.0
    duration: float | None = None
    duration_after_vad: float | None = None
    real_time_factor: float | None = None
    attempt: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_in: int | None = None
    expires_at: datetime | None = None
    is_dead_letter: bool = False
    recomputed_seconds: float = 0.0
    request_id: str | None = None
    source: str | None = None
    device: str | None = None
    compute_type: str | None = None
    queue_position: int | None = None
    eta_seconds: float | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some jobs of a list; `cursor` leads to those after them, None where there are none."""

    jobs: tuple[Job, ...]
    cursor: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker fared with a job; `ended_at` and `end` are None while it works, `position` is in seconds."""

    claim: int
    attempt: int
    started_at: datetime
    position: float
    ended_at: datetime | None = None
    end: AttemptEnd | None = None
    error_code: str | None = None
    error_message: str | None = None


class Segment(transcript.Segment, frozen=True, kw_only=True):
    """A stretch of speech; `speaker` is its channel's name in the transcript of a job that hears each by itself."""

    speaker: str | None = None


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """News of a job that is followed: segments are those not told before, the last fields come with the end."""

    job_id: str
    status: JobStatus
    progress: float = 0.0
    message: str = ""
    event_id: str | None = None
    queue_position: int | None = None
    eta_seconds: float | None = None
    segments: tuple[Segment, ...] = ()
    result: str | None = None
    language: str | None = None
    language_probability: float | None = None
    processing_time: float | None = None
    error: str | None = None
    error_code: str | None = None


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that is transcribed by itself; `channel` counts from 1, `duration_after_vad` is seconds of speech."""

    channel: int
    speaker: str
    language: str | None = None
    language_probability: float | None = None
    duration_after_vad: float = 0.0


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What a job has transcribed; `is_partial` while, or because, it is not completed."""

    job_id: str
    status: JobStatus
    is_partial: bool
    text: str
    segments: tuple[Segment, ...]
    progress: float = 0.0
    task: Task = Task.transcribe
    language: str | None = None
    language_probability: float | None = None
    duration: float | None = None
    channels: tuple[Channel, ...] = ()


def decoded(message: str | bytes, kind: type[T]) -> T:
    """Read JSON. Raises ServerRefusedError."""
    try:
        return msgspec.json.decode(message, type=kind)
    except msgspec.DecodeError as error:
        raise ServerRefusedError(f"The server sent what this client does not understand: {error}.") from error
