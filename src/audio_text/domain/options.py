"""How one recording is to be transcribed: the options of a job, in faster-whisper's spelling."""

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Whisper's own sequence: sample a little warmer each time the text looks like a failure."""


class Task(Enum):
    """Whisper's two tasks: write down, or write down in English."""

    transcribe = "transcribe"
    translate = "translate"


class Channels(Enum):
    """What is heard of a recording with several channels: all of them mixed, or each by itself."""

    mixed = "mixed"
    separate = "separate"


ChannelName = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern="^[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$"),
]
"""Stands in front of what is said on a channel: one line, as subtitles and tables need it."""


class VadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silero voice activity detection, faster-whisper's parameters."""

    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    min_speech_duration_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    max_speech_duration_s: Annotated[float, Meta(ge=1, le=36_000)] = 36_000.0
    min_silence_duration_ms: Annotated[int, Meta(ge=0, le=60_000)] = 500
    speech_pad_ms: Annotated[int, Meta(ge=0, le=5_000)] = 400


class TranscriptionOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every choice that changes the text. A job stores the complete set it runs with.

    `language` is an ISO 639-1 code as Whisper spells it, None to detect. The clip is a range in seconds
    of the recording, `clip_end_seconds` None meaning its end; times in the result stay those of the recording.
    `channel_names` are those of the first, second, … channel, where they are transcribed separately.
    """

    language: Annotated[str, Meta(pattern="^[a-z]{2,3}$")] | None = None
    task: Task = Task.transcribe
    beam_size: Annotated[int, Meta(ge=1, le=20)] = 5
    temperature: Annotated[tuple[Annotated[float, Meta(ge=0, le=1)], ...], Meta(min_length=1, max_length=10)] = (
        FALLBACK_TEMPERATURES
    )
    initial_prompt: Annotated[str, Meta(max_length=4_000)] | None = None
    hotwords: Annotated[str, Meta(max_length=4_000)] | None = None
    condition_on_previous_text: bool = True
    word_timestamps: bool = False
    vad_filter: bool = True
    vad: VadOptions = VadOptions()
    clip_start_seconds: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    clip_end_seconds: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    channels: Channels = Channels.mixed
    channel_names: Annotated[tuple[ChannelName, ...], Meta(max_length=32)] = ()

    @property
    def is_clip(self) -> bool:
        """Whether only a part of the recording is wanted."""
        return self.clip_start_seconds > 0 or self.clip_end_seconds is not None
