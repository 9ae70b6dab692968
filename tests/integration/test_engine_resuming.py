"""A transcription that was broken off and goes on: all of it is what it would have been."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.ports import ResumePoint
from factories import make_settings
from recordings import conversation, write
from services.chunks import resume_after, segments_of

BLOCK_SECONDS = 60.0
GREEDY: dict[str, Any] = {"language": "en", "temperature": (0.0,)}


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    settings = make_settings({"engine.block_seconds": BLOCK_SECONDS})
    return WhisperEngine(settings.engine, settings.models, concurrency=1)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", conversation(130, pauses=(0.5, 1.0)).samples)


@pytest.fixture(scope="module")
def haste(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hardly a pause: cuts go through speech."""
    return write(tmp_path_factory.mktemp("haste") / "haste.wav", conversation(130, pauses=(0.0, 0.04)).samples)


async def chunks_of(
    engine: WhisperEngine, audio: Path, options: TranscriptionOptions, resume: ResumePoint | None = None
) -> list[TranscriptChunk]:
    async with aclosing(engine.transcribe(audio, model="demo", options=options, resume=resume)) as chunks:
        return [chunk async for chunk in chunks]


async def assert_same_after_every_cut(engine: WhisperEngine, audio: Path, options: TranscriptionOptions) -> None:
    whole = await chunks_of(engine, audio, options)
    ends = [end for end, chunk in enumerate(whole, start=1) if chunk.next_window]
    assert len(ends) >= 2
    for end in ends:
        stored = whole[:end]
        rest = await chunks_of(engine, audio, options, resume_after(stored, options))
        assert segments_of(stored) + segments_of(rest) == segments_of(whole), f"cut after {end} of {len(whole)}"
        assert all(chunk.position >= stored[-1].position for chunk in rest)
        assert (rest[-1].position, rest[-1].duration) == (whole[-1].position, whole[-1].duration)
        assert rest[-1].duration_after_vad == pytest.approx(whole[-1].duration_after_vad)
        assert rest[-1].language == whole[-1].language


@pytest.mark.parametrize(
    "options",
    [
        {"condition_on_previous_text": False, "initial_prompt": "a talk", "hotwords": "numbers"},
        {"condition_on_previous_text": True, "initial_prompt": "a talk", "vad_filter": False},
        {"condition_on_previous_text": True, "word_timestamps": True, "language": None},
        {"condition_on_previous_text": False, "word_timestamps": True, "vad_filter": False},
        {"condition_on_previous_text": True, "clip_start_seconds": 3.333, "clip_end_seconds": 125.0},
    ],
    ids=lambda options: ",".join(f"{name}={value}" for name, value in options.items()),
)
async def test_what_was_broken_off_after_any_window_becomes_what_it_would_have_been(
    engine: WhisperEngine, talk: Path, options: dict[str, Any]
) -> None:
    await assert_same_after_every_cut(engine, talk, TranscriptionOptions(**GREEDY | options))


async def test_falling_back_to_other_temperatures_changes_nothing_where_none_was_needed(
    engine: WhisperEngine, talk: Path
) -> None:
    await assert_same_after_every_cut(engine, talk, TranscriptionOptions(condition_on_previous_text=True))


@pytest.mark.parametrize("word_timestamps", [True, False])
async def test_where_blocks_end_within_speech_they_still_do(
    engine: WhisperEngine, haste: Path, *, word_timestamps: bool
) -> None:
    await assert_same_after_every_cut(engine, haste, TranscriptionOptions(**GREEDY, word_timestamps=word_timestamps))


@pytest.mark.parametrize("kind", ["ogg", "m4a"])
async def test_what_a_codec_remembers_of_what_lies_before_a_cut_is_not_missing_after_it(
    engine: WhisperEngine, tmp_path: Path, kind: str
) -> None:
    # Vorbis at 44.1 kHz: the resampler is between two samples at almost every cut; AAC draws noise by its own dice
    lossy = write(tmp_path / f"talk.{kind}", conversation(130, pauses=(0.3, 1.5)).samples)
    await assert_same_after_every_cut(engine, lossy, TranscriptionOptions(**GREEDY, clip_start_seconds=3.333))
