"""A recording of up to one block comes out exactly as WhisperModel.transcribe writes it, whatever the options."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from faster_whisper import WhisperModel

from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.options import Task, TranscriptionOptions, VadOptions
from audio_text.domain.transcript import Segment, TranscriptChunk, Word
from factories import make_settings
from media import Recipe
from recordings import RATE, path_of, samples_of, silence, write
from services.chunks import segments_of

OPTIONS = {
    "defaults": {},
    "no vad": {"vad_filter": False},
    "strict vad": {"vad": VadOptions(threshold=0.8, min_silence_duration_ms=100, speech_pad_ms=50)},
    "short speech": {"vad": VadOptions(max_speech_duration_s=5.0, min_speech_duration_ms=250)},
    "words": {"word_timestamps": True},
    "words, no vad, english": {"word_timestamps": True, "vad_filter": False, "language": "en"},
    "greedy": {"beam_size": 1},
    "greedy, no vad, no previous text": {"beam_size": 1, "vad_filter": False, "condition_on_previous_text": False},
    "wide": {"beam_size": 8, "language": "en"},
    "prompt": {"initial_prompt": " The meeting starts at six. ", "vad_filter": False},
    "empty prompt": {"initial_prompt": ""},
    "hotwords": {"hotwords": "Anna, Michael"},
    "prompt, hotwords, words": {"initial_prompt": "Call Anna.", "hotwords": "letter", "word_timestamps": True},
    "french": {"language": "fr"},
    "translate": {"task": Task.translate},
    "translate from spanish, no vad": {"task": Task.translate, "language": "es", "vad_filter": False},
    "cold only": {"temperature": (0.0,)},
    "no previous text": {"condition_on_previous_text": False, "word_timestamps": True},
}


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    folder = Path(__file__).parents[2] / "src" / "audio_text" / "data" / "demo_model"
    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    settings = make_settings()
    return WhisperEngine(settings.engine, settings.models, concurrency=1)


async def by_engine(engine: WhisperEngine, audio: Path, options: TranscriptionOptions) -> list[TranscriptChunk]:
    async with aclosing(engine.transcribe(audio, model="demo", options=options)) as chunks:
        return [chunk async for chunk in chunks]


def by_whisper(model: WhisperModel, audio: Any, options: TranscriptionOptions) -> tuple[list[Segment], Any]:
    """What faster-whisper says of the file, or of samples."""
    segments, info = model.transcribe(
        audio,
        language=options.language,
        task=options.task.value,
        beam_size=options.beam_size,
        temperature=list(options.temperature),
        initial_prompt=options.initial_prompt,
        hotwords=options.hotwords,
        condition_on_previous_text=options.condition_on_previous_text,
        word_timestamps=options.word_timestamps,
        vad_filter=options.vad_filter,
        vad_parameters=msgspec.structs.asdict(options.vad),
    )
    return [ours(segment) for segment in segments], info


def ours(segment: Any) -> Segment:
    words = None
    if segment.words is not None:
        words = tuple(
            Word(start=word.start, end=word.end, word=word.word, probability=word.probability) for word in segment.words
        )
    return Segment(
        id=segment.id - 1,
        seek=segment.seek,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=tuple(segment.tokens),
        temperature=segment.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
        words=words,
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["two", "memo_35s"])
async def test_segments_are_those_of_faster_whisper(
    engine: WhisperEngine, model: WhisperModel, name: str, options: dict[str, Any]
) -> None:
    chosen = TranscriptionOptions(**options)
    chunks = await by_engine(engine, path_of(name), chosen)
    expected, info = by_whisper(model, str(path_of(name)), chosen)
    assert segments_of(chunks) == expected
    assert expected
    last = chunks[-1]
    assert last.duration == info.duration
    assert last.duration_after_vad == info.duration_after_vad
    assert (last.language, last.language_probability) == (info.language, info.language_probability)


async def test_a_recording_as_long_as_a_block_is_still_one_block(model: WhisperModel) -> None:
    settings = make_settings({"engine.block_seconds": 120.0})
    engine = WhisperEngine(settings.engine, settings.models, concurrency=1)
    chosen = TranscriptionOptions(temperature=(0.0,))
    expected, info = by_whisper(model, str(path_of("memo_100s")), chosen)
    chunks = await by_engine(engine, path_of("memo_100s"), chosen)
    assert segments_of(chunks) == expected
    assert chunks[-1].duration_after_vad == info.duration_after_vad


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("mp3", "libmp3lame", 44_100, "stereo"),
        Recipe("webm", "libopus", 48_000),
        Recipe("wav", "pcm_f32le", 8_000),
    ],
)
async def test_the_format_makes_no_difference(
    engine: WhisperEngine, model: WhisperModel, tmp_path: Path, recipe: Recipe
) -> None:
    path = write(tmp_path / "media", samples_of("two"), recipe)
    expected, _ = by_whisper(model, str(path), TranscriptionOptions())
    assert segments_of(await by_engine(engine, path, TranscriptionOptions())) == expected


async def test_real_speech_comes_out_the_same(engine: WhisperEngine, model: WhisperModel) -> None:
    # the demo model cannot read it, and must not read it in another way here
    chosen = TranscriptionOptions(temperature=(0.0,), word_timestamps=True)
    expected, _ = by_whisper(model, str(path_of("jfk")), chosen)
    assert segments_of(await by_engine(engine, path_of("jfk"), chosen)) == expected


@pytest.mark.parametrize("vad_filter", [True, False])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 5.0, 40.0])
async def test_silence_comes_out_the_same(
    engine: WhisperEngine, model: WhisperModel, tmp_path: Path, *, seconds: float, vad_filter: bool
) -> None:
    path = write(tmp_path / "quiet.wav", silence(seconds))
    chosen = TranscriptionOptions(vad_filter=vad_filter, temperature=(0.0,))
    expected, info = by_whisper(model, str(path), chosen)
    chunks = await by_engine(engine, path, chosen)
    assert segments_of(chunks) == expected == []
    assert chunks[-1].position == chunks[-1].duration == info.duration
    assert chunks[-1].duration_after_vad == info.duration_after_vad
    assert chunks[-1].language is None


async def test_a_clip_is_the_same_as_its_part_alone(engine: WhisperEngine, model: WhisperModel) -> None:
    chosen = TranscriptionOptions(clip_start_seconds=7.0, clip_end_seconds=22.0, word_timestamps=True)
    part = samples_of("memo_35s")[7 * RATE : 22 * RATE].astype(np.float32) / 32_768
    expected, _ = by_whisper(model, part, chosen)
    segments = segments_of(await by_engine(engine, path_of("memo_35s"), chosen))
    assert [segment.text for segment in segments] == [segment.text for segment in expected]
    assert [segment.start for segment in segments] == [round(segment.start + 7, 3) for segment in expected]
    assert [word.end for s in segments for word in s.words or ()] == [
        round(word.end + 7, 3) for s in expected for word in s.words or ()
    ]
    assert segments[0].seek == 700


async def test_sampling_says_its_temperature(engine: WhisperEngine) -> None:
    segments = segments_of(await by_engine(engine, path_of("two"), TranscriptionOptions(temperature=(0.4,))))
    assert {segment.temperature for segment in segments} == {0.4}
