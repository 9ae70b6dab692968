"""Transcripts as files."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.formats import TranscriptFormat, render, timestamp
from audio_text.domain.transcript import Segment, Word
from factories import make_segment

TWO = [
    make_segment(id=0, start=0.5, end=2.0, text=" The meeting starts at ten."),
    make_segment(id=1, start=3661.0, end=3662.25, text=" Call Maria."),
]


def test_plain_text_has_one_line_per_segment() -> None:
    assert render(TranscriptFormat.txt, TWO) == "The meeting starts at ten.\nCall Maria.\n"


def test_subrip_numbers_its_cues_from_one_and_writes_commas() -> None:
    assert render(TranscriptFormat.srt, TWO) == (
        "1\n00:00:00,500 --> 00:00:02,000\nThe meeting starts at ten.\n"
        "\n"
        "2\n01:01:01,000 --> 01:01:02,250\nCall Maria.\n"
    )


def test_webvtt_begins_with_its_header() -> None:
    assert render(TranscriptFormat.vtt, TWO) == (
        "WEBVTT\n"
        "\n"
        "00:00:00.500 --> 00:00:02.000\nThe meeting starts at ten.\n"
        "\n"
        "01:01:01.000 --> 01:01:02.250\nCall Maria.\n"
    )


def test_json_keeps_scores_and_words() -> None:
    word = Word(start=0.5, end=0.9, word=" Hello", probability=0.75)
    segment = make_segment(id=0, text=" Hello", words=(word,), avg_logprob=-0.25)

    document = json.loads(render(TranscriptFormat.json, [segment]))

    assert document["text"] == "Hello"
    assert document["segments"][0]["avg_logprob"] == -0.25
    assert document["segments"][0]["words"] == [{"start": 0.5, "end": 0.9, "word": " Hello", "probability": 0.75}]


@pytest.mark.parametrize(
    ("transcript_format", "empty"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n"), ("json", '{\n  "text": "",\n  "segments": []\n}\n')],
)
def test_silence_is_an_empty_document(transcript_format: str, empty: str) -> None:
    assert render(TranscriptFormat(transcript_format), []) == empty


def test_a_segment_without_text_gets_no_cue_and_no_number() -> None:
    silent = make_segment(id=0, text="  ")
    spoken = make_segment(id=1, text=" Call Maria.")

    assert render(TranscriptFormat.srt, [silent, spoken]).startswith("1\n")
    assert render(TranscriptFormat.srt, [silent, spoken]).count("-->") == 1


def test_text_cannot_break_out_of_its_cue() -> None:
    nasty = make_segment(text=" a --> b\n\n2\n<i>&")

    assert "a -> b 2 <i>&\n" in render(TranscriptFormat.srt, [nasty])
    assert "a --&gt; b 2 &lt;i&gt;&amp;\n" in render(TranscriptFormat.vtt, [nasty])


def test_a_cue_never_ends_before_it_starts() -> None:
    backward = make_segment(start=2.0, end=1.0)

    assert "00:00:02.000 --> 00:00:02.000" in render(TranscriptFormat.vtt, [backward])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "00:00:00.000"),
        (-0.02, "00:00:00.000"),
        (59.9996, "00:01:00.000"),
        (3599.9999, "01:00:00.000"),
        (360_000.0, "100:00:00.000"),
    ],
)
def test_time_stamps_carry_over(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


segments = st.lists(
    st.builds(
        lambda text, start, length: make_segment(text=text, start=start, end=start + length),
        st.text(max_size=40),
        st.floats(0, 400_000),
        st.floats(0, 60),
    ),
    max_size=6,
)


@given(segments)
def test_any_text_gives_one_block_per_cue(segments: list[Segment]) -> None:
    spoken = [segment for segment in segments if segment.text.strip()]

    cues = [block for block in re.split(r"\n\n", render(TranscriptFormat.srt, segments)) if block]

    assert [cue.split("\n")[0] for cue in cues] == [str(number) for number in range(1, len(spoken) + 1)]
    assert all(len(cue.strip("\n").split("\n")) == 3 for cue in cues)


@given(segments)
def test_json_reads_back_to_the_same_segments(segments: list[Segment]) -> None:
    document = json.loads(render(TranscriptFormat.json, segments))

    assert [item["text"] for item in document["segments"]] == [segment.text for segment in segments]
