"""Who says what, in every format."""

import json
from itertools import pairwise

import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.formats import TranscriptFormat, render, writer
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.speakers import channel_speakers, plain_text, speakers_of
from audio_text.domain.transcript import Segment
from factories import make_segment

SPEAKERS = channel_speakers(["Agent --> R&D", "Kim"])
CALL = [
    make_segment(0, channel=1, start=0.0, end=2.0, text=" Good morning."),
    make_segment(1, channel=1, start=2.0, end=6.0, text=" How are you?"),
    make_segment(2, channel=2, start=3.0, end=4.0, text=" Well."),
    make_segment(3, channel=3, start=5.0, end=6.0, text=" Hello."),
]


def test_a_turn_is_a_line_that_begins_with_who_speaks() -> None:
    turns = "Agent --> R&D: Good morning. How are you?\nKim: Well.\nChannel 3: Hello."
    assert render(TranscriptFormat.text, CALL, speakers=SPEAKERS) == f"{turns}\n"
    assert plain_text(CALL, speakers=SPEAKERS) == turns
    assert json.loads(render(TranscriptFormat.json, CALL, speakers=SPEAKERS))["text"] == turns
    assert plain_text(CALL) == "Good morning. How are you? Well. Hello."


def test_silence_is_nobodys_turn() -> None:
    quiet = [make_segment(0, channel=2, text=" "), *CALL[:1], make_segment(2, channel=2, text=""), *CALL[1:2]]
    assert plain_text(quiet, speakers=SPEAKERS) == "Agent --> R&D: Good morning. How are you?"
    assert render(TranscriptFormat.text, quiet[:1], speakers=SPEAKERS) == ""


def test_cues_bear_their_speaker_and_overlap_where_two_speak_at_once() -> None:
    subrip = render(TranscriptFormat.srt, CALL, speakers=SPEAKERS)
    assert [cue.content for cue in srt.parse(subrip)] == [
        "Agent -> R&D: Good morning.",
        "Agent -> R&D: How are you?",
        "Kim: Well.",
        "Channel 3: Hello.",
    ]
    times = [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in srt.parse(subrip)]
    assert times == [(0.0, 2.0), (2.0, 6.0), (3.0, 4.0), (5.0, 6.0)]
    captions = webvtt.from_string(render(TranscriptFormat.vtt, CALL, speakers=SPEAKERS), strict=True)
    assert captions[0].raw_text == "<v Agent --&gt; R&amp;D>Good morning."


def test_a_table_has_a_column_for_the_speaker() -> None:
    assert render(TranscriptFormat.tsv, CALL[2:], speakers=SPEAKERS) == (
        "start\tend\tspeaker\ttext\n3000\t4000\tKim\tWell.\n5000\t6000\tChannel 3\tHello.\n"
    )


def test_json_has_channel_and_speaker_of_each_segment() -> None:
    for kind in (TranscriptFormat.json, TranscriptFormat.verbose_json):
        segments = json.loads(render(kind, CALL, speakers=SPEAKERS))["segments"]
        assert [(s["channel"], s["speaker"]) for s in segments[1:3]] == [(1, "Agent --> R&D"), (2, "Kim")]


def test_nobody_is_told_apart_where_channels_were_mixed() -> None:
    assert speakers_of(TranscriptionOptions(channel_names=("Kim",))) is None
    speakers = speakers_of(TranscriptionOptions(channels=Channels.separate, channel_names=("Kim",)))
    assert speakers is not None
    assert [speakers(make_segment(channel=channel)) for channel in (1, 2, None)] == ["Kim", "Channel 2", None]


@st.composite
def calls(draw: st.DrawFn) -> list[Segment]:
    """Segments by their start, of speakers who interrupt each other, speak on and on, or are silent for long."""
    segments: list[Segment] = []
    start = 0.0
    for number, pause in enumerate(draw(st.lists(st.sampled_from([0.0, 0.3, 2.0, 9.0, 60.0]), max_size=30))):
        start += pause
        text = "".join(f" word{number}" for _ in range(draw(st.integers(0, 40))))
        channel, seconds = draw(st.integers(1, 3)), draw(st.sampled_from([0.2, 3.0, 15.0]))
        segments.append(make_segment(number, channel=channel, start=start, end=start + seconds, text=text))
    return segments


@given(calls())
def test_cues_of_all_speakers_come_by_time_and_lose_no_word(segments: list[Segment]) -> None:
    cues = list(srt.parse(render(TranscriptFormat.srt, segments, speakers=SPEAKERS)))
    assert all(earlier.start <= later.start for earlier, later in pairwise(cues))
    assert all(cue.start < cue.end for cue in cues)
    said = sorted(word for cue in cues for word in cue.content.split() if word.startswith("word"))
    assert said == sorted(word for segment in segments for word in segment.text.split())
    for speaker in ("Agent -> R&D: ", "Kim: ", "Channel 3: "):
        own = [cue for cue in cues if cue.content.startswith(speaker)]
        assert all(earlier.end <= later.start for earlier, later in pairwise(own))


@given(calls(), st.sampled_from(list(TranscriptFormat)))
def test_part_by_part_the_document_is_the_same(segments: list[Segment], transcript_format: TranscriptFormat) -> None:
    document = writer(transcript_format, speakers=SPEAKERS)
    parts = [document.begin(), *(document.write([segment]) for segment in segments), document.end()]
    assert "".join(parts) == render(transcript_format, segments, speakers=SPEAKERS)


def test_subtitles_do_not_wait_for_somebody_who_said_one_thing() -> None:
    document = writer(TranscriptFormat.srt, speakers=SPEAKERS)
    once = make_segment(0, channel=2, start=0.0, end=1.0)
    told = document.write([once]) + document.write(
        [make_segment(number, channel=1, start=2.0 * number, end=2.0 * number + 1.0) for number in range(1, 8)]
    )
    assert len(list(srt.parse(told))) >= 6
