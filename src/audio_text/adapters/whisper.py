"""The typed face of faster-whisper, which has no type information, and the one place where its errors become ours."""

import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from audio_text.errors import AudioTextError, EngineBrokenError, EngineFailedError, EngineMemoryError

# onnxruntime, which hears where speech is, reports to its maker unless told not to; it looks when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 -- a library's switch, not a setting of ours

from faster_whisper import (  # pyright: ignore[reportMissingTypeStubs] -- the reason for this module
    WhisperModel,
    download_model,
)
from faster_whisper.vad import get_vad_model  # pyright: ignore[reportMissingTypeStubs] -- the same

log = structlog.get_logger(__name__)

OUT_OF_MEMORY = ("out of memory", "failed to allocate", "alloc_failed")
"""How CTranslate2 (for CUDA, cuBLAS and cuDNN) and onnxruntime say that memory was not enough; in lower case."""

GPU_FAULT = re.compile("(CUDA|cuBLAS|cuDNN) failed with")
"""How CTranslate2 reports an error of the GPU. One that was no lack of memory leaves the process's context unusable."""

FRAME_SAMPLES = 512
"""What Silero's voice detector judges at once: 32 ms."""


class VendorWord(Protocol):
    """faster_whisper.transcribe.Word."""

    start: float
    end: float
    word: str
    probability: float


class VendorSegment(Protocol):
    """faster_whisper.transcribe.Segment."""

    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[VendorWord] | None


class WindowStart(NamedTuple):
    """Where in the audio a window of 30 seconds begins, and what the model carries into it besides its prompt.

    `frame` counts what is left once voice activity detection has taken out the rest. `spoken_until`, in seconds of
    that, is where the last word ended that was given a time (0: none).
    """

    frame: int = 0
    spoken_until: float = 0.0


class HeardWindow(NamedTuple):
    """The segments of one window, at least one, and where the next window begins."""

    segments: Sequence[VendorSegment]
    next_start: WindowStart


class VendorInfo(Protocol):
    """faster_whisper.transcribe.TranscriptionInfo, as far as we read it."""

    language: str
    language_probability: float
    duration_after_vad: float


class VendorEncoding(Protocol):
    """tokenizers.Encoding, as far as we read it."""

    ids: list[int]


class VendorTokenizer(Protocol):
    """tokenizers.Tokenizer, as far as we use it."""

    def token_to_id(self, token: str) -> int | None:
        """None for a token that the model does not have."""
        ...

    def encode(self, sequence: str, *, add_special_tokens: bool) -> VendorEncoding:
        """Split a text into tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Put tokens together to a text."""
        ...


class VendorModel(Protocol):
    """ctranslate2.models.Whisper, as far as we read it."""

    @property
    def device(self) -> str:
        """Either cpu or cuda."""
        ...

    @property
    def compute_type(self) -> str:
        """What is really used, where the one that was asked for does not exist on the device."""
        ...


class Whisper(Protocol):
    """A model that was loaded by `load_whisper`."""

    hf_tokenizer: VendorTokenizer
    model: VendorModel

    @property
    def supported_languages(self) -> list[str]:
        """Codes; a model may lack the token of one that was added later."""
        ...

    def transcribe_from(
        self,
        start: WindowStart,
        audio: NDArray[np.float32],
        **options: Any,  # noqa: ANN401 -- thirty options of as many types
    ) -> tuple[Iterator[HeardWindow], VendorInfo]:
        """Detect voice and language and compute features of all audio at once; decode as the windows are asked for.

        What comes is what WhisperModel.transcribe would have written from that window on.
        """
        ...


_UntypedWhisper: Any = WhisperModel


class SteppingWhisper(_UntypedWhisper):
    """A model that tells after each window where the next one begins, and can begin there another time.

    faster-whisper keeps this to itself. It is read from its generator, which stands still while a segment is looked at:
    the names in there are those of the version that is pinned, and a test holds them to it.
    """

    start = WindowStart()
    decoding: Any = None

    def transcribe_from(
        self,
        start: WindowStart,
        audio: NDArray[np.float32],
        **options: Any,  # noqa: ANN401 -- as in the protocol
    ) -> tuple[Iterator[HeardWindow], VendorInfo]:
        """See `Whisper`."""
        # the copy shares the model, and has to itself what it needs to know of this one recording
        passage = copy(self)
        passage.start = start
        segments, info = passage.transcribe(audio, **options)
        return passage.windows(segments), info

    def generate_segments(self, features: Any, tokenizer: Any, options: Any, *rest: Any) -> Any:  # noqa: ANN401 -- the vendor's
        """As the vendor's, beginning at the window; voice and features are behind it, and are those of all audio."""
        options.clip_timestamps = [self.start.frame / self.frames_per_second]
        vendor: Any = super()
        self.decoding = decoding = vendor.generate_segments(features, tokenizer, options, *rest)
        return decoding

    def add_word_timestamps(self, *arguments: Any, last_speech_timestamp: float, **options: Any) -> Any:  # noqa: ANN401 -- the vendor's
        """As the vendor's, which knows of no word until it has given one a time."""
        spoken_until = last_speech_timestamp or self.start.spoken_until
        vendor: Any = super()
        return vendor.add_word_timestamps(*arguments, last_speech_timestamp=spoken_until, **options)

    def windows(self, segments: Iterator[VendorSegment]) -> Iterator[HeardWindow]:
        """The segments that come of `decoding`, by window."""
        window: list[VendorSegment] = []
        for segment in segments:
            window.append(segment)
            state = cast("dict[str, Any]", self.decoding.gi_frame.f_locals)
            if not _more_to_come(state):
                spoken_until = state["last_speech_timestamp"] or self.start.spoken_until
                yield HeardWindow(window, WindowStart(int(state["seek"]), float(spoken_until)))
                window = []


def load_whisper(folder: Path, *, device: str, compute_type: str, cpu_threads: int, num_workers: int) -> Whisper:
    """Load a converted model; `num_workers` windows can be decoded at once, with `cpu_threads` each."""
    load = cast("Callable[..., Whisper]", SteppingWhisper)
    return load(
        str(folder),
        device=device,
        compute_type=compute_type,
        cpu_threads=cpu_threads,
        num_workers=num_workers,
        local_files_only=True,
    )


def _more_to_come(state: dict[str, Any]) -> bool:
    """Whether faster-whisper, standing at a segment, has further ones of the same window: it passes over empty ones."""
    segments = state["current_segments"]
    place = next(place for place, segment in enumerate(segments) if segment is state["segment"])
    return any(
        segment["start"] != segment["end"] and state["tokenizer"].decode(segment["tokens"]).strip()
        for segment in segments[place + 1 :]
    )


def download_whisper(source: str, *, cache_folder: str, is_offline: bool) -> Path:
    """The folder of a model of the hub, from the cache (empty: the hub library's own) or, unless offline, the hub."""
    download = cast("Callable[..., str]", download_model)
    return Path(download(source, local_files_only=is_offline, cache_dir=cache_folder or None))


def speech_probabilities(samples: NDArray[np.float32]) -> Sequence[float]:
    """How probably each whole frame of FRAME_SAMPLES holds speech, as Silero hears it."""
    frames = len(samples) // FRAME_SAMPLES
    detect = cast("Callable[[NDArray[np.float32]], NDArray[np.float32]]", get_vad_model())
    return detect(samples[: frames * FRAME_SAMPLES]).ravel().tolist() if frames else []


@contextmanager
def whisper_errors() -> Generator[None]:
    """Let nothing out that faster-whisper and what lies below it raise.

    Raises EngineMemoryError, EngineBrokenError, EngineFailedError.
    """
    try:
        yield
    except AudioTextError:
        raise
    except Exception as error:  # CTranslate2, onnxruntime and numpy each raise their own
        if is_out_of_memory(error):
            raise EngineMemoryError from error
        log.exception("engine_failed")
        if GPU_FAULT.search(str(error)):
            raise EngineBrokenError(f"The graphics processor reported a fault: {first_line(error)}.") from error
        raise EngineFailedError(f"The speech engine broke off: {first_line(error)}.") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether a vendor's error says that memory, of the machine or of the GPU, was not enough."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)


def first_line(error: Exception) -> str:
    """What the error says, in one line without its full stop."""
    return next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
