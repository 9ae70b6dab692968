"""What every Engine promises."""

from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.errors import EmptyAudioError, UnknownModelError
from audio_text.ports import Engine, ResumePoint
from factories import make_settings
from fakes.engine import SILENCE, FakeEngine
from recordings import RATE, path_of, samples_of, silence, write, write_channels
from services.chunks import segments_of


class Subject(NamedTuple):
    """An engine and two recordings for it."""

    engine: Engine
    speech: Path
    silence: Path
    options: TranscriptionOptions = TranscriptionOptions()


@pytest.fixture(params=["fake", "whisper", "whisper by channel"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    quiet = write(tmp_path / "quiet.wav", silence(6.0))
    if request.param == "fake":
        return Subject(FakeEngine(), path_of("two"), quiet)
    settings = make_settings()
    if request.param == "whisper by channel":
        speech = write_channels(tmp_path / "two.wav", samples_of("one_a"), np.pad(samples_of("one_b"), (4 * RATE, 0)))
        engine = WhisperEngine(settings.engine, settings.models, concurrency=1)
        return Subject(engine, speech, quiet, TranscriptionOptions(channels=Channels.separate))
    return Subject(WhisperEngine(settings.engine, settings.models, concurrency=1), path_of("two"), quiet)


async def chunks_of(subject: Subject, audio: Path, *, resume: ResumePoint | None = None) -> list[TranscriptChunk]:
    chunks = subject.engine.transcribe(audio, model="demo", options=subject.options, resume=resume)
    async with aclosing(chunks):
        return [chunk async for chunk in chunks]


async def test_segments_come_in_order_and_their_ids_count_from_zero(subject: Subject) -> None:
    segments = segments_of(await chunks_of(subject, subject.speech))
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert len(segments) > 1
    assert all(earlier.start <= earlier.end <= later.end for earlier, later in pairwise(segments))


async def test_progress_never_goes_back_and_the_last_chunk_is_at_the_exact_end(subject: Subject) -> None:
    chunks = await chunks_of(subject, subject.speech)
    assert all(earlier.position <= later.position for earlier, later in pairwise(chunks))
    assert all(earlier.progress <= later.progress for earlier, later in pairwise(chunks))
    assert chunks[-1].position == chunks[-1].duration
    assert chunks[-1].progress == 100.0


async def test_the_part_with_speech_grows_up_to_the_whole(subject: Subject) -> None:
    chunks = await chunks_of(subject, subject.speech)
    assert all(earlier.duration_after_vad <= later.duration_after_vad for earlier, later in pairwise(chunks))
    assert 0 < chunks[-1].duration_after_vad <= chunks[-1].duration


async def test_language_is_known_with_the_first_segment(subject: Subject) -> None:
    chunks = await chunks_of(subject, subject.speech)
    assert {chunk.language for chunk in chunks if chunk.segments} == {"en"}
    assert all(chunk.language_probability and 0 < chunk.language_probability <= 1 for chunk in chunks if chunk.segments)


async def test_silence_is_a_success_without_segments(subject: Subject) -> None:
    if isinstance(subject.engine, FakeEngine):
        subject = subject._replace(engine=FakeEngine(*SILENCE))
    chunks = await chunks_of(subject, subject.silence)
    assert segments_of(chunks) == []
    assert chunks[-1].position == chunks[-1].duration == 6.0
    assert chunks[-1].language is None


async def test_a_resumed_transcription_continues_ids_and_times(subject: Subject) -> None:
    first = segments_of(await chunks_of(subject, subject.speech))[0]
    resume = ResumePoint(
        position=first.end,
        next_segment_id=1,
        duration_after_vad=1.5,
        language="en",
        language_probability=0.9,
        previous_tokens=first.tokens,
    )
    chunks = await chunks_of(subject, subject.speech, resume=resume)
    rest = segments_of(chunks)
    assert [segment.id for segment in rest] == list(range(1, len(rest) + 1))
    assert all(segment.end > first.end for segment in rest)
    assert chunks[0].position >= first.end
    assert chunks[-1].position == chunks[-1].duration


async def test_nothing_comes_after_the_generator_was_closed(subject: Subject) -> None:
    chunks = subject.engine.transcribe(subject.speech, model="demo", options=subject.options)
    assert (await anext(chunks)).segments
    await chunks.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


async def test_an_empty_file_is_said_to_be_empty(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    with pytest.raises(EmptyAudioError):
        await chunks_of(subject, tmp_path / "empty.mp3")


async def test_a_model_that_settings_do_not_list_is_refused(subject: Subject) -> None:
    with pytest.raises(UnknownModelError):
        await anext(subject.engine.transcribe(subject.speech, model="../demo", options=subject.options))
    with pytest.raises(UnknownModelError):
        await subject.engine.preload("someone/else")


async def test_a_listed_model_can_be_loaded_beforehand(subject: Subject) -> None:
    await subject.engine.preload("demo")
    assert segments_of(await chunks_of(subject, subject.speech))
