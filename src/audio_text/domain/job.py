"""The job: what the user sees, and the moves it may make."""

from datetime import datetime
from enum import StrEnum

import msgspec

from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import ChannelProgress, NextWindow


class JobStatus(StrEnum):
    """Where a job stands; the last three are final."""

    pending = "pending"
    processing = "processing"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to the job."""
        return not LEGAL_TRANSITIONS[self]


LEGAL_TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.pending: frozenset({JobStatus.processing, JobStatus.failed, JobStatus.cancelled}),
    JobStatus.processing: frozenset({JobStatus.pending, JobStatus.completed, JobStatus.failed, JobStatus.cancelled}),
    JobStatus.completed: frozenset(),
    JobStatus.failed: frozenset(),
    JobStatus.cancelled: frozenset(),
}
"""What workers and clients may do to a job; only an explicit retry takes a failed or cancelled one back to pending."""


class Priority(StrEnum):
    """How urgent a job is: those of a higher class are taken first, whoever submitted them."""

    low = "low"
    normal = "normal"
    high = "high"

    def exceeds(self, other: "Priority") -> bool:
        """Whether jobs of this class go before those of the other."""
        classes = list(Priority)
        return classes.index(self) > classes.index(other)


MOST_METADATA = 16
"""Keys that one job may have."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to be transcribed: one row of `transcription_job`.

    Times are aware UTC; `progress` is percent 0-100 of audio time; durations are seconds of audio.
    `url` is the address of the upload without its signature. `claims` counts every claim and is the fencing token
    of the newest; `attempt` counts only those that were spent, not those that a stopping worker gave back.
    `owner` is who submitted it, None where nobody has a name, with the key `key_id`; workers serve owners in turn.
    `metadata` is its owner's. It may be one of a batch. With a `source_url` the recording lies elsewhere, and a worker
    brings it into the store before anything else.
    A job that nobody has begun by its `deadline` is not begun any more, and fails.
    `position`: seconds of audio (of the clip, when only a clip is wanted) that are done and stored, where the next
    attempt goes on; `block_start`, in seconds of the recording: where the block began that this lies in;
    `next_window`: where in that block the model goes on;
    `channel_progress`: the same for each channel, where they are transcribed separately.
    `recomputed_seconds`: audio that was decoded again after crashes, at most: a lost attempt counts
    as the one window beyond `position` that it may have decoded. `device` and `compute_type` are those that the
    newest segments were made with. `audio_sha256`, in hexadecimal, is that of the recording once the job is completed;
    with `reuse`, this may be done with what an earlier one said: `reused_from`. `expires_at` is set when the job ends,
    `expires_in_seconds` later, and only where that is given: then all of it goes.
    Within a quota, `reserved_seconds` are taken of its key's day as long as nobody knows the duration, and
    `day_limit_seconds` is what that day may come to when it turns out.
    """

    id: str
    filename: str
    url: str
    object_key: str
    file_size_bytes: int
    content_type: str | None
    status: JobStatus
    whisper_model: str
    tier: str
    options: TranscriptionOptions
    creation_date: datetime
    update_date: datetime
    description: str | None = None
    request_id: str | None = None
    owner: str | None = None
    key_id: str | None = None
    batch_id: str | None = None
    source_url: str | None = None
    metadata: dict[str, str] = {}
    priority: Priority = Priority.normal
    reuse: bool = False
    deadline: datetime | None = None
    attempt: int = 0
    claims: int = 0
    position: float = 0.0
    block_start: float | None = None
    next_window: NextWindow | None = None
    channel_progress: tuple[ChannelProgress, ...] | None = None
    recomputed_seconds: float = 0.0
    device: str | None = None
    compute_type: str | None = None
    audio_sha256: str | None = None
    reused_from: str | None = None
    is_dead_letter: bool = False
    expires_in_seconds: int | None = None
    expires_at: datetime | None = None
    lease_owner: str | None = None
    lease_expires_at: datetime | None = None
    available_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: float = 0.0
    duration: float | None = None
    duration_after_vad: float | None = None
    processing_time_seconds: float | None = None
    real_time_factor: float | None = None
    language: str | None = None
    language_probability: float | None = None
    result_text: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    reserved_seconds: float | None = None
    day_limit_seconds: float | None = None


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """How a successful attempt ends. Durations are seconds of audio, the processing time is wall time."""

    result_text: str
    duration: float
    duration_after_vad: float
    processing_time_seconds: float
    language: str | None
    language_probability: float | None
    audio_sha256: str | None = None

    @property
    def real_time_factor(self) -> float | None:
        """Processing seconds per second of audio; None for an empty recording."""
        return self.processing_time_seconds / self.duration if self.duration > 0 else None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ends for good, with a stable code and a sentence for a person.

    A dead letter has used up its attempts: an operator may look at it and run it again.
    """

    error_code: str
    error_message: str
    processing_time_seconds: float
    is_dead_letter: bool = False


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long after its end a job still needs its recording, in seconds; None: as long as the job is there.

    `retryable_seconds` is for failed and cancelled jobs. One that is not over always needs its recording.
    """

    completed_seconds: float | None
    retryable_seconds: float | None


class AttemptEnd(StrEnum):
    """How one attempt at a job ended; `lost`: its worker went silent."""

    completed = "completed"
    failed = "failed"
    retried = "retried"
    handed_back = "handed_back"
    cancelled = "cancelled"
    lost = "lost"


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One claim of a job, from its beginning to its end; both `ended_at` and `end` are None while it runs."""

    claim: int
    attempt: int
    owner: str
    started_at: datetime
    position: float
    ended_at: datetime | None = None
    end: AttemptEnd | None = None
    error_code: str | None = None
    error_message: str | None = None
