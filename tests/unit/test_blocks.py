"""Cutting a recording into blocks: nothing lost, nothing doubled, everything carried over."""

import random
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_text.adapters.assignment import Assignment
from audio_text.adapters.audio_blocks import Blocks
from audio_text.adapters.block_transcription import BlockTranscription, require_language
from audio_text.adapters.whisper import HeardWindow, WindowStart
from audio_text.domain.blocks import PROMPT_TOKENS, Progress, longest_pause, prompt_tokens
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.errors import InvalidRequestError
from audio_text.ports import ResumePoint
from factories import make_segment
from fakes.whisper import GARBLED, FakeWhisper, SpokenWord, prepared, speak, speech_of
from recordings import RATE, in_pieces, silence

MINUTES = settings(max_examples=60, deadline=None)


class Heard(NamedTuple):
    chunks: list[TranscriptChunk]
    whisper: FakeWhisper

    @property
    def segments(self) -> list[Segment]:
        return [segment for chunk in self.chunks for segment in chunk.segments]

    @property
    def words(self) -> list[str]:
        return [word for segment in self.segments for word in segment.text.split()]


def hear(
    words: list[SpokenWord],
    *,
    seconds: float = 30.0,
    before: float = 0.0,
    resume: ResumePoint | None = None,
    temperature: float = 0.0,
    **options: Any,
) -> Heard:
    """Transcribe the words, after `before` seconds of silence, in blocks of so many seconds."""
    whisper = FakeWhisper(words, temperature)
    recording = np.concatenate([silence(before), speak(words)])
    assignment = Assignment(Path(), "demo", TranscriptionOptions(**options), resume)
    rest = recording[round(assignment.begin * RATE) :]
    transcription = BlockTranscription(
        whisper,
        assignment,
        Blocks(iter(in_pieces(rest)), seconds=seconds, speech=speech_of),
        prepare=prepared,
        estimate=lambda decoded: decoded + 10.0,
    )
    return Heard(list(transcription.chunks()), whisper)


def words_like(lengths: list[list[int]], *, gap: int, pause: int) -> list[SpokenWord]:
    """Sentences of words of such lengths, in samples."""
    words: list[SpokenWord] = []
    for sentence, length_of_words in enumerate(lengths):
        for place, length in enumerate(length_of_words):
            is_last = place + 1 == len(length_of_words)
            words.append(SpokenWord(len(words), sentence, length, pause if is_last else gap))
    return words


def monologue(sentences: int, *, gap: int = 0, pause: int = 0) -> list[SpokenWord]:
    """Sentences of four seconds: ten words of about 0.4 s."""
    return words_like([[6_000, 6_800] * 5] * sentences, gap=gap, pause=pause)


def speech_by(seed: int, longest_pause: int) -> list[SpokenWord]:
    """One to three minutes of sentences of up to six seconds; pauses and gaps of any length up to the longest."""
    generator = random.Random(seed)
    words: list[SpokenWord] = []
    for sentence in range(generator.randint(15, 40)):
        count = generator.randint(1, 10)
        for place in range(count):
            pause = generator.randint(0, longest_pause if place + 1 == count else min(longest_pause, 3_000))
            words.append(SpokenWord(len(words), sentence, generator.randint(1_000, 9_000), pause))
    return words


def speeches() -> st.SearchStrategy[list[SpokenWord]]:
    """From those without any pause to those with seconds of it."""
    # by a seed: a thousand draws an example would take longer than the test
    return st.builds(speech_by, st.integers(0, 10_000), st.sampled_from([0, 3_000, 8_000, 40_000]))


@given(words=speeches(), seconds=st.sampled_from([30.0, 47.5, 120.0]))
@MINUTES
def test_no_word_is_lost_or_doubled_at_a_cut(words: list[SpokenWord], seconds: float) -> None:
    assert hear(words, seconds=seconds).words == [f"word{word.number}" for word in words]


@given(words=speeches())
@MINUTES
def test_times_are_those_of_the_recording(words: list[SpokenWord]) -> None:
    heard = hear(words)
    starts: dict[str, float] = {}
    position = 0
    for word in words:
        starts[f"word{word.number}"] = position / RATE
        position += word.length + word.pause
    assert all(segment.start == pytest.approx(starts[segment.text.split()[0]], abs=3e-3) for segment in heard.segments)
    assert [segment.id for segment in heard.segments] == list(range(len(heard.segments)))
    assert heard.chunks[-1].duration == pytest.approx(position / RATE)


@given(words=speeches())
@MINUTES
def test_position_and_progress_never_go_back(words: list[SpokenWord]) -> None:
    chunks = hear(words).chunks
    assert [chunk.position for chunk in chunks] == sorted(chunk.position for chunk in chunks)
    assert [chunk.progress for chunk in chunks] == sorted(chunk.progress for chunk in chunks)
    assert chunks[-1].position == chunks[-1].duration
    spoken = sum(word.length for word in words) / RATE
    assert chunks[-1].duration_after_vad == pytest.approx(spoken, rel=0.05)


def test_a_monologue_without_any_pause_is_heard_whole() -> None:
    words = monologue(60)
    heard = hear(words)
    assert heard.words == [f"word{word.number}" for word in words]
    assert len(heard.whisper.options) > 5


def test_a_cut_is_made_in_the_longest_pause() -> None:
    words = monologue(20, pause=2_000)
    words[46] = words[46]._replace(pause=16_000)
    heard = hear(words)
    assert heard.words == [f"word{word.number}" for word in words]
    assert GARBLED not in heard.words


def test_a_sentence_that_never_ends_is_cut_all_the_same() -> None:
    words = words_like([[8_000] * 300], gap=0, pause=0)
    heard = hear(words)
    # each hard cut may spoil the word that it goes through
    assert len(heard.whisper.options) <= 12
    assert sum(word == GARBLED for word in heard.words) <= 2 * len(heard.whisper.options)
    assert heard.chunks[-1].position == 150.0


def test_a_recording_that_fits_into_a_block_is_given_to_whisper_whole() -> None:
    assert len(hear(monologue(7), seconds=30.0).whisper.options) == 1
    assert len(hear(monologue(8), seconds=30.0).whisper.options) == 2


def test_what_whisper_reads_into_the_emptiness_after_a_cut_is_left_out() -> None:
    class Hallucinating(FakeWhisper):
        def transcribe_from(self, start: WindowStart, audio: Any, **options: Any) -> Any:
            windows, info = super().transcribe_from(start, audio, **options)
            return _and_an_echo(windows, audio.size / RATE), info

    def _and_an_echo(windows: Iterator[HeardWindow], end: float) -> Iterator[HeardWindow]:
        window = None
        for window in windows:
            yield window
        if window:
            echo = copy(window.segments[-1])
            echo.start, echo.end, echo.text = end + 0.2, end + 3.0, " echo"
            yield window._replace(segments=[echo])

    words = monologue(20, pause=16_000)
    whisper = Hallucinating(words)
    transcription = BlockTranscription(
        whisper,
        Assignment(Path(), "demo", TranscriptionOptions(), None),
        Blocks(iter(in_pieces(speak(words))), seconds=30.0, speech=speech_of),
        prepare=prepared,
        estimate=lambda decoded: decoded,
    )
    heard = Heard(list(transcription.chunks()), whisper)
    # the last block is left as Whisper wrote it
    assert heard.words == [f"word{word.number}" for word in words] + ["echo"]


def test_the_next_block_is_shown_the_text_before_it() -> None:
    heard = hear(monologue(20, pause=8_000), initial_prompt="ab ")
    first, second, *_ = heard.whisper.options
    assert first["initial_prompt"] == [ord(letter) for letter in " ab"]
    spoken = second["initial_prompt"][3:]
    assert second["initial_prompt"][:3] == first["initial_prompt"]
    assert spoken == list(range(1_000, 1_000 + len(spoken)))
    assert len(heard.whisper.options[-1]["initial_prompt"]) <= PROMPT_TOKENS


@pytest.mark.parametrize(("condition", "room"), [(True, 121), (False, 343)])
def test_hotwords_leave_room_for_earlier_and_for_new_text(*, condition: bool, room: int) -> None:
    heard = hear(monologue(1), hotwords="x" * 400, initial_prompt="", condition_on_previous_text=condition)
    assert heard.whisper.options[0]["hotwords"] == " " + "x" * (room - 1)
    assert hear(monologue(1), hotwords="few words").whisper.options[0]["hotwords"] == "few words"


def test_text_sampled_too_warm_is_not_shown() -> None:
    heard = hear(monologue(20, pause=8_000), temperature=0.6)
    assert all(options["initial_prompt"] == [] for options in heard.whisper.options)


def test_without_conditioning_only_the_first_text_is_led_by_the_prompt() -> None:
    heard = hear(monologue(20, pause=8_000), initial_prompt="a", condition_on_previous_text=False, before=45.0)
    prompts = [options["initial_prompt"] for options in heard.whisper.options]
    first_with_text = next(place for place, prompt in enumerate(prompts) if not prompt)
    assert first_with_text > 1
    assert all(prompt == [ord(" "), ord("a")] for prompt in prompts[:first_with_text])
    assert not any(prompts[first_with_text:])


def test_the_language_is_detected_in_the_first_block_with_text_and_kept() -> None:
    heard = hear(monologue(20, pause=8_000), before=45.0)
    languages = [options["language"] for options in heard.whisper.options]
    first_known = languages.index("fr")
    assert languages[:first_known] == [None] * first_known
    assert first_known > 1
    assert set(languages[first_known:]) == {"fr"}
    assert heard.chunks[0].language is None
    assert heard.chunks[-1].language == "fr"
    assert heard.chunks[-1].language_probability == 0.75


def test_a_language_that_was_asked_for_is_certain() -> None:
    heard = hear(monologue(3), language="en")
    assert heard.whisper.options[0]["language"] == "en"
    assert (heard.chunks[0].language, heard.chunks[0].language_probability) == ("en", 1.0)


def test_a_clip_keeps_the_times_of_the_recording_and_counts_its_own_length() -> None:
    words = monologue(10, pause=8_000)
    heard = hear(words, clip_start_seconds=9.0)
    assert heard.segments[0].start == 9.0
    assert heard.words[0] == "word20"
    assert heard.chunks[-1].duration == heard.chunks[-1].position == 36.0


def test_a_resumed_recording_goes_on_with_ids_prompt_language_and_sums() -> None:
    words = monologue(20, pause=8_000)
    resume = ResumePoint(
        position=9.0,
        next_segment_id=2,
        duration_after_vad=8.0,
        language="es",
        language_probability=0.6,
        previous_tokens=[7, 8, 9],
    )
    heard = hear(words, resume=resume, initial_prompt="not again")
    assert heard.segments[0].id == 2
    assert heard.segments[0].start == 9.0
    assert heard.whisper.options[0]["initial_prompt"] == [7, 8, 9]
    assert heard.whisper.options[0]["language"] == "es"
    assert heard.chunks[-1].language_probability == 0.6
    assert heard.chunks[-1].position == heard.chunks[-1].duration == 90.0
    assert heard.chunks[-1].duration_after_vad == pytest.approx(80.0)


def test_a_recording_resumed_at_its_end_is_over_at_once() -> None:
    resume = ResumePoint(
        position=45.0, next_segment_id=10, duration_after_vad=40.0, language="en", language_probability=0.9
    )
    heard = hear(monologue(10, pause=8_000), resume=resume)
    assert len(heard.chunks) == 1
    assert heard.chunks[0].position == heard.chunks[0].duration == 45.0


@pytest.mark.parametrize(
    ("language", "is_known"), [(None, True), ("en", True), ("fr", True), ("es", False), ("qq", False)]
)
def test_a_language_without_a_token_is_refused_with_the_list(language: str | None, *, is_known: bool) -> None:
    whisper = FakeWhisper([])
    if is_known:
        require_language(whisper, "demo", language)
    else:
        with pytest.raises(InvalidRequestError, match=r'"demo" does not know the language "\w+". It knows: en, fr\.'):
            require_language(whisper, "demo", language)


def test_an_english_only_model_knows_english_alone() -> None:
    whisper = FakeWhisper([], supported_languages=["en"])
    require_language(whisper, "tiny.en", "en")
    require_language(whisper, "tiny.en", None)
    with pytest.raises(InvalidRequestError, match=r"It knows: en\."):
        require_language(whisper, "tiny.en", "fr")


def test_tokens_are_carried_up_to_the_models_limit() -> None:
    segments = [make_segment(0, tokens=tuple(range(200))), make_segment(1, tokens=tuple(range(200, 300)))]
    assert prompt_tokens(segments) == tuple(range(300 - PROMPT_TOKENS, 300))


def test_tokens_before_a_warm_segment_are_forgotten() -> None:
    segments = [
        make_segment(0, tokens=(1,)),
        make_segment(1, tokens=(2,), temperature=0.8),
        make_segment(2, tokens=(3,)),
    ]
    assert prompt_tokens(segments, before=[9]) == (3,)


def test_the_last_of_equally_long_pauses_is_taken() -> None:
    assert longest_pause([1, 0, 0, 1, 0.2, 0.3, 1]) == range(4, 6)
    assert longest_pause([0, 0, 0, 1, 0, 0]) == range(3)
    assert len(longest_pause([0.9, 0.5])) == 0


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), min_size=1))
def test_what_is_told_of_the_progress_never_goes_back(steps: list[tuple[float, float]]) -> None:
    progress = Progress()
    told = [progress.at(position, duration) for position, duration in steps]
    assert all(position <= duration for position, duration in told)
    assert [position for position, _ in told] == sorted(position for position, _ in told)
    percents = [round(100 * position / duration, 1) if duration else 0.0 for position, duration in told]
    assert percents == sorted(percents)
