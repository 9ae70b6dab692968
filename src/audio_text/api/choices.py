"""The wire: what a client may choose about how its recording is transcribed."""

from typing import Annotated

import msgspec
from msgspec import Meta

from audio_text.domain.options import FALLBACK_TEMPERATURES, ChannelName, Channels, Task, TranscriptionOptions
from audio_text.errors import InvalidRequestError

Temperature = Annotated[float, Meta(ge=0, le=1)]
NO_NUL = {"pattern": "^[^\\x00]*$"}
"""The schema of a text that the database can store; it is `refuse_nul` that looks, and says it in words."""

Prompt = Annotated[str, Meta(max_length=4_000, extra_json_schema=NO_NUL)]
Name = Annotated[str, Meta(extra_json_schema=NO_NUL)]


class VadChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the voice activity detection; what is left out keeps the service's default."""

    threshold: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Probability above which a frame is speech.", examples=[0.5]),
    ] = None
    min_speech_duration_ms: Annotated[
        Annotated[int, Meta(ge=0, le=60_000)] | None,
        Meta(description="Shorter bursts are not speech.", examples=[250]),
    ] = None
    max_speech_duration_s: Annotated[
        Annotated[float, Meta(ge=1, le=36_000)] | None, Meta(description="Longer stretches are split.", examples=[600])
    ] = None
    min_silence_duration_ms: Annotated[
        Annotated[int, Meta(ge=0, le=60_000)] | None,
        Meta(description="Silence that ends a stretch of speech.", examples=[500]),
    ] = None
    speech_pad_ms: Annotated[
        Annotated[int, Meta(ge=0, le=5_000)] | None,
        Meta(description="Kept around each stretch of speech.", examples=[400]),
    ] = None


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model and options. Whatever is left out or null is not chosen."""

    model: Annotated[Name | None, Meta(description="The model, one of the service's list.", examples=["base"])] = None
    mode: Annotated[Name | None, Meta(description="Older name of `model`.", examples=["base"])] = None
    language: Annotated[
        Annotated[str, Meta(pattern="^[a-z]{2,3}$")] | None,
        Meta(description="Language that is spoken, as a lower-case code; detected by default.", examples=["en"]),
    ] = None
    task: Annotated[Task | None, Meta(description="Write down, or write down in English.", examples=["transcribe"])] = (
        None
    )
    beam_size: Annotated[
        Annotated[int, Meta(ge=1, le=20)] | None, Meta(description="Candidates kept while decoding.", examples=[5])
    ] = None
    temperature: Annotated[
        Temperature | Annotated[tuple[Temperature, ...], Meta(min_length=1, max_length=10)] | None,
        Meta(
            description="Sampling temperature, or those to try in turn when a window looks like a failure; "
            "0 stands for Whisper's own sequence.",
            examples=[0],
        ),
    ] = None
    initial_prompt: Annotated[
        Prompt | None, Meta(description="Text to put before the first window: names, spelling.", examples=["Ms Ng"])
    ] = None
    hotwords: Annotated[Prompt | None, Meta(description="Words to expect.", examples=["CTranslate2"])] = None
    condition_on_previous_text: Annotated[
        bool | None, Meta(description="Give each window the text before it.", examples=[True])
    ] = None
    word_timestamps: Annotated[bool | None, Meta(description="Time every word.", examples=[False])] = None
    vad_filter: Annotated[bool | None, Meta(description="Skip what is not speech.", examples=[True])] = None
    vad: Annotated[
        VadChoice | None,
        Meta(description="Parameters of the speech detection.", examples=[{"min_silence_duration_ms": 500}]),
    ] = None
    clip_start_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="Begin here, in seconds of the recording.", examples=[0]),
    ] = None
    clip_end_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000)] | None,
        Meta(description="End here, in seconds of the recording.", examples=[60]),
    ] = None
    channels: Annotated[
        Channels | None,
        Meta(
            description="Mixed, or each channel by itself: its segments are labelled with it and merged by time.",
            examples=["mixed"],
        ),
    ] = None
    channel_names: Annotated[
        Annotated[tuple[ChannelName, ...], Meta(max_length=32)] | None,
        Meta(
            description="Labels of the channels, in their order; others go by number.", examples=[["Agent", "Customer"]]
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.model and self.mode and self.model != self.mode:
            raise InvalidRequestError("`model` and its older name `mode` say different things: send one of them.")
        refuse_nul(model=self.model, mode=self.mode, initial_prompt=self.initial_prompt, hotwords=self.hotwords)

    @property
    def options(self) -> dict[str, object]:
        """What differs from the service's defaults, by the names of TranscriptionOptions."""
        names = TranscriptionOptions.__struct_fields__
        chosen = {name: msgspec.to_builtins(getattr(self, name)) for name in names}
        if self.temperature is not None and not isinstance(self.temperature, tuple):
            chosen["temperature"] = [self.temperature] if self.temperature else FALLBACK_TEMPERATURES
        if self.vad is not None:
            chosen["vad"] = {name: value for name, value in chosen["vad"].items() if value is not None}
        return {name: value for name, value in chosen.items() if value is not None}


class RetryRequest(Choices, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a job is to be done again with. Whatever is left out or null stays as it was."""


def refuse_nul(**texts: str | None) -> None:
    """Raise InvalidRequestError naming a text that the database could not store."""
    for name, text in texts.items():
        if "\x00" in (text or ""):
            raise InvalidRequestError(f"`{name}` holds a NUL character, which no text needs.")
