"""What the fields of OpenAI's forms mean here: each is honoured, ignored or refused (docs/reference/openai.md)."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from audio_text.domain.languages import language_code
from audio_text.domain.options import FALLBACK_TEMPERATURES, ChannelName, Channels, Task
from audio_text.errors import InvalidFieldError

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
Granularity = Literal["word", "segment"]
Name = Annotated[str, Meta(min_length=1, max_length=256)]

LONGEST_HOTWORDS = 4_000
LISTS = frozenset({"languages", "keywords", "include", "timestamp_granularities", "channel_names"})
SPEAKERS = frozenset({"known_speaker_names", "known_speaker_references"})
CHOICES = {
    "response_format": get_args(ResponseFormat),
    "timestamp_granularities": get_args(Granularity),
    "channels": [kind.value for kind in Channels],
}

_BRACKETS = re.compile(r"(?P<name>[^\[\]]+)\[(?P<key>[^\[\]]*)\]")
_AT = re.compile(r"(?P<what>.*) - at `\$\.(?P<field>\w+)[^`]*`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`.*")

T = TypeVar("T", bound="TranslationForm")


class ServerVad(msgspec.Struct, frozen=True, kw_only=True):
    """How speech is told from silence."""

    type: Annotated[Literal["server_vad"], Meta(description="The only kind there is.", examples=["server_vad"])]
    prefix_padding_ms: Annotated[
        int, Meta(ge=0, le=5_000, description="Kept around each stretch of speech.", examples=[300])
    ] = 300
    silence_duration_ms: Annotated[
        int, Meta(ge=0, le=60_000, description="Silence that ends a stretch of speech.", examples=[200])
    ] = 200
    threshold: Annotated[
        float, Meta(gt=0, lt=1, description="Probability above which a frame is speech.", examples=[0.5])
    ] = 0.5


class TranslationForm(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to be written down in English. Empty fields count as not sent."""

    model: Annotated[Name, Meta(description="A model, or one of OpenAI's names for one.", examples=["whisper-1"])]
    prompt: Annotated[
        Annotated[str, Meta(max_length=4_000)] | None,
        Meta(description="Text to set style and spelling.", examples=["Ms Ng"]),
    ] = None
    response_format: Annotated[ResponseFormat, Meta(description="What is answered.", examples=["json"])] = "json"
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Sampling temperature; 0 tries warmer ones where that seems to fail.", examples=[0]),
    ] = None

    @property
    def is_streamed(self) -> bool:
        """Whether the text is wanted as it comes."""
        return False

    @property
    def granularities(self) -> frozenset[Granularity]:
        """What verbose_json lists."""
        return frozenset({"segment"})

    @property
    def options(self) -> dict[str, object]:
        """What differs from the service's defaults, by the names of TranscriptionOptions."""
        chosen: dict[str, object] = {"task": Task.translate.value}
        if self.prompt:
            chosen["initial_prompt"] = self.prompt
        if self.temperature is not None:
            chosen["temperature"] = [self.temperature] if self.temperature else list(FALLBACK_TEMPERATURES)
        return chosen

    def check(self) -> None:
        """Raise InvalidFieldError for what cannot be done here."""
        if self.response_format == "diarized_json":
            raise InvalidFieldError(
                "`response_format` cannot be diarized_json: this service does not tell speakers apart.",
                field="response_format",
            )


class TranscriptionForm(TranslationForm, frozen=True, kw_only=True):
    """A recording to be written down. Lists may be sent as `name[]` or `name`, repeated or as JSON."""

    language: Annotated[
        str | None, Meta(description="What is spoken, as an ISO 639-1 code; detected by default.", examples=["en"])
    ] = None
    languages: Annotated[
        tuple[str, ...], Meta(description="A single one counts as `language`; more are ignored.", examples=[["en"]])
    ] = ()
    keywords: Annotated[tuple[str, ...], Meta(description="Words to expect.", examples=[["CTranslate2"]])] = ()
    timestamp_granularities: Annotated[
        tuple[Granularity, ...], Meta(description="What verbose_json lists.", examples=[["word"]])
    ] = ()
    stream: Annotated[bool | None, Meta(description="Whether text is sent as it is decoded.", examples=[True])] = None
    chunking_strategy: Annotated[
        Literal["auto"] | ServerVad | None,
        Meta(description="How speech is told from silence; also as `chunking_strategy[type]`…", examples=["auto"]),
    ] = None
    channels: Annotated[
        Channels | None,
        Meta(description="Not OpenAI's: `separate` transcribes each channel by itself.", examples=["separate"]),
    ] = None
    channel_names: Annotated[
        tuple[ChannelName, ...],
        Meta(max_length=32, description="Not OpenAI's: labels of the channels.", examples=[["Agent", "Customer"]]),
    ] = ()
    include: Annotated[tuple[str, ...], Meta(description="Refused: there are no logprobs here.", examples=[[]])] = ()

    @property
    def is_streamed(self) -> bool:
        """Whether the text is wanted as it comes."""
        return bool(self.stream)

    @property
    def granularities(self) -> frozenset[Granularity]:
        """What verbose_json lists."""
        return frozenset(self.timestamp_granularities or ("segment",))

    @property
    def options(self) -> dict[str, object]:
        """What differs from the service's defaults, by the names of TranscriptionOptions."""
        chosen = super().options | {"task": Task.transcribe.value}
        if language := self.language or (self.languages[0] if len(self.languages) == 1 else None):
            chosen["language"] = language_code(language)
        if self.keywords:
            chosen["hotwords"] = ", ".join(self.keywords)
        if "word" in self.timestamp_granularities:
            chosen["word_timestamps"] = True
        if self.chunking_strategy is not None:
            chosen["vad_filter"] = True
        if self.channels is not None:
            chosen["channels"] = self.channels.value
        if self.channel_names:
            chosen["channel_names"] = self.channel_names
        if isinstance(self.chunking_strategy, ServerVad):
            chosen["vad"] = {
                "threshold": self.chunking_strategy.threshold,
                "min_silence_duration_ms": self.chunking_strategy.silence_duration_ms,
                "speech_pad_ms": self.chunking_strategy.prefix_padding_ms,
            }
        return chosen

    def check(self) -> None:
        """Raise InvalidFieldError for what cannot be done here."""
        super().check()
        for field, languages in (("language", [self.language or "en"]), ("languages", self.languages)):
            for language in languages:
                if language_code(language) is None:
                    raise InvalidFieldError(
                        f"`{field}` is {language[:50]!r}, which is no language known here.", field=field
                    )
        if self.include:
            raise InvalidFieldError("`include` is not possible: there are no logprobs of tokens here.", field="include")
        if self.is_streamed and self.response_format not in {"json", "text"}:
            raise InvalidFieldError("`stream` is possible with the formats json and text only.", field="stream")
        if "word" in self.timestamp_granularities and self.response_format != "verbose_json":
            raise InvalidFieldError(
                "`timestamp_granularities` other than segment need `response_format` verbose_json.",
                field="timestamp_granularities",
            )
        if len(", ".join(self.keywords)) > LONGEST_HOTWORDS:
            raise InvalidFieldError(f"`keywords` are more than {LONGEST_HOTWORDS} characters.", field="keywords")


def understood(fields: Iterable[tuple[str, str]], kind: type[T]) -> tuple[T, list[str]]:
    """Give the form, and the names of fields that mean nothing here. Raises InvalidFieldError."""
    values = _gathered(fields)
    for name in SPEAKERS & values.keys():
        raise InvalidFieldError(f"`{name}` is not possible: this service does not tell speakers apart.", field=name)
    try:
        form = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    form.check()
    return form, sorted(values.keys() - set(kind.__struct_fields__))


def _gathered(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Put together what a form spells as `x`, `x[]` or `x[key]`; what is empty was not sent."""
    values: dict[str, Any] = {}
    for spelling, text in fields:
        match = _BRACKETS.fullmatch(spelling)
        name, key = (match["name"], match["key"]) if match else (spelling, "")
        if not text.strip() or text == "null":
            continue
        if name in LISTS | SPEAKERS:
            values.setdefault(name, []).extend(_items(name, text))
        elif key:
            table = values.setdefault(name, {})
            if not isinstance(table, dict):
                raise _twice(name)
            table[key] = text
        elif values.setdefault(name, _value(name, text)) != _value(name, text):
            raise _twice(name)
    return values


def _value(name: str, text: str) -> object:
    return _decoded(name, text) if name == "chunking_strategy" and text.lstrip().startswith("{") else text


def _items(name: str, text: str) -> list[Any]:
    items = _decoded(name, text) if text.lstrip().startswith("[") else [text]
    return items if isinstance(items, list) else [items]  # pyright: ignore[reportUnknownVariableType] -- whatever JSON holds


def _decoded(name: str, text: str) -> Any:  # noqa: ANN401 -- whatever JSON holds
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFieldError(f"`{name}` is not valid JSON.", field=name) from error


def _twice(name: str) -> InvalidFieldError:
    return InvalidFieldError(f"`{name[:100]}` was sent twice, and not the same.", field=name[:100])


def _invalid(message: str) -> InvalidFieldError:
    match = _AT.fullmatch(message)
    if match is None:
        missing = _MISSING.fullmatch(message)
        field = missing["field"] if missing else None
        return InvalidFieldError(
            f"`{field}` is missing." if field else f"The form is not usable: {message}.", field=field
        )
    field, what = match["field"], match["what"]
    possible = f" Possible: {', '.join(CHOICES[field])}." if field in CHOICES else ""
    return InvalidFieldError(f"`{field}` is not usable: {what[:1].lower()}{what[1:]}.{possible}", field=field)
