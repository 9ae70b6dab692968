"""The wire, continued: transcripts, as JSON and as files."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from audio_text.api.messages import SegmentView, WordView
from audio_text.domain.formats import TranscriptFormat
from audio_text.domain.job import JobStatus
from audio_text.domain.options import Task
from audio_text.domain.speakers import channel_name
from audio_text.domain.transcript import ChannelProgress
from audio_text.services.transcripts import StoredTranscript

MEDIA_TYPES = {
    TranscriptFormat.json: "application/json",
    TranscriptFormat.text: "text/plain",
    TranscriptFormat.vtt: "text/vtt",
    TranscriptFormat.srt: "application/x-subrip",
    TranscriptFormat.tsv: "text/tab-separated-values",
    TranscriptFormat.verbose_json: "application/json",
}
"""In order of preference where a client accepts several alike; verbose JSON has to be asked for by name."""


class ChannelView(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that is transcribed by itself. One that sounds like an earlier one throughout is not."""

    channel: Annotated[int, Meta(description="Counts from 1.", examples=[1])]
    speaker: Annotated[str, Meta(description="Its name.", examples=["Agent"])]
    language: Annotated[
        str | None, Meta(description="Language that is spoken; null while nobody spoke.", examples=["en"])
    ]
    language_probability: Annotated[float | None, Meta(description="How sure that is, 0-1.", examples=[0.98])]
    duration_after_vad: Annotated[float, Meta(description="Seconds of speech so far.", examples=[24.8])]

    @classmethod
    def of(cls, progress: ChannelProgress, names: Sequence[str]) -> "ChannelView":
        """Show what there is to know of a channel."""
        return cls(
            channel=progress.channel,
            speaker=channel_name(progress.channel, names),
            language=progress.language,
            language_probability=progress.language_probability,
            duration_after_vad=progress.duration_after_vad,
        )


class TranscriptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What JSON tells of a transcript before its segments."""

    job_id: Annotated[str, Meta(description="The job.", examples=["3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11"])]
    status: Annotated[JobStatus, Meta(description="Where the job stands.", examples=["completed"])]
    is_partial: Annotated[
        bool, Meta(description="Whether this is only what there is so far: the job is not completed.", examples=[False])
    ]
    progress: Annotated[float, Meta(description="Percent of the audio that is done, 0-100.", examples=[100.0])]
    task: Annotated[Task, Meta(description="Written down, or written down in English.", examples=["transcribe"])]
    language: Annotated[str | None, Meta(description="Language that was spoken.", examples=["en"])]
    language_probability: Annotated[float | None, Meta(description="How sure that is, 0-1.", examples=[0.98])]
    duration: Annotated[float | None, Meta(description="Seconds of audio.", examples=[61.3])]
    channels: Annotated[
        tuple[ChannelView, ...] | UnsetType,
        Meta(description="What is known of each channel, if they are transcribed separately."),
    ] = UNSET

    @classmethod
    def of(cls, stored: StoredTranscript) -> "TranscriptFacts":
        """Show what the job knows."""
        job = stored.job
        return cls(
            job_id=job.id,
            status=job.status,
            is_partial=stored.is_partial,
            progress=job.progress,
            task=job.options.task,
            language=job.language,
            language_probability=job.language_probability,
            duration=job.duration,
            channels=UNSET
            if job.channel_progress is None
            else tuple(ChannelView.of(progress, job.options.channel_names) for progress in job.channel_progress),
        )

    @property
    def fields(self) -> dict[str, object]:
        """What there is to tell, by name."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}


_Channel = Annotated[
    int | UnsetType, Meta(description="Its channel, counted from 1, if they were transcribed separately.", examples=[1])
]
_Speaker = Annotated[str | UnsetType, Meta(description="The channel's name, in the same case.", examples=["Agent"])]


class BriefSegmentView(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of speech; its times are seconds of the recording."""

    id: Annotated[int, Meta(description="Counts from 0 without gaps.", examples=[0])]
    start: Annotated[float, Meta(description="Where it begins.", examples=[0.0])]
    end: Annotated[float, Meta(description="Where it ends.", examples=[2.1])]
    text: Annotated[str, Meta(description="What was said.", examples=[" Good morning."])]
    words: Annotated[
        tuple[WordView, ...] | UnsetType, Meta(description="Its words, if the job was asked to time them.")
    ] = UNSET
    channel: _Channel = UNSET
    speaker: _Speaker = UNSET


class VerboseSegmentView(SegmentView, frozen=True, kw_only=True):
    """A stretch of speech with all that is known of it; its times are seconds of the recording."""

    speaker: _Speaker = UNSET


_Text = Annotated[str, Meta(description="The text of these segments in one.", examples=["Good morning."])]


class TranscriptView(TranscriptFacts, frozen=True, kw_only=True):
    """A transcript, or a page of it, as `format=json` gives it."""

    segments: Annotated[tuple[BriefSegmentView, ...], Meta(description="Segments, in order.")]
    text: _Text


class VerboseTranscriptView(TranscriptFacts, frozen=True, kw_only=True):
    """A transcript, or a page of it, as `format=verbose_json` gives it: with Whisper's scores."""

    segments: Annotated[tuple[VerboseSegmentView, ...], Meta(description="Segments, in order.")]
    text: _Text


_EXAMPLES = {
    TranscriptFormat.text: "Good morning.\n",
    TranscriptFormat.vtt: "WEBVTT\n\n00:00:00.000 --> 00:00:02.100\nGood morning.\n",
    TranscriptFormat.srt: "1\n00:00:00,000 --> 00:00:02,100\nGood morning.\n",
    TranscriptFormat.tsv: "start\tend\ttext\n0\t2100\tGood morning.\n",
}
CONTENT: dict[str, Any] = {
    "application/json": {
        "schema": {
            "anyOf": [
                {"$ref": "#/components/schemas/TranscriptView"},
                {"$ref": "#/components/schemas/VerboseTranscriptView"},
            ]
        }
    }
} | {
    MEDIA_TYPES[kind]: {"schema": {"type": "string"}, "examples": {kind.value: {"value": example}}}
    for kind, example in _EXAMPLES.items()
}
"""The answer's body in the OpenAPI document: the framework can say it of one media type only."""
