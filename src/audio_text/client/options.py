"""What may be chosen, in the service's own words; `/docs` of a running service says what each is for.

Whatever is left out keeps the service's default.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypedDict

TaskName = Literal["transcribe", "translate"]
ChannelsName = Literal["mixed", "separate"]
PriorityName = Literal["low", "normal", "high"]
StatusName = Literal["pending", "processing", "completed", "failed", "cancelled"]
SortName = Literal["creation_date", "finished_at", "duration"]
OrderName = Literal["asc", "desc"]
FormatName = Literal["json", "verbose_json", "text", "srt", "vtt", "tsv"]


class VadOptions(TypedDict, total=False):
    """Parameters of the speech detection, faster-whisper's."""

    threshold: float
    min_speech_duration_ms: int
    max_speech_duration_s: float
    min_silence_duration_ms: int
    speech_pad_ms: int


class Choices(TypedDict, total=False):
    """A model, and how it is to work: what changes the text."""

    model: str
    language: str
    task: TaskName
    beam_size: int
    temperature: float | Sequence[float]
    initial_prompt: str
    hotwords: str
    condition_on_previous_text: bool
    word_timestamps: bool
    vad_filter: bool
    vad: VadOptions
    clip_start_seconds: float
    clip_end_seconds: float
    channels: ChannelsName
    channel_names: Sequence[str]


class JobOptions(Choices, total=False):
    """Everything that a job can be submitted with."""

    description: str
    metadata: Mapping[str, str]
    priority: PriorityName
    reuse: bool
    expires_in: int
    deadline_in: int


class JobFilters(TypedDict, total=False):
    """Which jobs are listed, and in which order. Of several values of one filter any will do, of `metadata` all."""

    batch: str
    status: StatusName | Sequence[StatusName]
    model: str | Sequence[str]
    language: str | Sequence[str]
    created_after: datetime
    created_before: datetime
    metadata: Mapping[str, str]
    q: str
    sort: SortName
    order: OrderName


class CueOptions(TypedDict, total=False):
    """How subtitles are cut into cues."""

    max_line_width: int
    max_line_count: int
    max_cue_seconds: float
    max_characters_per_second: float
