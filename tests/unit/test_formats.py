"""Transcripts as documents."""

import html
import json
from datetime import timedelta
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.formats import TranscriptFormat, WebVttWriter, render, timestamp, writer
from audio_text.domain.subtitles import DEFAULT_LIMITS, Cue, CueLimits
from audio_text.domain.transcript import Segment, Word
from factories import make_segment

TWO = [
    make_segment(id=0, start=0.5, end=2.0, text=" The meeting starts at ten."),
    make_segment(id=1, start=3661.0, end=3662.25, text=" Call Maria."),
]


def test_text_has_one_line_per_segment() -> None:
    assert render(TranscriptFormat.text, TWO) == "The meeting starts at ten.\nCall Maria.\n"


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


def test_webvtt_has_room_for_a_note() -> None:
    document = writer(TranscriptFormat.vtt, note="Partial --> so\nfar")

    assert document.begin() + document.end() == "WEBVTT\n\nNOTE Partial -> so far\n"


def test_webvtt_names_the_speaker() -> None:
    cue = Cue(start_ms=0, end_ms=1_500, lines=("Good", "morning."), speaker="R&D >")

    document = WebVttWriter(DEFAULT_LIMITS, note=None)

    assert document._cue(cue) == "\n00:00:00.000 --> 00:00:01.500\n<v R&amp;D &gt;>Good\nmorning.\n"


def test_a_table_has_whole_milliseconds_and_one_line_per_segment() -> None:
    nasty = make_segment(start=1.0006, end=59.9996, text=" a\tb\nc ")

    assert render(TranscriptFormat.tsv, [*TWO, nasty]) == (
        "start\tend\ttext\n500\t2000\tThe meeting starts at ten.\n3661000\t3662250\tCall Maria.\n1001\t60000\ta b c\n"
    )


def test_json_has_the_text_and_each_segment_with_its_words() -> None:
    word = Word(start=0.5, end=0.9, word=" Hello", probability=0.75)
    timed = make_segment(id=0, start=0.5, end=1.0, text=" Hello", words=(word,))

    assert json.loads(render(TranscriptFormat.json, [timed, TWO[1]])) == {
        "segments": [
            {
                "id": 0,
                "start": 0.5,
                "end": 1.0,
                "text": " Hello",
                "words": [{"start": 0.5, "end": 0.9, "word": " Hello", "probability": 0.75}],
            },
            {"id": 1, "start": 3661.0, "end": 3662.25, "text": " Call Maria."},
        ],
        "text": "Hello Call Maria.",
    }


def test_verbose_json_keeps_everything_that_is_known_of_a_segment() -> None:
    word = Word(start=0.5, end=0.9, word=" Hello", probability=0.75)
    segment = make_segment(id=0, text=" Hello", words=(word,), avg_logprob=-0.25, no_speech_prob=float("nan"))

    [found] = json.loads(render(TranscriptFormat.verbose_json, [segment]))["segments"]

    assert set(found) == set(Segment.__struct_fields__) - {"channel"}
    assert (found["avg_logprob"], found["no_speech_prob"]) == (-0.25, None)


def test_json_begins_with_what_is_told_of_the_transcript() -> None:
    document = writer(TranscriptFormat.json, facts={"job_id": "1", "duration": None})

    assert json.loads(document.begin() + document.write(TWO) + document.end())["job_id"] == "1"
    assert document.begin() == '{"job_id":"1","duration":null,"segments":['


@pytest.mark.parametrize(
    ("transcript_format", "empty"),
    [
        ("text", ""),
        ("srt", ""),
        ("vtt", "WEBVTT\n"),
        ("tsv", "start\tend\ttext\n"),
        ("json", '{"segments":[],"text":""}\n'),
        ("verbose_json", '{"segments":[],"text":""}\n'),
    ],
)
def test_silence_is_an_empty_document(transcript_format: str, empty: str) -> None:
    assert render(TranscriptFormat(transcript_format), []) == empty


def test_a_segment_without_text_gets_no_cue_no_number_and_no_row() -> None:
    silent = make_segment(id=0, text="  ")
    spoken = make_segment(id=1, text=" Call Maria.")

    assert render(TranscriptFormat.srt, [silent, spoken]).startswith("1\n")
    assert render(TranscriptFormat.srt, [silent, spoken]).count("-->") == 1
    assert render(TranscriptFormat.tsv, [silent, spoken]).count("\n") == 2
    assert render(TranscriptFormat.text, [silent, spoken]) == "Call Maria.\n"


def test_text_cannot_break_out_of_its_cue() -> None:
    nasty = make_segment(text=" a --> b\n\n2\n<i>&")

    assert "a -> b 2 <i>&\n" in render(TranscriptFormat.srt, [nasty])
    assert "a --&gt; b 2 &lt;i&gt;&amp;\n" in render(TranscriptFormat.vtt, [nasty])


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


NASTY = ["-->", " 00:00:01.000 --> 00:00:02.000", "\n\n", "WEBVTT", "NOTE", "<v Ada>", "&amp;", "\u2028", "\x85", "1"]
segments = st.lists(
    st.builds(
        lambda texts, start, length: make_segment(text="".join(texts), start=start, end=start + length),
        st.lists(st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
        st.floats(0, 300_000),
        st.floats(0, 60),
    ),
    max_size=6,
)
limits = st.builds(CueLimits, max_line_width=st.integers(1, 60), max_line_count=st.integers(1, 3))


@given(segments, limits)
def test_an_independent_parser_reads_the_same_cues_from_subrip_and_from_webvtt(
    segments: list[Segment], limits: CueLimits
) -> None:
    from_srt = list(srt.parse(render(TranscriptFormat.srt, segments, limits=limits)))
    from_vtt = webvtt.from_string(render(TranscriptFormat.vtt, segments, limits=limits), strict=True)

    assert [cue.index for cue in from_srt] == list(range(1, len(from_srt) + 1))
    assert [(_clock(cue.start), _clock(cue.end), cue.content) for cue in from_srt] == [
        (cue.start, cue.end, html.unescape(cue.raw_text).replace("-->", "->")) for cue in from_vtt
    ]


@given(segments)
def test_every_word_is_in_every_format(segments: list[Segment]) -> None:
    words = [word for segment in segments for word in segment.text.split()]

    from_srt = srt.parse(render(TranscriptFormat.srt, segments))
    from_json = json.loads(render(TranscriptFormat.json, segments))["segments"]

    assert _letters(render(TranscriptFormat.text, segments)) == _letters(" ".join(words))
    assert _letters("".join(cue.content for cue in from_srt)) == _letters(" ".join(words)).replace("-->", "->")
    assert [segment["text"] for segment in from_json] == [segment.text for segment in segments]


@given(segments, st.integers(1, 3), st.sampled_from(TranscriptFormat))
def test_a_document_is_the_same_whole_or_in_parts(
    segments: list[Segment], size: int, transcript_format: TranscriptFormat
) -> None:
    cuts = [*range(0, len(segments), size), len(segments)]
    document = writer(transcript_format)

    parts = [document.begin(), *(document.write(segments[a:b]) for a, b in pairwise(cuts)), document.end()]

    assert "".join(parts) == render(transcript_format, segments)


def _clock(time: timedelta) -> str:
    return timestamp(time.total_seconds())


def _letters(text: str) -> str:
    return "".join(text.split())
