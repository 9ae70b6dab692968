"""The wire, continued: what travels over live sockets and streams, one JSON object with a `type` per message."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from audio_text.domain.job import Job, JobStatus
from audio_text.services.live import LiveUpdate

_SENTENCES = {
    JobStatus.pending: "Waiting for a worker.",
    JobStatus.completed: "The transcript is ready.",
    JobStatus.failed: "The job failed.",
    JobStatus.cancelled: "The job was cancelled.",
}

ConnectionId = Annotated[str, Meta(description="Names this connection in the logs.", examples=["9b1deb4d3b7d4bad"])]
JobId = Annotated[str, Meta(description="The job.", examples=["3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11"])]
Sentence = Annotated[str, Meta(description="A sentence for a person.", examples=["Waiting for a worker."])]
Timestamp = Annotated[datetime, Meta(description="When it was sent.", examples=["2030-01-01T12:00:00Z"])]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Anything the server sends."""


class WordView(msgspec.Struct, frozen=True, kw_only=True):
    """One word, with its times in seconds of the recording."""

    start: Annotated[float, Meta(description="Where it begins.", examples=[0.0])]
    end: Annotated[float, Meta(description="Where it ends.", examples=[0.42])]
    word: Annotated[str, Meta(description="The word, with the space before it.", examples=[" Good"])]
    probability: Annotated[float, Meta(description="How sure that is, 0-1.", examples=[0.93])]


class SegmentView(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of speech, with Whisper's own scores for it; its times are seconds of the recording."""

    id: Annotated[int, Meta(description="Counts from 0 without gaps.", examples=[0])]
    seek: Annotated[int, Meta(description="The 10-ms frame at which its window began.", examples=[0])]
    start: Annotated[float, Meta(description="Where it begins.", examples=[0.0])]
    end: Annotated[float, Meta(description="Where it ends.", examples=[2.1])]
    text: Annotated[str, Meta(description="What was said.", examples=[" Good morning."])]
    tokens: Annotated[tuple[int, ...], Meta(description="Whisper's tokens.", examples=[[50364, 2205, 2446, 13, 50469]])]
    temperature: Annotated[float, Meta(description="The temperature it was decoded at.", examples=[0.0])]
    avg_logprob: Annotated[float, Meta(description="Mean log probability of its tokens.", examples=[-0.21])]
    compression_ratio: Annotated[float, Meta(description="High means repetitive text.", examples=[1.1])]
    no_speech_prob: Annotated[float, Meta(description="How likely nobody speaks, 0-1.", examples=[0.01])]
    words: Annotated[tuple[WordView, ...] | None, Meta(description="Its words, if they were asked for.")] = None
    channel: Annotated[
        int | UnsetType | None,
        Meta(description="Its channel, counted from 1, where they are transcribed separately.", examples=[1]),
    ] = None


class Connected(Message, frozen=True, kw_only=True, tag="connected"):
    """The first message of every connection; `job_id` where it is about one job."""

    job_id: JobId | UnsetType = UNSET
    connection_id: ConnectionId
    request_id: Annotated[
        str, Meta(description="Names the connection in the service's log, as X-Request-ID does.", examples=["b1946ac9"])
    ]
    message: Sentence
    timestamp: Timestamp = msgspec.field(default_factory=lambda: datetime.now(UTC))


class JobUpdateMessage(Message, frozen=True, kw_only=True, tag="job_update"):
    """Where the job stands: at connect, at every change, and at the end, when the last fields come along."""

    job_id: JobId
    status: Annotated[JobStatus, Meta(description="The last three are final.", examples=["processing"])]
    progress: Annotated[float, Meta(description="Percent of the audio that is done, 0-100.", examples=[42.5])]
    message: Sentence
    event_id: Annotated[
        str, Meta(description="Pass it as `last_event_id` when you come back.", examples=["1767268800000-0"])
    ]
    segments: Annotated[tuple[SegmentView, ...], Meta(description="Segments that are new to this connection.")]
    queue_position: Annotated[
        int | UnsetType | None, Meta(description="Pending: how many jobs will be begun before it.", examples=[3])
    ] = UNSET
    eta_seconds: Annotated[
        float | UnsetType | None, Meta(description="Pending: seconds until it will be begun, roughly.", examples=[41.5])
    ] = UNSET
    result: Annotated[
        str | UnsetType | None, Meta(description="Completed: the transcript.", examples=["Good morning."])
    ] = UNSET
    language: Annotated[str | UnsetType | None, Meta(description="Completed: what was spoken.", examples=["en"])] = (
        UNSET
    )
    language_probability: Annotated[
        float | UnsetType | None, Meta(description="Completed: how sure that is.", examples=[0.98])
    ] = UNSET
    processing_time: Annotated[
        float | UnsetType | None, Meta(description="Wall time of the work, seconds.", examples=[8.4])
    ] = UNSET
    error: Annotated[
        str | UnsetType,
        Meta(description="Failed or cancelled: why, for a person.", examples=["The file has no sound track."]),
    ] = UNSET
    error_code: Annotated[
        str | UnsetType | None, Meta(description="Failed: why, for a program.", examples=["no_sound_track"])
    ] = UNSET

    @classmethod
    def of(cls, told: LiveUpdate) -> "JobUpdateMessage":
        """Put an update on the wire."""
        update = told.update
        message = cls(
            job_id=update.job_id,
            status=update.status,
            progress=update.progress,
            message=_SENTENCES.get(update.status) or f"Transcribing: {update.progress:.0f} % done.",
            event_id=told.event_id,
            segments=msgspec.convert(update.segments, tuple[SegmentView, ...], from_attributes=True),
        )
        if update.status is JobStatus.pending:
            position, eta_seconds = (told.place.position, told.place.eta_seconds) if told.place else (None, None)
            return msgspec.structs.replace(message, queue_position=position, eta_seconds=eta_seconds)
        if told.job is None or not update.status.is_terminal:
            return message
        return msgspec.structs.replace(message, **_ending(told.job))


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Nothing has happened for a while; the connection stands."""

    connection_id: ConnectionId
    message: Sentence = "Still here."
    timestamp: Timestamp = msgspec.field(default_factory=lambda: datetime.now(UTC))


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """The answer to a client's `ping`."""

    connection_id: ConnectionId
    timestamp: Timestamp = msgspec.field(default_factory=lambda: datetime.now(UTC))


class Unsubscribed(Message, frozen=True, kw_only=True, tag="unsubscribed"):
    """Nothing more comes of this job."""

    job_id: JobId


class ErrorMessage(Message, frozen=True, kw_only=True, tag="error"):
    """This job is not followed because of this. A connection that is about one job is about to be closed."""

    job_id: JobId | UnsetType = UNSET
    message: Sentence
    error: Annotated[str, Meta(description="The same for a program.", examples=["job_not_found"])]
    timestamp: Timestamp = msgspec.field(default_factory=lambda: datetime.now(UTC))


class ClientMessage(msgspec.Struct, frozen=True):
    """Anything a client sends; `pong` needs no answer, and types that are none of ours get none."""

    type: Annotated[str, Meta(description="`ping` is answered with `pong`.", examples=["ping"])] = ""

    @classmethod
    def read(cls, frame: str | bytes) -> Self:
        """Look at the type; a plain `ping` is one, too, and what cannot be read has none."""
        if frame in {"ping", b"ping"}:
            return cls("ping")
        try:
            return msgspec.json.decode(frame, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return cls()


class Subscribe(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="subscribe"):
    """Client, on a socket of several jobs: follow this one, from the cursor on. Said again, it begins anew."""

    job_id: JobId
    last_event_id: Annotated[
        str | None, Meta(description="The last `event_id` that was seen of it.", examples=["1767268800000-0"])
    ] = None


class Unsubscribe(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="unsubscribe"):
    """Client, on a socket of several jobs: follow this one no longer."""

    job_id: JobId


def _ending(job: Job) -> dict[str, Any]:
    if job.status is JobStatus.completed:
        return {
            "result": job.result_text,
            "language": job.language,
            "language_probability": job.language_probability,
            "processing_time": job.processing_time_seconds,
        }
    return {
        "error": job.error_message or _SENTENCES[job.status],
        "error_code": job.error_code,
        "processing_time": job.processing_time_seconds,
    }
