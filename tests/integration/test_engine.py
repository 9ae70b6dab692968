"""The engine on the event loop: live, stoppable, many at once, and never an error of somebody else's."""

import asyncio
import json
import shutil
import wave
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

import audio_text.adapters.engine
from audio_text.adapters.engine import WhisperEngine
from audio_text.adapters.whisper import whisper_errors
from audio_text.domain.options import Task, TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.errors import (
    AudioTextError,
    EmptyAudioError,
    EngineBrokenError,
    EngineFailedError,
    EngineMemoryError,
    InvalidAudioError,
    InvalidRequestError,
    ModelUnavailableError,
    NoSoundTrackError,
    TransientError,
)
from factories import make_settings
from media import noise, text, video_without_sound
from recordings import RATE, path_of, samples_of, silence, text_of, words_of, write
from services.chunks import segments_of

DEMO = Path(__file__).parents[2] / "src" / "audio_text" / "data" / "demo_model"


def make_engine(concurrency: int = 2, **overrides: Any) -> WhisperEngine:
    settings = make_settings({key.replace("__", "."): value for key, value in overrides.items()})
    return WhisperEngine(settings.engine, settings.models, concurrency=concurrency)


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    return make_engine()


@pytest.fixture(scope="module")
def half_an_hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "half-an-hour.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(52):
            file.writeframes(samples_of("memo_35s").tobytes())
    return path


async def chunks_of(
    engine: WhisperEngine, audio: Path, *, model: str = "demo", **options: Any
) -> list[TranscriptChunk]:
    chunks = engine.transcribe(audio, model=model, options=TranscriptionOptions(**options))
    async with aclosing(chunks):
        return [chunk async for chunk in chunks]


@pytest.mark.parametrize("name", ["one_a", "one_b", "two"])
async def test_the_demo_model_reads_the_samples_word_for_word(engine: WhisperEngine, name: str) -> None:
    segments = segments_of(await chunks_of(engine, path_of(name)))
    assert words_of(segment.text for segment in segments) == words_of([text_of(name)])


async def test_what_is_decoded_meanwhile_comes_together_but_never_two_windows(engine: WhisperEngine) -> None:
    chunks = engine.transcribe(path_of("memo_35s"), model="demo", options=TranscriptionOptions())
    async with aclosing(chunks):
        first = await anext(chunks)
        assert first.position < first.duration
        # a window is decoded at once, and all of it is left within moments: this takes longer than both windows
        await chunks_of(engine, path_of("memo_35s"))
        rest = [chunk async for chunk in chunks]
    assert [segment.id for segment in segments_of([first, *rest])] == list(range(10))
    windows = [{segment.seek for segment in chunk.segments} for chunk in (first, *rest)]
    # none is in the last one where it was asked for before the end was known
    assert all(len(window) == 1 for window in windows[:-1])
    assert len(windows[-1]) <= 1
    assert [segment.id for chunk in rest for segment in chunk.segments if segment.seek not in windows[0]] == [8, 9]
    assert rest[-1].position == rest[-1].duration


async def test_the_event_loop_runs_on_meanwhile(engine: WhisperEngine) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        await chunks_of(engine, path_of("memo_35s"))
        ticking.cancel()
    assert ticks > 10


async def test_four_at_once_hear_the_same_as_one_alone() -> None:
    crowd = make_engine(4)
    alone = segments_of(await chunks_of(crowd, path_of("memo_35s")))
    together = await asyncio.gather(*(chunks_of(crowd, path_of("memo_35s")) for _ in range(4)))
    assert all(segments_of(chunks) == alone for chunks in together)


async def test_closing_stops_the_work(half_an_hour: Path) -> None:
    engine = make_engine(1)
    chunks = engine.transcribe(half_an_hour, model="demo", options=TranscriptionOptions())
    await anext(chunks)
    await chunks.aclose()
    # the only thread is free again, long before half an hour has been heard
    async with asyncio.timeout(10):
        await chunks_of(engine, path_of("one_a"))


async def test_cancelling_the_consumer_stops_the_work(half_an_hour: Path) -> None:
    engine = make_engine(1)
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(engine.transcribe(half_an_hour, model="demo", options=TranscriptionOptions())) as chunks:
            async for _ in chunks:
                begun.set()

    async with asyncio.TaskGroup() as group:
        consumer = group.create_task(consume())
        await begun.wait()
        consumer.cancel()
    async with asyncio.timeout(10):
        await chunks_of(engine, path_of("one_a"))


async def test_what_waits_for_a_thread_can_be_closed_too(half_an_hour: Path) -> None:
    engine = make_engine(1)
    running = engine.transcribe(half_an_hour, model="demo", options=TranscriptionOptions())
    async with aclosing(running):
        first = await anext(running)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await chunks_of(engine, path_of("one_a"))
        assert (await anext(running)).position > first.position


async def test_what_waits_for_a_model_can_be_closed_too(half_an_hour: Path) -> None:
    engine = make_engine(2, engine__max_models=1, models__other__source="builtin:demo")
    running = engine.transcribe(half_an_hour, model="demo", options=TranscriptionOptions())
    async with aclosing(running):
        await anext(running)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await chunks_of(engine, path_of("one_a"), model="other")


async def test_a_window_that_takes_too_long_is_not_waited_for(
    half_an_hour: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_text.adapters.engine, "CLOSE_SECONDS", 0.0)
    engine = make_engine(1)
    chunks = engine.transcribe(half_an_hour, model="demo", options=TranscriptionOptions())
    await anext(chunks)
    with capture_logs() as logs:
        await chunks.aclose()
    assert [entry["event"] for entry in logs] == ["transcription_still_running"]
    assert segments_of(await chunks_of(engine, path_of("one_a")))


async def test_a_generator_that_was_never_started_costs_nothing(engine: WhisperEngine) -> None:
    await engine.transcribe(Path("/nowhere"), model="nothing", options=TranscriptionOptions()).aclose()


@pytest.mark.parametrize(
    ("content", "error"), [(text(), InvalidAudioError), (video_without_sound(), NoSoundTrackError)]
)
async def test_what_is_no_audio_is_refused_before_a_model_is_loaded(
    tmp_path: Path, content: bytes, error: type[AudioTextError]
) -> None:
    (tmp_path / "upload.mp3").write_bytes(content)
    with pytest.raises(error):
        # this model does not exist, and would be complained of
        await chunks_of(make_engine(models__demo__source="/nowhere"), tmp_path / "upload.mp3")


async def test_what_only_looks_like_audio_is_refused(engine: WhisperEngine, tmp_path: Path) -> None:
    (tmp_path / "noise.mp3").write_bytes(noise())
    with pytest.raises(InvalidAudioError):
        await chunks_of(engine, tmp_path / "noise.mp3")


async def test_a_recording_that_is_gone_may_be_tried_again(engine: WhisperEngine) -> None:
    with pytest.raises(TransientError):
        await chunks_of(engine, Path("/nowhere/recording.wav"))


async def test_a_model_that_cannot_be_had_says_so() -> None:
    engine = make_engine(models__demo__source="/nowhere")
    with pytest.raises(ModelUnavailableError, match="/nowhere"):
        await engine.preload("demo")
    with pytest.raises(ModelUnavailableError, match="/nowhere"):
        await chunks_of(engine, path_of("one_a"))


async def test_an_unknown_language_is_refused_with_the_list(engine: WhisperEngine) -> None:
    with pytest.raises(InvalidRequestError, match=r'"demo" does not know the language "xx"\. It knows: .*en, .*'):
        await chunks_of(engine, path_of("one_a"), language="xx")


async def test_less_than_a_sample_is_nothing(engine: WhisperEngine, tmp_path: Path) -> None:
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(192_000)
        file.writeframes(b"\0\0")
    with pytest.raises(EmptyAudioError):
        await chunks_of(engine, path)


@pytest.mark.parametrize(("begin", "end"), [(60.0, None), (60.0, 70.0), (3.0, 2.0), (2.0, 2.0)])
async def test_a_clip_without_sound_is_refused(engine: WhisperEngine, begin: float, end: float | None) -> None:
    with pytest.raises(InvalidRequestError, match="clip"):
        await chunks_of(engine, path_of("one_a"), clip_start_seconds=begin, clip_end_seconds=end)


async def test_a_clip_may_end_after_the_recording(engine: WhisperEngine) -> None:
    chunks = await chunks_of(engine, path_of("one_a"), clip_end_seconds=1_000.0)
    assert chunks[-1].duration == samples_of("one_a").size / RATE


async def test_progress_of_a_clip_is_that_of_the_clip(engine: WhisperEngine) -> None:
    chunks = await chunks_of(engine, path_of("memo_35s"), clip_start_seconds=10.0, clip_end_seconds=25.0)
    assert all(chunk.progress == pytest.approx(100 * chunk.position / chunk.duration, abs=0.1) for chunk in chunks)
    assert chunks[-1].duration == chunks[-1].position == 15.0
    assert all(10.0 <= segment.start < segment.end <= 25.1 for segment in segments_of(chunks))


@pytest.fixture(scope="module")
def english_only(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    """The demo model made to look like a `.en` one: CTranslate2 tells them apart by their vocabulary."""
    folder = shutil.copytree(DEMO, tmp_path_factory.mktemp("model") / "english")
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    vocabulary[vocabulary.index("")] = "<|unused|>"
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return make_engine(models__demo__source=str(folder))


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("language", [None, "en"])
async def test_an_english_model_writes_english_whatever_the_task(
    english_only: WhisperEngine, task: Task, language: str | None
) -> None:
    chunks = await chunks_of(english_only, path_of("two"), task=task, language=language, temperature=(0.0,))
    assert segments_of(chunks)
    assert (chunks[-1].language, chunks[-1].language_probability) == ("en", 1.0)


async def test_an_english_model_is_not_asked_for_french(english_only: WhisperEngine) -> None:
    with pytest.raises(InvalidRequestError, match=r"It knows: en\."):
        await chunks_of(english_only, path_of("one_a"), language="fr")


@pytest.mark.parametrize(
    ("vendor", "ours"),
    [
        (MemoryError(), EngineMemoryError),
        (RuntimeError("CUDA failed with error out of memory"), EngineMemoryError),
        (RuntimeError("Failed to allocate memory for requested buffer of size 27000000"), EngineMemoryError),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), EngineMemoryError),
        (RuntimeError("CUDA failed with error an illegal memory access was encountered"), EngineBrokenError),
        (ValueError("Invalid input features shape"), EngineFailedError),
        (IndexError("arrays used as indices must be of integer type"), EngineFailedError),
    ],
)
def test_what_faster_whisper_raises_becomes_ours(vendor: Exception, ours: type[AudioTextError]) -> None:
    with pytest.raises(AudioTextError) as caught, whisper_errors():
        raise vendor
    assert type(caught.value) is ours
    assert isinstance(caught.value, TransientError)
    assert caught.value.__cause__ is vendor


async def test_every_option_at_its_limit_is_survived(engine: WhisperEngine, tmp_path: Path) -> None:
    # prompt and hotwords, each as long as accepted, are together more than the model has room for
    long_prompt = "meeting " * 500
    wide = await chunks_of(
        engine,
        path_of("one_a"),
        beam_size=20,
        temperature=(0.0, 1.0),
        initial_prompt=long_prompt,
        hotwords=long_prompt,
        word_timestamps=True,
    )
    assert wide[-1].position == wide[-1].duration
    odd = await chunks_of(engine, write(tmp_path / "quiet.wav", silence(0.001)), initial_prompt="\0\ud7ff", hotwords="")
    assert odd[-1].position == odd[-1].duration


@pytest.mark.parametrize("condition", [True, False])
async def test_many_hotwords_leave_room_for_the_text(engine: WhisperEngine, *, condition: bool) -> None:
    segments = segments_of(
        await chunks_of(
            engine,
            path_of("memo_35s"),
            hotwords="Anna and James, " * 150,
            condition_on_previous_text=condition,
            temperature=(0.0,),
            vad_filter=False,
        )
    )
    assert segments[-1].end > 30


async def test_every_chunk_can_be_stored_as_json(engine: WhisperEngine) -> None:
    for chunk in await chunks_of(engine, path_of("two"), word_timestamps=True):
        assert msgspec.json.decode(msgspec.json.encode(chunk), type=TranscriptChunk) == chunk
