"""Transcripts as OpenAI's clients read them: bodies and events, with exactly its names."""

import math
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response
from msgspec import UNSET, Meta, UnsetType

from audio_text.api.openai.fields import TranslationForm
from audio_text.domain.formats import TranscriptFormat, render
from audio_text.domain.job import Job
from audio_text.domain.languages import NAMES
from audio_text.domain.options import Task
from audio_text.domain.speakers import Speakers, no_speakers, speakers_of
from audio_text.domain.transcript import Segment, Word

ENGLISH = NAMES["en"]
UNKNOWN = "unknown"
"""Nobody spoke."""

_SUBTITLES = {"srt": TranscriptFormat.srt, "vtt": TranscriptFormat.vtt}


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What was worked on."""

    type: Annotated[Literal["duration"], Meta(description="Always `duration`.", examples=["duration"])] = "duration"
    seconds: Annotated[int, Meta(description="Length of the recording, rounded up.", examples=[9])]


class Transcription(msgspec.Struct, frozen=True, kw_only=True):
    """The text; `response_format` json."""

    text: Annotated[str, Meta(description="The transcript.", examples=["Good morning."])]
    usage: Annotated[Usage, Meta(description="What was worked on.")]


class VerboseWord(msgspec.Struct, frozen=True, kw_only=True):
    """One word, with its times in seconds of the recording."""

    word: Annotated[str, Meta(description="The word.", examples=["Good"])]
    start: Annotated[float, Meta(description="Where it begins.", examples=[0.0])]
    end: Annotated[float, Meta(description="Where it ends.", examples=[0.42])]


class VerboseSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of speech, with Whisper's own scores for it; its times are seconds of the recording."""

    id: Annotated[int, Meta(description="Counts from 0.", examples=[0])]
    seek: Annotated[int, Meta(description="The 10-ms frame at which its window began.", examples=[0])]
    start: Annotated[float, Meta(description="Where it begins.", examples=[0.0])]
    end: Annotated[float, Meta(description="Where it ends.", examples=[2.1])]
    text: Annotated[str, Meta(description="What was said.", examples=[" Good morning."])]
    tokens: Annotated[tuple[int, ...], Meta(description="Whisper's tokens.", examples=[[50364, 2205, 2446, 13, 50469]])]
    temperature: Annotated[float, Meta(description="The temperature it was decoded at.", examples=[0.0])]
    avg_logprob: Annotated[float, Meta(description="Mean log probability of its tokens.", examples=[-0.21])]
    compression_ratio: Annotated[float, Meta(description="High means repetitive text.", examples=[1.1])]
    no_speech_prob: Annotated[float, Meta(description="How likely nobody speaks, 0-1.", examples=[0.01])]
    speaker: Annotated[
        str | UnsetType,
        Meta(description="The channel's name, if they were transcribed separately.", examples=["Agent"]),
    ] = UNSET


class VerboseTranscription(msgspec.Struct, frozen=True, kw_only=True):
    """The text with times and scores; `response_format` verbose_json."""

    task: Annotated[str, Meta(description="`transcribe` or `translate`.", examples=["transcribe"])]
    language: Annotated[str, Meta(description="English name of the language, in lower case.", examples=["english"])]
    duration: Annotated[float, Meta(description="Seconds of audio.", examples=[8.47])]
    text: Annotated[str, Meta(description="The transcript.", examples=["Good morning."])]
    segments: Annotated[
        tuple[VerboseSegment, ...] | UnsetType, Meta(description="By default, and when `segment` was asked for.")
    ] = UNSET
    words: Annotated[tuple[VerboseWord, ...] | UnsetType, Meta(description="When `word` was asked for.")] = UNSET
    usage: Annotated[Usage, Meta(description="What was worked on.")]


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="transcript.text.delta"):
    """Streamed: the next piece of text. All of them together are the transcript."""

    delta: Annotated[str, Meta(description="The piece, with the space before it.", examples=[" Good morning."])]


class TextDone(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="transcript.text.done"):
    """Streamed, last: the transcript."""

    text: Annotated[str, Meta(description="The transcript.", examples=["Good morning."])]


def reply(form: TranslationForm, job: Job, segments: list[Segment]) -> Response[Any]:
    """Write the transcript of a completed job in the format that was asked for."""
    match form.response_format:
        case "text":
            return Response(job.result_text or "", status_code=200, media_type="text/plain")
        case "srt" | "vtt" as subtitles:
            # As OpenAI does: neither application/x-subrip nor text/vtt.
            text = render(_SUBTITLES[subtitles], segments, speakers=speakers_of(job.options))
            return Response(text, status_code=200, media_type="text/plain")
        case "verbose_json":
            return Response(_verbose(form, job, segments), status_code=200, media_type="application/json")
        case _:
            answer = Transcription(text=job.result_text or "", usage=_usage(job))
            return Response(answer, status_code=200, media_type="application/json")


def _verbose(form: TranslationForm, job: Job, segments: list[Segment]) -> VerboseTranscription:
    is_translated = job.options.task is Task.translate
    speakers = speakers_of(job.options) or no_speakers
    words = tuple(_word(word) for segment in segments for word in segment.words or ())
    return VerboseTranscription(
        task=job.options.task.value,
        language=ENGLISH if is_translated else NAMES.get(job.language or "", job.language or UNKNOWN),
        duration=job.duration or 0.0,
        text=job.result_text or "",
        segments=tuple(_segment(segment, speakers) for segment in segments)
        if "segment" in form.granularities
        else UNSET,
        words=words if "word" in form.granularities else UNSET,
        usage=_usage(job),
    )


def _segment(segment: Segment, speakers: Speakers) -> VerboseSegment:
    view = msgspec.convert(segment, VerboseSegment, from_attributes=True)
    speaker = speakers(segment)
    return view if speaker is None else msgspec.structs.replace(view, speaker=speaker)


def _word(word: Word) -> VerboseWord:
    return VerboseWord(word=word.word.strip(), start=word.start, end=word.end)


def _usage(job: Job) -> Usage:
    return Usage(seconds=math.ceil(job.duration or 0.0))
