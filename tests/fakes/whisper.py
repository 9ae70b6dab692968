"""A Whisper that understands a language of its own: each word is a stretch of one constant level."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from audio_text.adapters.audio_decoding import Samples
from audio_text.adapters.whisper import FRAME_SAMPLES, HeardWindow, VendorInfo, VendorSegment, Whisper, WindowStart
from recordings import RATE

GARBLED = "?"

INAUDIBLE_SAMPLES = 32
"""Two milliseconds; times are told in whole ones."""


class SpokenWord(NamedTuple):
    """Number `number` of the recording, in the sentence `sentence`, for `length` samples, then `pause` of silence."""

    number: int
    sentence: int
    length: int
    pause: int


def speak(words: Sequence[SpokenWord]) -> Samples:
    """A recording of the words; none may be longer than a few thousand."""
    pieces = [np.repeat(np.array([word.number + 1, 0], np.int16), [word.length, word.pause]) for word in words]
    return np.concatenate(pieces)


def speech_of(samples: Samples) -> list[float]:
    """The voice detector's part."""
    frames = samples[: samples.size // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return [float(share) for share in (frames != 0).mean(axis=1)]


@dataclass
class FakeWhisper:
    """Writes a segment for every sentence, and a question mark for every word of which it hears only a part.

    A window of it holds two sentences.
    """

    words: Sequence[SpokenWord]
    temperature: float = 0.0
    supported_languages: Sequence[str] = ("en", "fr", "es")
    options: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Those of every call, in order."""

    @property
    def model(self) -> Any:
        return SimpleNamespace(device="cpu", compute_type="int8_float32")

    @property
    def hf_tokenizer(self) -> Any:
        def encode(text: str, *, add_special_tokens: bool) -> SimpleNamespace:
            return SimpleNamespace(ids=[ord(letter) for letter in text])

        def decode(tokens: Sequence[int]) -> str:
            return "".join(map(chr, tokens))

        return SimpleNamespace(encode=encode, decode=decode, token_to_id={"<|en|>": 1, "<|fr|>": 2}.get)

    def transcribe_from(
        self, start: WindowStart, audio: NDArray[np.float32], **options: Any
    ) -> tuple[Iterator[HeardWindow], VendorInfo]:
        self.options.append(options)
        levels = np.round(audio * 32_768).astype(int)
        heard = [self._hear(levels, first, last) for first, last in runs(levels)]
        sentences = [list(words) for _, words in groupby(heard, key=lambda word: self.words[word.number].sentence)]
        info = SimpleNamespace(
            language=options["language"] or ("fr" if heard else "es"),
            language_probability=0.75,
            duration_after_vad=float((levels != 0).sum() / RATE),
        )
        left = [words for words in sentences if frame_of(words[0].first) >= start.frame]
        pairs = (left[first : first + 2] for first in range(0, len(left), 2))
        return (self._window(pair) for pair in pairs), cast("VendorInfo", info)

    def _hear(self, levels: NDArray[np.int_], first: int, last: int) -> "_Heard":
        number = int(levels[first]) - 1
        is_whole = last - first > self.words[number].length - INAUDIBLE_SAMPLES
        return _Heard(number, first, last, f"word{number}" if is_whole else GARBLED)

    def _window(self, sentences: "Sequence[list[_Heard]]") -> HeardWindow:
        seek = frame_of(sentences[0][0].first)
        segments = [self._segment(words, seek) for words in sentences]
        return HeardWindow(segments, WindowStart(frame_of(sentences[-1][-1].last)))

    def _segment(self, words: "list[_Heard]", seek: int) -> VendorSegment:
        return cast(
            "VendorSegment",
            SimpleNamespace(
                seek=seek,
                start=words[0].first / RATE,
                end=words[-1].last / RATE,
                text="".join(f" {word.text}" for word in words),
                tokens=[1_000 + word.number for word in words],
                temperature=self.temperature,
                avg_logprob=-0.1,
                compression_ratio=1.0,
                no_speech_prob=0.0,
                words=None,
            ),
        )


class _Heard(NamedTuple):
    number: int
    first: int
    last: int
    text: str


def prepared(
    model: Whisper, start: WindowStart, samples: Samples, options: dict[str, Any]
) -> tuple[Iterator[HeardWindow], VendorInfo]:
    """As the engine does, without its threads."""
    return model.transcribe_from(start, samples.astype(np.float32) / 32_768, **options)


def frame_of(sample: int) -> int:
    return sample * 100 // RATE


def runs(levels: NDArray[np.int_]) -> list[tuple[int, int]]:
    """[first, last) of every audible stretch of one level, silence left out."""
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), levels.size]
    return [(first, last) for first, last in pairwise(edges) if last - first >= INAUDIBLE_SAMPLES and levels[first]]
