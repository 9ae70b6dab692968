"""The wire: jobs, dead letters, health and problems; what else is sent has modules of its own, `*_views`."""

import re
from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from audio_text.domain.access import Caller, Scope
from audio_text.domain.backlog import QueuePlace
from audio_text.domain.job import AttemptEnd, AttemptRecord, Job, JobStatus, Priority
from audio_text.domain.options import TranscriptionOptions
from audio_text.errors import InvalidRequestError

LONGEST_NAME = 255

_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")
NAME: dict[str, Any] = {
    "minLength": 1,
    "maxLength": LONGEST_NAME,
    "pattern": r"^[^\x00-\x1f\x7f/\\]*[^\s\x00-\x1f\x7f\x85/\\][^\x00-\x1f\x7f/\\]*$",
}
"""The schema of a file's name. It is `check_name` that looks, and says what is wrong in words."""


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job. Every field is always there, null while it is not known; times are ISO 8601 with zone."""

    id: Annotated[str, Meta(description="The job's id.", examples=["3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11"])]
    filename: Annotated[str, Meta(description="The name it was submitted with.", examples=["talk.m4a"])]
    status: Annotated[JobStatus, Meta(description="Where it stands; the last three are final.", examples=["completed"])]
    creation_date: Annotated[datetime, Meta(description="When it was submitted.", examples=["2030-01-01T12:00:00Z"])]
    update_date: Annotated[datetime, Meta(description="When it last changed.", examples=["2030-01-01T12:00:09Z"])]
    result_text: Annotated[
        str | None,
        Meta(
            description="The transcript; null for a key without the scope `read`.", examples=["Good morning, everyone."]
        ),
    ]
    processing_time_seconds: Annotated[float | None, Meta(description="Wall time of the work.", examples=[8.4])]
    error_message: Annotated[
        str | None, Meta(description="Why it failed, for a person.", examples=["The file has no sound track."])
    ]
    language: Annotated[str | None, Meta(description="Language that was spoken.", examples=["en"])]
    language_probability: Annotated[float | None, Meta(description="How sure that is, 0-1.", examples=[0.98])]
    whisper_model: Annotated[str, Meta(description="The model.", examples=["base"])]
    tier: Annotated[str, Meta(description="The group of models that its queue serves.", examples=["audio_small"])]
    priority: Annotated[Priority, Meta(description="Its class among those that wait.", examples=["normal"])]
    options: Annotated[TranscriptionOptions, Meta(description="The complete options it runs with.", examples=[{}])]
    description: Annotated[str | None, Meta(description="The submitter's note.", examples=["Budget meeting"])]
    metadata: Annotated[
        dict[str, str], Meta(description="The submitter's own data.", examples=[{"project": "budget", "year": "2030"}])
    ]
    reuse: Annotated[bool, Meta(description="Whether an earlier job's transcript may answer it.", examples=[False])]
    reused_from: Annotated[
        str | None,
        Meta(
            description="The earlier job that its transcript is from; null where it was transcribed itself.",
            examples=[None],
        ),
    ]
    deadline: Annotated[
        datetime | None,
        Meta(description="When it fails unless a worker has begun it by then.", examples=["2030-01-01T13:00:00Z"]),
    ]
    progress: Annotated[float, Meta(description="Percent of the audio that is done, 0-100.", examples=[100.0])]
    duration: Annotated[float | None, Meta(description="Seconds of audio.", examples=[61.3])]
    duration_after_vad: Annotated[float | None, Meta(description="Seconds of it that are speech.", examples=[48.2])]
    real_time_factor: Annotated[
        float | None, Meta(description="Processing seconds per second of audio.", examples=[0.14])
    ]
    attempt: Annotated[int, Meta(description="How often a worker has taken it.", examples=[1])]
    started_at: Annotated[
        datetime | None, Meta(description="When a worker first took it.", examples=["2030-01-01T12:00:01Z"])
    ]
    finished_at: Annotated[datetime | None, Meta(description="When it ended.", examples=["2030-01-01T12:00:09Z"])]
    expires_in: Annotated[
        int | None, Meta(description="Seconds from its end until it is removed; null if it stays.", examples=[604_800])
    ]
    expires_at: Annotated[
        datetime | None,
        Meta(
            description="When it will be removed with all it has; null while it has not ended, or if it stays.",
            examples=["2030-01-08T12:00:09Z"],
        ),
    ]
    error_code: Annotated[str | None, Meta(description="Why it failed, for a program.", examples=["no_sound_track"])]
    is_dead_letter: Annotated[
        bool, Meta(description="Whether it failed because its attempts were used up.", examples=[False])
    ]
    recomputed_seconds: Annotated[
        float, Meta(description="Seconds of audio that were decoded again after crashes, at most.", examples=[0.0])
    ]
    device: Annotated[str | None, Meta(description="What it was transcribed on: cpu or cuda.", examples=["cpu"])]
    compute_type: Annotated[
        str | None,
        Meta(description="The arithmetic it was really transcribed with.", examples=["int8_float32"]),
    ]
    request_id: Annotated[str | None, Meta(description="X-Request-ID of the submission.", examples=["b1946ac9"])]
    source: Annotated[
        str | None,
        Meta(
            description="Where the recording is fetched from, without what follows a `?`; null for an upload.",
            examples=["https://media.example/talk.m4a"],
        ),
    ]
    queue_position: Annotated[
        int | None,
        Meta(
            description="How many jobs will be begun before it, where it is read while it waits for a worker.",
            examples=[3],
        ),
    ]
    eta_seconds: Annotated[
        float | None,
        Meta(
            description="Seconds until it will be begun, estimated from the audio ahead of it and the speed of the "
            "last jobs; null while nobody is at work on its tier.",
            examples=[41.5],
        ),
    ]

    @classmethod
    def of(cls, job: Job, place: QueuePlace | None = None, *, caller: Caller) -> "JobView":
        """Show a job as the caller may see it, and its place in the queue where that is known.

        The transcript is for those who may read: routes that take other scopes answer with jobs, too.
        """
        same = {name: getattr(job, name) for name in _SHOWN_AS_THEY_ARE}
        if Scope.read not in caller.scopes:
            same["result_text"] = None
        position, eta_seconds = (place.position, place.eta_seconds) if place else (None, None)
        return cls(
            **same,
            expires_in=job.expires_in_seconds,
            source=job.url if job.source_url else None,
            queue_position=position,
            eta_seconds=eta_seconds,
        )


_SHOWN_AS_THEY_ARE = tuple(name for name in JobView.__struct_fields__ if name in Job.__struct_fields__)


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker fared with a job; `ended_at` and `end` are null while it works."""

    claim: Annotated[int, Meta(description="Counts every time that a worker took the job.", examples=[1])]
    attempt: Annotated[int, Meta(description="The job's attempt at that time.", examples=[1])]
    started_at: Annotated[datetime, Meta(description="When it took the job.", examples=["2030-01-01T12:00:01Z"])]
    position: Annotated[float, Meta(description="Where in the recording it began, in seconds.", examples=[0.0])]
    ended_at: Annotated[datetime | None, Meta(description="When it ended.", examples=["2030-01-01T12:00:09Z"])]
    end: Annotated[AttemptEnd | None, Meta(description="How it ended.", examples=["completed"])]
    error_code: Annotated[str | None, Meta(description="What went wrong, for a program.", examples=["out_of_memory"])]
    error_message: Annotated[
        str | None, Meta(description="What went wrong, for a person.", examples=["There was not enough memory."])
    ]

    @classmethod
    def of(cls, record: AttemptRecord) -> Self:
        """Show an attempt; which machine it was is none of a client's business."""
        return cls(**{name: getattr(record, name) for name in cls.__struct_fields__})


class WorkerAttemptView(AttemptView, frozen=True, kw_only=True):
    """How a worker fared with a job, and which one it was."""

    owner: Annotated[str, Meta(description="The worker: its machine and process.", examples=["gpu-2:417"])]


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A job whose attempts were used up, and how each of them ended."""

    job: Annotated[JobView, Meta(description="The job.")]
    attempts: Annotated[list[WorkerAttemptView], Meta(description="Attempts, oldest first.")]

    @classmethod
    def of(cls, job: Job, attempts: list[AttemptRecord], *, caller: Caller) -> "DeadLetterView":
        """Show a dead letter as an operator sees it."""
        return cls(job=JobView.of(job, caller=caller), attempts=[WorkerAttemptView.of(record) for record in attempts])


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The API answers."""

    message: Annotated[str, Meta(description="A sentence.", examples=["audio-text is running."])]


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the service stands on."""

    status: Annotated[str, Meta(description="`up` or `down`.", examples=["up"])]
    detail: Annotated[str | None, Meta(description="What is wrong, when it is down.", examples=[None])] = None


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether work can be done just now."""

    status: Annotated[str, Meta(description="`ready` or `unavailable`.", examples=["ready"])]
    detail: Annotated[str, Meta(description="A sentence.", examples=["Everything is up."])]
    dependencies: Annotated[
        dict[str, Dependency],
        Meta(
            description="database, queue, events and store.", examples=[{"database": {"status": "up", "detail": None}}]
        ),
    ]


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field."""

    field: Annotated[str, Meta(description="Its name.", examples=["beam_size"])]
    message: Annotated[str, Meta(description="What is wrong.", examples=["is not usable: expected `int` <= 20"])]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request failed (RFC 9457)."""

    type: Annotated[str, Meta(description="The kind of problem.", examples=["urn:audio-text:problem:unknown_model"])]
    title: Annotated[str, Meta(description="The kind of problem, in words.", examples=["Unknown model"])]
    status: Annotated[int, Meta(description="The HTTP status.", examples=[400])]
    detail: Annotated[str, Meta(description="A sentence for a person.", examples=["There is no model 'huge' here."])]
    code: Annotated[str, Meta(description="The kind of problem, for a program.", examples=["unknown_model"])]
    instance: Annotated[str, Meta(description="The path that was asked for.", examples=["/api/v1/job/transcribe"])]
    request_id: Annotated[str, Meta(description="X-Request-ID, also in the logs.", examples=["b1946ac9"])]
    errors: Annotated[tuple[FieldProblem, ...], Meta(description="The fields at fault, if any.", examples=[[]])] = ()


def check_name(filename: str) -> None:
    """Refuse what is no plain file name; a name is only ever a label, never a path."""
    if not filename.strip():
        raise InvalidRequestError("`filename` is empty.")
    if len(filename) > LONGEST_NAME:
        raise InvalidRequestError(f"`filename` is longer than {LONGEST_NAME} characters.")
    if _NOT_IN_A_NAME.search(filename):
        raise InvalidRequestError("`filename` must be a plain file name: no folders, no control characters.")
