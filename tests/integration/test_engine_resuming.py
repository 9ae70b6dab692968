"""A transcription that was broken off and goes on: the same segments outside of the block of the cut."""

import math
import random
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import jiwer
import pytest

from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.blocks import prompt_tokens
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.ports import ResumePoint
from factories import make_settings
from recordings import conversation, words_of, write

OPTIONS = TranscriptionOptions(language="en", temperature=(0.0,), condition_on_previous_text=False)
SEEDS = range(6)
BLOCK_SECONDS = 60.0


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    settings = make_settings({"engine.block_seconds": BLOCK_SECONDS})
    return WhisperEngine(settings.engine, settings.models, concurrency=1)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("talk") / "talk.wav", conversation(240, pauses=(0.5, 1.0)).samples)


@pytest.fixture(scope="module")
async def whole(engine: WhisperEngine, talk: Path) -> list[TranscriptChunk]:
    return await chunks_of(engine, talk)


async def chunks_of(
    engine: WhisperEngine, audio: Path, resume: ResumePoint | None = None, options: TranscriptionOptions = OPTIONS
) -> list[TranscriptChunk]:
    async with aclosing(engine.transcribe(audio, model="demo", options=options, resume=resume)) as chunks:
        return [chunk async for chunk in chunks]


def segments_of(chunks: list[TranscriptChunk]) -> list[Segment]:
    return [segment for chunk in chunks for segment in chunk.segments]


def resume_after(chunks: list[TranscriptChunk], *, clip_start: float = 0.0) -> ResumePoint:
    """What the row says once these chunks are stored."""
    last, segments = chunks[-1], segments_of(chunks)
    return ResumePoint(
        position=clip_start + last.position,
        block_start=last.block_start,
        next_segment_id=len(segments),
        duration_after_vad=last.duration_after_vad,
        language=last.language,
        language_probability=last.language_probability,
        previous_tokens=prompt_tokens(segments),
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_was_broken_off_anywhere_becomes_what_it_would_have_been_but_for_the_block_of_the_cut(
    engine: WhisperEngine, talk: Path, whole: list[TranscriptChunk], seed: int
) -> None:
    stored = whole[: random.Random(seed).randrange(1, len(whole))]
    cut = resume_after(stored)
    assert cut.block_start is not None
    rest = segments_of(await chunks_of(engine, talk, cut))
    both = segments_of(stored) + rest
    following = [b for a, b in pairwise(chunk.block_start or 0.0 for chunk in whole) if b > a and b > cut.block_start]
    block_end = min(following, default=math.inf)

    assert [segment.id for segment in both] == list(range(len(both)))
    assert all(earlier.end <= later.start + 0.05 for earlier, later in pairwise(both))
    assert all(segment.end >= cut.position for segment in rest)
    assert [facts(s) for s in both if s.start >= block_end] == [
        facts(s) for s in segments_of(whole) if s.start >= block_end
    ]
    heard, expected = (" ".join(words_of(s.text for s in segments)) for segments in (both, segments_of(whole)))
    assert jiwer.wer(expected, heard) < 0.05


def facts(segment: Segment) -> tuple[object, ...]:
    return (segment.seek, segment.start, segment.end, segment.text, segment.tokens)


async def test_what_was_broken_off_between_two_blocks_becomes_exactly_what_it_would_have_been(
    engine: WhisperEngine, talk: Path, whole: list[TranscriptChunk]
) -> None:
    ends = [
        number
        for number, chunk in enumerate(whole, start=1)
        if chunk.block_start is not None and abs(chunk.block_start - chunk.position) < 1e-6
    ]
    assert len(ends) >= 3
    for end in ends:
        rest = segments_of(await chunks_of(engine, talk, resume_after(whole[:end])))
        assert [facts(s) for s in rest] == [facts(s) for s in segments_of(whole[end:])]


async def test_a_clip_goes_on_within_the_recording(engine: WhisperEngine, talk: Path) -> None:
    options = TranscriptionOptions(
        language="en",
        temperature=(0.0,),
        condition_on_previous_text=False,
        clip_start_seconds=50.0,
        clip_end_seconds=170.0,
    )
    whole = await chunks_of(engine, talk, options=options)
    stored = whole[: len(whole) // 2]
    rest = await chunks_of(engine, talk, resume_after(stored, clip_start=50.0), options=options)
    assert rest[-1].position == rest[-1].duration == pytest.approx(120.0)
    heard, expected = (
        " ".join(words_of(s.text for s in segments))
        for segments in (segments_of(stored) + segments_of(rest), segments_of(whole))
    )
    assert jiwer.wer(expected, heard) < 0.1
