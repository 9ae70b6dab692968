"""Long recordings through the real model: cut where nobody speaks, whole at every cut."""

from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import jiwer
import pytest

from audio_text.adapters import audio_blocks
from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.ports import ResumePoint
from audio_text.settings import Settings
from factories import make_settings
from recordings import RATE, Sentence, Spoken, conversation, path_of, plain, silence, text_of, words_of, write

PLAIN = TranscriptionOptions(language="en", temperature=(0.0,), condition_on_previous_text=False)
NEAR_SECONDS = 2.0


@pytest.fixture(scope="module")
def short_blocks() -> Settings:
    """The shortest blocks that settings allow, so that many cuts happen."""
    return make_settings({"engine.block_seconds": 30.0})


@pytest.fixture(scope="module")
def engine(short_blocks: Settings) -> WhisperEngine:
    return WhisperEngine(short_blocks.engine, short_blocks.models, concurrency=1)


async def chunks_of(
    engine: WhisperEngine, audio: Path, options: TranscriptionOptions = PLAIN, resume: ResumePoint | None = None
) -> list[TranscriptChunk]:
    async with aclosing(engine.transcribe(audio, model="demo", options=options, resume=resume)) as chunks:
        return [chunk async for chunk in chunks]


def segments_of(chunks: list[TranscriptChunk]) -> list[Segment]:
    return [segment for chunk in chunks for segment in chunk.segments]


def errors_near(
    cuts: list[float], spoken: list[Spoken], segments: list[Segment]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(errors, words) within two seconds of a cut, and the same elsewhere."""
    heard = words_of(segment.text for segment in segments)
    alignment = jiwer.process_words(" ".join(word.word for word in spoken), " ".join(heard)).alignments[0]
    is_near = [any(word.start - NEAR_SECONDS < cut < word.end + NEAR_SECONDS for cut in cuts) for word in spoken]
    errors = {True: 0, False: 0}
    for step in alignment:
        if step.type != "equal":
            size = max(step.ref_end_idx - step.ref_start_idx, step.hyp_end_idx - step.hyp_start_idx)
            errors[is_near[min(step.ref_start_idx, len(spoken) - 1)]] += size
    return (errors[True], sum(is_near)), (errors[False], len(is_near) - sum(is_near))


def cuts_of(segments: list[Segment]) -> list[float]:
    """Where blocks begin: a window begins there whose segments do not follow on Whisper's own 30-second steps."""
    seeks = sorted({segment.seek for segment in segments})
    return [seek / 100 for seek in seeks[1:]]


@pytest.mark.parametrize("vad_filter", [True, False])
async def test_around_cuts_in_pauses_words_are_as_right_as_elsewhere(
    engine: WhisperEngine, tmp_path: Path, *, vad_filter: bool
) -> None:
    talk = conversation(240, pauses=(0.3, 1.2))
    await assert_cuts_do_no_harm(engine, tmp_path, talk, vad_filter=vad_filter, allowance=0.02)


@pytest.mark.parametrize("vad_filter", [True, False])
async def test_around_cuts_words_are_as_right_as_elsewhere_with_hardly_any_pause(
    engine: WhisperEngine, tmp_path: Path, *, vad_filter: bool
) -> None:
    # the demo model has not learnt to hear such a stream: a third is wrong with and without cuts
    talk = conversation(240, pauses=(0.0, 0.04))
    await assert_cuts_do_no_harm(engine, tmp_path, talk, vad_filter=vad_filter, allowance=0.08)


async def assert_cuts_do_no_harm(
    engine: WhisperEngine, folder: Path, talk: Sentence, *, vad_filter: bool, allowance: float
) -> None:
    path = write(folder / "talk.flac", talk.samples)
    options = TranscriptionOptions(
        language="en", temperature=(0.0,), condition_on_previous_text=False, vad_filter=vad_filter
    )
    segments = segments_of(await chunks_of(engine, path, options))
    cuts = cuts_of(segments)
    assert len(cuts) >= 8
    (near, near_words), (far, far_words) = errors_near(cuts, talk.words, segments)
    assert near / near_words <= far / far_words + allowance
    assert all(earlier.end <= later.start + 0.05 for earlier, later in pairwise(segments))


async def test_every_cut_lies_between_words(engine: WhisperEngine, tmp_path: Path) -> None:
    talk = conversation(150, pauses=(0.4, 1.0), seed=3)
    segments = segments_of(await chunks_of(engine, write(tmp_path / "talk.wav", talk.samples)))
    for cut in cuts_of(segments):
        assert not any(word.start + 0.02 < cut < word.end - 0.02 for word in talk.words), cut


async def test_words_keep_their_times_over_all_blocks(engine: WhisperEngine, tmp_path: Path) -> None:
    talk = conversation(100, pauses=(0.4, 1.0), seed=3)
    options = TranscriptionOptions(temperature=(0.0,), word_timestamps=True)
    segments = segments_of(await chunks_of(engine, write(tmp_path / "talk.wav", talk.samples), options))
    heard = [word for segment in segments for word in segment.words or ()]
    near = [
        any(plain(word.word) == spoken.word and abs(word.start - spoken.start) < 0.5 for spoken in talk.words)
        for word in heard
    ]
    assert sum(near) > 0.85 * len(heard) > 0
    assert all(earlier.start <= later.start for earlier, later in pairwise(heard))


async def test_progress_moves_through_long_silence(engine: WhisperEngine, tmp_path: Path) -> None:
    path = write(tmp_path / "quiet.flac", silence(100.0))
    chunks = await chunks_of(engine, path)
    assert segments_of(chunks) == []
    assert chunks[-1].position == chunks[-1].duration == 100.0
    assert chunks[-1].duration_after_vad == 0.0


async def test_the_estimate_of_a_damaged_header_is_corrected_without_going_back(
    engine: WhisperEngine, tmp_path: Path
) -> None:
    # a WAV file that was being written when the power failed: its header claims eight times as much
    talk = conversation(70, pauses=(0.4, 1.0))
    path = write(tmp_path / "talk.wav", talk.samples)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = (talk.samples.nbytes * 8).to_bytes(4, "little")
    path.write_bytes(content)
    chunks = await chunks_of(engine, path)
    assert [chunk.progress for chunk in chunks] == sorted(chunk.progress for chunk in chunks)
    assert chunks[-1].duration == talk.samples.size / RATE


@pytest.mark.parametrize("done", [1, 12, -1])
async def test_a_killed_transcription_goes_on_after_its_last_segment(
    engine: WhisperEngine, tmp_path: Path, done: int
) -> None:
    talk = conversation(80, pauses=(0.5, 1.0), seed=3)
    path = write(tmp_path / "talk.mp3", talk.samples)
    whole = await chunks_of(engine, path)
    kept = segments_of(whole)[:done]
    resume = ResumePoint(
        position=kept[-1].end,
        next_segment_id=len(kept),
        duration_after_vad=kept[-1].end * 0.9,
        language="en",
        language_probability=1.0,
    )
    rest = await chunks_of(engine, path, resume=resume)
    continued = [*kept, *segments_of(rest)]
    assert [segment.id for segment in continued] == list(range(len(continued)))
    assert all(earlier.end <= later.start + 0.05 for earlier, later in pairwise(continued))
    expected, heard = (words_of(s.text for s in segments) for segments in (segments_of(whole), continued))
    assert jiwer.wer(" ".join(expected), " ".join(heard)) < 0.1
    assert rest[-1].position == pytest.approx(whole[-1].position, abs=1e-3)


async def test_the_first_block_of_a_long_recording_is_short(tmp_path: Path) -> None:
    # so that its first segment comes as soon as that of a short recording
    settings = make_settings()
    engine = WhisperEngine(settings.engine, settings.models, concurrency=1)
    talk = conversation(130, pauses=(0.4, 1.0))
    chunks = engine.transcribe(write(tmp_path / "talk.wav", talk.samples), model="demo", options=PLAIN)
    async with aclosing(chunks):
        first_block = audio_blocks.FIRST_BLOCK_SAMPLES / RATE
        assert [c async for c in chunks if c.segments and c.duration_after_vad <= first_block]


async def test_memo_is_read_as_well_in_blocks_as_at_once(engine: WhisperEngine) -> None:
    segments = segments_of(await chunks_of(engine, path_of("memo_100s"), TranscriptionOptions(temperature=(0.0,))))
    whole = make_settings({"engine.block_seconds": 3_600.0})
    at_once = segments_of(
        await chunks_of(
            WhisperEngine(whole.engine, whole.models, concurrency=1),
            path_of("memo_100s"),
            TranscriptionOptions(temperature=(0.0,)),
        )
    )
    reference = " ".join(words_of([text_of("memo_100s")]))
    in_blocks, in_one = (
        jiwer.wer(reference, " ".join(words_of(s.text for s in found))) for found in (segments, at_once)
    )
    assert in_blocks <= in_one + 0.05
