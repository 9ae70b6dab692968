"""When memory runs out or a GPU reports a fault: a real model behind a face that fails as CTranslate2 does."""

from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audio_text.adapters import models
from audio_text.adapters.engine import WhisperEngine
from audio_text.adapters.whisper import HeardWindow, VendorInfo, Whisper, load_whisper
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.errors import EngineBrokenError, EngineMemoryError
from factories import make_settings
from recordings import conversation, path_of, write
from services.chunks import segments_of

OUT_OF_MEMORY = RuntimeError("CUDA failed with error out of memory")
OPTIONS = TranscriptionOptions(language="en", temperature=(0.0,), condition_on_previous_text=False)


@dataclass
class Gpu:
    """Says what fails: loading or decoding, with which compute type."""

    loads: Callable[[str], bool] = lambda _: False
    decodes: Callable[[str], bool] = lambda _: False
    error: RuntimeError = OUT_OF_MEMORY
    loaded: list[str] = field(default_factory=list[str])

    def load(self, folder: Path, *, device: str, compute_type: str, **threads: int) -> Whisper:
        self.loaded.append(compute_type)
        if self.loads(compute_type):
            raise self.error
        return FailingWhisper(load_whisper(folder, device="cpu", compute_type="int8", **threads), compute_type, self)  # type: ignore[return-value]


class FailingWhisper:
    """Decodes the first window of a call, and then fails if the GPU does."""

    def __init__(self, whisper: Whisper, compute_type: str, gpu: Gpu) -> None:
        self._whisper = whisper
        self._gpu = gpu
        self.hf_tokenizer = whisper.hf_tokenizer
        self.supported_languages = whisper.supported_languages
        self.model = SimpleNamespace(device="cuda", compute_type=compute_type)

    def transcribe_from(self, *where: Any, **options: Any) -> tuple[Iterator[HeardWindow], VendorInfo]:
        windows, info = self._whisper.transcribe_from(*where, **options)
        return self._failing(windows), info

    def _failing(self, windows: Iterator[HeardWindow]) -> Iterator[HeardWindow]:
        if window := next(windows, None):
            yield window
        if self._gpu.decodes(self.model.compute_type):
            raise self._gpu.error
        yield from windows


@pytest.fixture
def engine_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., WhisperEngine]:
    return partial(make_engine, monkeypatch)


def make_engine(monkeypatch: pytest.MonkeyPatch, gpu: Gpu, **overrides: object) -> WhisperEngine:
    monkeypatch.setattr(models, "load_whisper", gpu.load)
    settings = make_settings({"engine.compute_type": "float16", "models.other.source": "builtin:demo"} | overrides)
    return WhisperEngine(settings.engine, settings.models, concurrency=1)


async def chunks_of(engine: WhisperEngine, audio: Path, *, model: str = "demo") -> list[TranscriptChunk]:
    async with aclosing(engine.transcribe(audio, model=model, options=OPTIONS)) as chunks:
        return [chunk async for chunk in chunks]


async def test_a_transcript_tells_what_it_was_made_with(engine_on: Callable[..., WhisperEngine]) -> None:
    chunks = await chunks_of(engine_on(Gpu()), path_of("one_a"))
    assert {(chunk.device, chunk.compute_type) for chunk in chunks} == {("cuda", "float16")}


async def test_a_job_without_enough_memory_goes_on_as_int8_and_says_so(
    engine_on: Callable[..., WhisperEngine], tmp_path: Path
) -> None:
    talk = write(tmp_path / "talk.wav", conversation(70, pauses=(0.5, 1.0)).samples)
    expected = segments_of(await chunks_of(engine_on(Gpu()), talk))
    gpu = Gpu(decodes=lambda compute_type: compute_type == "float16")
    chunks = await chunks_of(engine_on(gpu), talk)
    segments = segments_of(chunks)
    assert gpu.loaded == ["float16", "int8"]
    assert (chunks[0].compute_type, chunks[-1].compute_type) == ("float16", "int8")
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert segments == expected
    assert chunks[-1].position == chunks[-1].duration


async def test_models_that_nobody_uses_go_first(engine_on: Callable[..., WhisperEngine]) -> None:
    failing = [True]
    gpu = Gpu(decodes=lambda _: len(gpu.loaded) == 2 and bool(failing) and failing.pop())
    engine = engine_on(gpu)
    await chunks_of(engine, path_of("one_a"), model="other")
    chunks = await chunks_of(engine, path_of("two"))
    assert {chunk.compute_type for chunk in chunks} == {"float16"}
    await chunks_of(engine, path_of("one_a"), model="other")
    assert gpu.loaded == ["float16", "float16", "float16"]


async def test_a_model_that_does_not_fit_is_loaded_as_int8(engine_on: Callable[..., WhisperEngine]) -> None:
    gpu = Gpu(loads=lambda compute_type: compute_type == "float16")
    engine = engine_on(gpu)
    await engine.preload("demo")
    chunks = await chunks_of(engine, path_of("one_a"))
    assert gpu.loaded == ["float16", "int8"]
    assert chunks[-1].compute_type == "int8"


async def test_a_job_that_does_not_fit_at_all_may_be_tried_again(engine_on: Callable[..., WhisperEngine]) -> None:
    for gpu in (Gpu(loads=lambda _: True), Gpu(decodes=lambda _: True)):
        engine = engine_on(gpu)
        with pytest.raises(EngineMemoryError):
            await chunks_of(engine, path_of("two"))
        assert gpu.loaded == ["float16", "int8"]


async def test_preloading_tells_when_memory_does_not_do(engine_on: Callable[..., WhisperEngine]) -> None:
    with pytest.raises(EngineMemoryError):
        await engine_on(Gpu(loads=lambda _: True)).preload("demo")


@pytest.mark.parametrize(
    "error",
    [
        "CUDA failed with error an illegal memory access was encountered",
        "CUDA failed with error device-side assert triggered",
        "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
        "cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED",
    ],
)
async def test_a_fault_of_the_gpu_is_told_from_lack_of_memory(
    engine_on: Callable[..., WhisperEngine], error: str
) -> None:
    gpu = Gpu(decodes=lambda _: True, error=RuntimeError(error))
    with pytest.raises(EngineBrokenError, match=error.rsplit(maxsplit=1)[-1]):
        await chunks_of(engine_on(gpu), path_of("two"))
    assert gpu.loaded == ["float16"]
