"""Channels that are transcribed separately, by the real model: each as if it were a recording by itself."""

import random
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.errors import TooManyChannelsError
from audio_text.ports import ResumePoint
from factories import make_settings
from recordings import Samples, conversation, joined, path_of, samples_of, silence, write, write_channels
from services.chunks import resume_after, segments_of

SEEDS = range(5)


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    settings = make_settings({"engine.block_seconds": 30.0, "engine.max_channels": 4})
    return WhisperEngine(settings.engine, settings.models, concurrency=1)


@pytest.fixture(scope="module")
def voices() -> tuple[Samples, Samples]:
    """Two people who talk at length, and not at the same time."""
    first, second = (conversation(50, pauses=(0.5, 1.0), seed=seed).samples for seed in (1, 2))
    return joined([first, silence(40.0)]), joined([silence(45.0), second])


@pytest.fixture(scope="module")
def call(voices: tuple[Samples, Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_channels(tmp_path_factory.mktemp("call") / "call.wav", *voices)


@pytest.fixture(scope="module")
async def whole(engine: WhisperEngine, call: Path) -> list[TranscriptChunk]:
    return await chunks_of(engine, call)


def separate(**options: object) -> TranscriptionOptions:
    return TranscriptionOptions(**{"temperature": (0.0,), "channels": Channels.separate} | options)


async def chunks_of(
    engine: WhisperEngine,
    audio: Path,
    options: TranscriptionOptions | None = None,
    resume: ResumePoint | None = None,
) -> list[TranscriptChunk]:
    chunks = engine.transcribe(audio, model="demo", options=options or separate(), resume=resume)
    async with aclosing(chunks):
        return [chunk async for chunk in chunks]


def facts(segments: list[Segment]) -> list[tuple[object, ...]]:
    return [(s.seek, s.start, s.end, s.text, s.tokens, s.words) for s in segments]


def padded(*channels: Samples) -> list[Samples]:
    """As long as the longest of them."""
    length = max(samples.size for samples in channels)
    return [np.pad(samples, (0, length - samples.size)) for samples in channels]


async def twin_of(engine: WhisperEngine, samples: Samples, folder: Path) -> list[Segment]:
    mixed = TranscriptionOptions(temperature=(0.0,))
    return segments_of(await chunks_of(engine, write(folder / "twin.wav", samples), mixed))


async def test_each_channel_says_what_its_mono_twin_says(engine: WhisperEngine, tmp_path: Path) -> None:
    left, right = samples_of("one_a"), joined([silence(3.0), samples_of("one_b")])
    chunks = await chunks_of(engine, write_channels(tmp_path / "call.flac", left, right))
    for channel, samples in enumerate(padded(left, right), start=1):
        assert facts(segments_of(chunks, channel)) == facts(await twin_of(engine, samples, tmp_path)) != []


async def test_over_many_blocks_each_channel_stays_its_mono_twin(
    engine: WhisperEngine, voices: tuple[Samples, Samples], whole: list[TranscriptChunk], tmp_path: Path
) -> None:
    for channel, samples in enumerate(padded(*voices), start=1):
        assert facts(segments_of(whole, channel)) == facts(await twin_of(engine, samples, tmp_path)) != []


async def test_segments_of_all_channels_come_by_time_and_are_counted_through(whole: list[TranscriptChunk]) -> None:
    segments = segments_of(whole)
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert all(earlier.start <= later.start for earlier, later in pairwise(segments))
    assert {segment.channel for segment in segments} == {1, 2}


async def test_progress_of_all_channels_never_goes_back_and_ends_at_the_exact_end(
    whole: list[TranscriptChunk], voices: tuple[Samples, Samples]
) -> None:
    assert all(a.position <= b.position and a.progress <= b.progress for a, b in pairwise(whole))
    assert whole[-1].position == whole[-1].duration == max(samples.size for samples in voices) / 16_000
    ends = whole[-1].channel_progress
    assert ends is not None
    assert [(end.channel, end.language) for end in ends] == [(1, "en"), (2, "en")]
    assert whole[-1].duration_after_vad == pytest.approx(sum(end.duration_after_vad for end in ends))


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_call_that_was_broken_off_goes_on_in_each_channel_where_it_was(
    engine: WhisperEngine, call: Path, whole: list[TranscriptChunk], seed: int
) -> None:
    stored = whole[: random.Random(seed).randrange(1, len(whole))]
    rest = await chunks_of(engine, call, resume=resume_after(stored, separate()))
    both = segments_of(stored) + segments_of(rest)
    assert [segment.id for segment in both] == list(range(len(both)))
    assert rest[-1].position == rest[-1].duration == whole[-1].duration
    for channel in (1, 2):
        assert facts(segments_of([*stored, *rest], channel)) == facts(segments_of(whole, channel))


async def test_a_clip_of_a_call_keeps_the_times_of_the_recording(engine: WhisperEngine, call: Path) -> None:
    chunks = await chunks_of(engine, call, separate(clip_start_seconds=40.0, clip_end_seconds=60.0))
    segments = segments_of(chunks)
    assert {segment.channel for segment in segments} == {1, 2}
    assert all(40.0 <= segment.start < 60.0 for segment in segments)
    assert chunks[-1].position == chunks[-1].duration == 20.0


async def test_a_silent_channel_says_nothing_in_no_language(engine: WhisperEngine, tmp_path: Path) -> None:
    chunks = await chunks_of(engine, write_channels(tmp_path / "call.wav", samples_of("one_a"), silence(1.0)))
    _, silent = chunks[-1].channel_progress or ()
    assert (silent.channel, silent.language, silent.duration_after_vad) == (2, None, 0.0)
    assert segments_of(chunks, 2) == []
    assert chunks[-1].language == "en"


async def test_one_voice_that_was_recorded_twice_is_written_down_once(engine: WhisperEngine, tmp_path: Path) -> None:
    voice = samples_of("one_a")
    chunks = await chunks_of(engine, write_channels(tmp_path / "dual.mp3", voice, voice))
    assert {segment.channel for segment in segments_of(chunks)} == {1}
    assert [progress.channel for progress in chunks[-1].channel_progress or ()] == [1]


async def test_a_mono_recording_has_one_channel(engine: WhisperEngine) -> None:
    chunks = await chunks_of(engine, path_of("one_a"))
    mixed = await chunks_of(engine, path_of("one_a"), TranscriptionOptions(temperature=(0.0,)))
    assert facts(segments_of(chunks, 1)) == facts(segments_of(mixed)) != []


async def test_more_channels_than_settings_allow_are_refused(engine: WhisperEngine, tmp_path: Path) -> None:
    call = write_channels(tmp_path / "call.wav", *[samples_of("one_a")] * 5)
    with pytest.raises(TooManyChannelsError, match="has 5 channels, and this service transcribes at most 4"):
        await chunks_of(engine, call)
    assert segments_of(await chunks_of(engine, call, TranscriptionOptions(temperature=(0.0,))))


async def test_nothing_comes_after_a_call_was_cancelled(engine: WhisperEngine, call: Path) -> None:
    chunks = engine.transcribe(call, model="demo", options=separate())
    assert (await anext(chunks)).segments
    await chunks.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
