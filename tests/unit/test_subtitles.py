"""Subtitle cues: what they may hold, and that nothing is lost on the way into them."""

from collections.abc import Iterable
from itertools import pairwise, zip_longest
from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.subtitles import DEFAULT_LIMITS, SHORTEST_CUE_MS, Cue, CueLimits, CueShaper
from audio_text.domain.transcript import Segment, Word
from factories import make_segment

SPEECH = (
    " When the committee met on Tuesday, nobody had read the report. It was decided to wait for a week,"
    " and to ask the authors for a summary."
)


def shaped(*segments: Segment, limits: CueLimits = DEFAULT_LIMITS) -> list[Cue]:
    shaper = CueShaper(limits)
    return [cue for segment in segments for cue in shaper.feed(segment)] + shaper.finish()


def timed(*words: tuple[float, float, str]) -> Segment:
    """A segment of these words: start, end, word with its space."""
    return make_segment(
        start=words[0][0],
        end=words[-1][1],
        text="".join(word for _, _, word in words),
        words=tuple(Word(start=start, end=end, word=word, probability=0.9) for start, end, word in words),
    )


def test_a_short_segment_is_one_cue_with_the_times_of_the_segment() -> None:
    assert shaped(make_segment(start=0.5, end=2.5, text=" Good morning, everyone.")) == [
        Cue(start_ms=500, end_ms=2_500, lines=("Good morning, everyone.",))
    ]


def test_a_long_segment_is_cut_where_a_sentence_ends_and_into_lines_of_like_length() -> None:
    first, second = shaped(make_segment(start=0.0, end=9.6, text=SPEECH))

    assert first.lines == ("When the committee met on Tuesday,", "nobody had read the report.")
    assert second.lines == ("It was decided to wait for a week,", "and to ask the authors for a summary.")
    assert first.end_ms < second.start_ms < first.end_ms + 100
    assert (first.start_ms, second.end_ms) == (0, 9_600)


def test_word_times_decide_when_a_cue_begins() -> None:
    [first, second] = shaped(
        timed((0.0, 0.4, " Wait"), (0.4, 0.8, " here."), (6.5, 6.9, " Now"), (6.9, 7.4, " go.")),
    )

    assert (first.lines, first.start_ms, first.end_ms) == (("Wait here.",), 0, SHORTEST_CUE_MS)
    assert (second.lines, second.start_ms, second.end_ms) == (("Now go.",), 6_500, 7_400)


def test_words_that_do_not_spell_the_text_are_not_believed() -> None:
    other = Word(start=5.0, end=6.0, word=" Nonsense", probability=0.1)

    [cue] = shaped(make_segment(start=0.0, end=2.0, text=" Good morning.", words=(other,)))

    assert (cue.lines, cue.start_ms, cue.end_ms) == (("Good morning.",), 0, 2_000)


def test_a_hyphenated_word_stays_whole() -> None:
    [cue] = shaped(timed((0.0, 0.5, " well"), (0.5, 1.0, "-known")), limits=CueLimits(max_line_width=6))

    assert cue.lines == ("well-known",)


def test_a_few_words_in_a_long_silence_are_one_cue_that_ends() -> None:
    [cue] = shaped(make_segment(start=0.0, end=29.0, text=" Thank you."))

    assert (cue.lines, cue.start_ms, cue.end_ms) == (("Thank you.",), 0, 7_000)


def test_a_cue_that_is_too_fast_is_shown_into_the_silence_but_not_into_the_next() -> None:
    fast = make_segment(start=0.0, end=1.0, text=" This takes two seconds to read to the end")

    assert [(cue.start_ms, cue.end_ms) for cue in shaped(fast)] == [(0, 2_050)]
    assert [(cue.start_ms, cue.end_ms) for cue in shaped(fast, make_segment(start=1.5, end=3.0))] == [
        (0, 1_500),
        (1_500, 3_000),
    ]


def test_japanese_is_broken_between_characters_and_no_line_begins_with_a_full_stop() -> None:
    text = "東京は日本の首都です。人口は約千四百万人です。"

    cues = shaped(make_segment(start=0.0, end=6.0, text=text), limits=CueLimits(max_line_width=21, max_line_count=1))

    assert "".join(line for cue in cues for line in cue.lines) == text
    assert all(len(line) <= 10 for cue in cues for line in cue.lines)
    assert not any(line.startswith("。") for cue in cues for line in cue.lines)


def test_every_cue_of_a_segment_bears_the_label_of_its_speaker() -> None:
    shaper = CueShaper()

    cues = shaper.feed(make_segment(start=0.0, end=9.6, text=SPEECH), speaker="Ada") + shaper.finish()

    assert [cue.speaker for cue in cues] == ["Ada", "Ada"]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
starts, lengths = st.floats(-1, 60), st.floats(-1, 40)


@st.composite
def timed_segments(draw: st.DrawFn) -> Segment:
    """Words as a model may time them: late, early, endless, backwards."""
    parts = draw(st.lists(words, max_size=40))
    start, times = draw(starts), draw(st.lists(st.floats(-0.5, 9), min_size=2 * len(parts), max_size=2 * len(parts)))
    spoken: list[Word] = []
    for number, part in enumerate(parts):
        begin = start + times[2 * number]
        start = begin + times[2 * number + 1]
        spoken.append(Word(start=begin, end=start, word=f" {part}", probability=0.5))
    text = "".join(word.word for word in spoken)
    return make_segment(start=draw(starts), end=draw(starts), text=text, words=tuple(spoken))


untimed_segments = st.builds(
    lambda parts, start, length: make_segment(start=start, end=start + length, text=" ".join(parts)),
    st.lists(words, max_size=60),
    starts,
    lengths,
)
many = st.lists(timed_segments() | untimed_segments, max_size=5)
limits = st.builds(
    CueLimits,
    max_line_width=st.integers(1, 80),
    max_line_count=st.integers(1, 4),
    max_cue_seconds=st.floats(1, 10),
    max_characters_per_second=st.floats(1, 50),
)


@given(many, limits)
def test_no_word_is_lost_doubled_or_moved(segments: list[Segment], limits: CueLimits) -> None:
    cues = shaped(*segments, limits=limits)

    assert _letters(line for cue in cues for line in cue.lines) == _letters(segment.text for segment in segments)


@given(many, limits)
def test_cues_follow_each_other_without_overlap_and_each_is_seen(segments: list[Segment], limits: CueLimits) -> None:
    cues = shaped(*segments, limits=limits)

    assert all(0 <= cue.start_ms < cue.end_ms for cue in cues)
    assert all(cue.end_ms <= following.start_ms for cue, following in pairwise(cues))


@given(many, limits)
def test_no_cue_is_shown_for_too_long(segments: list[Segment], limits: CueLimits) -> None:
    longest_ms = round(limits.max_cue_seconds * 1_000)

    assert all(cue.end_ms - cue.start_ms <= longest_ms for cue in shaped(*segments, limits=limits))


@given(many, limits)
def test_a_cue_has_no_more_lines_and_no_longer_lines_than_allowed(segments: list[Segment], limits: CueLimits) -> None:
    lines = [cue.lines for cue in shaped(*segments, limits=limits)]

    assert all(1 <= len(cue) <= limits.max_line_count for cue in lines)
    assert all(_columns(line) <= limits.max_line_width or _is_unbreakable(line) for cue in lines for line in cue)
    assert all(line == " ".join(line.split()) for cue in lines for line in cue)


@given(many, limits)
def test_a_cue_is_too_fast_only_where_there_is_no_time(segments: list[Segment], limits: CueLimits) -> None:
    cues = shaped(*segments, limits=limits)

    for cue, following in zip_longest(cues, cues[1:]):
        seconds = (cue.end_ms - cue.start_ms) / 1_000
        speed = sum(map(_columns, cue.lines)) / seconds
        assert (
            speed <= limits.max_characters_per_second * 1.001
            or (following is not None and cue.end_ms == following.start_ms)
            or seconds == pytest.approx(limits.max_cue_seconds, abs=0.001)
        )


def _letters(texts: Iterable[str]) -> str:
    return "".join("".join(texts).split())


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _is_unbreakable(line: str) -> bool:
    """One word, or one character of Chinese or Japanese with its marks."""
    return " " not in line and (
        len(line) == 1 or sum("\u3040" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff" for c in line) <= 1
    )
