"""Channels in step: each is what it is by itself, and no one is far ahead."""

from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_text.adapters.assignment import Assignment
from audio_text.adapters.audio_blocks import Blocks
from audio_text.adapters.audio_decoding import Samples
from audio_text.adapters.block_transcription import BlockTranscription
from audio_text.adapters.channels import ChannelSplit, ChannelTranscription, distinct_channels
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.ports import ResumePoint
from fakes.whisper import FakeWhisper, SpokenWord, prepared, speak, speech_of
from recordings import RATE, in_pieces
from services.chunks import segments_of

BLOCK_SECONDS = 30.0


class Call:
    """What two or more say, and how it is read."""

    def __init__(self, *speeches: list[SpokenWord]) -> None:
        self.speeches = speeches
        spoken = [speak(words) for words in speeches]
        self.rows = np.zeros((len(spoken), max(row.size for row in spoken)), np.int16)
        for row, samples in zip(self.rows, spoken, strict=True):
            row[: samples.size] = samples
        self.most_waiting = 0

    def alone(self, channel: int) -> list[TranscriptChunk]:
        return list(self._part(channel, iter(in_pieces(self.rows[channel - 1])), None).chunks())

    def together(self, resume: ResumePoint | None = None) -> ChannelTranscription:
        channels = range(1, len(self.rows) + 1)
        points = {channel: resume.channels[channel] if resume else None for channel in channels}
        begins = {channel: _assignment(point).begin for channel, point in points.items()}
        first = min(begins.values())
        split = ChannelSplit(self._read(first), channels)
        self.reads = dict.fromkeys(channels, 0)
        parts = {
            channel: self._part(
                channel,
                self._counted(channel, split.samples(channel, skip=round((begins[channel] - first) * RATE))),
                points[channel],
            )
            for channel in channels
        }
        return ChannelTranscription(parts, _assignment(resume))

    def _read(self, begin: float) -> Iterator[Samples]:
        rest = self.rows[:, round(begin * RATE) :]
        return (rest[:, start : start + RATE] for start in range(0, rest.shape[1], RATE))

    def _counted(self, channel: int, samples: Iterator[Samples]) -> Iterator[Samples]:
        for piece in samples:
            self.reads[channel] += piece.size
            self.most_waiting = max(self.most_waiting, max(self.reads.values()) - min(self.reads.values()))
            yield piece

    def _part(self, channel: int, samples: Iterator[Samples], resume: ResumePoint | None) -> BlockTranscription:
        assignment = _assignment(resume)
        return BlockTranscription(
            FakeWhisper(self.speeches[channel - 1]),
            assignment,
            Blocks(
                samples,
                seconds=BLOCK_SECONDS,
                speech=speech_of,
                heard=assignment.heard_samples,
                is_continued=assignment.is_continued,
            ),
            prepare=prepared,
            estimate=lambda decoded: decoded + 10.0,
        )


def _assignment(resume: ResumePoint | None) -> Assignment:
    return Assignment(Path(), "demo", TranscriptionOptions(), resume)


def facts(segments: list[Segment]) -> list[tuple[object, ...]]:
    return [(segment.start, segment.end, segment.text, segment.tokens) for segment in segments]


@st.composite
def speeches(draw: st.DrawFn) -> list[SpokenWord]:
    """One to two minutes of sentences with any pauses, some of them long."""
    words: list[SpokenWord] = []
    pauses = st.sampled_from([0, 4_000, 16_000, 320_000])
    for sentence in range(draw(st.integers(1, 12))):
        words += [SpokenWord(len(words) + place, sentence, 6_000, 0) for place in range(draw(st.integers(1, 8)))]
        words[-1] = words[-1]._replace(pause=draw(pauses))
    return words


CALLS = st.lists(speeches(), min_size=2, max_size=3).map(lambda spoken: Call(*spoken))


@given(CALLS)
@settings(max_examples=40, deadline=None)
def test_each_channel_is_what_it_is_alone_and_all_come_by_time(call: Call) -> None:
    chunks = list(call.together().chunks())
    for channel in range(1, len(call.rows) + 1):
        assert facts(segments_of(chunks, channel)) == facts(segments_of(call.alone(channel)))
    segments = segments_of(chunks)
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert all(earlier.start <= later.start for earlier, later in pairwise(segments))
    assert all(a.position <= b.position and a.progress <= b.progress for a, b in pairwise(chunks))
    assert chunks[-1].position == chunks[-1].duration == pytest.approx(call.rows.shape[1] / RATE)


@given(CALLS)
@settings(max_examples=20, deadline=None)
def test_no_channel_is_read_further_ahead_than_two_blocks(call: Call) -> None:
    for _ in call.together().chunks():
        pass
    assert call.most_waiting <= 2 * BLOCK_SECONDS * RATE + 2 * RATE


@given(CALLS, st.data())
@settings(max_examples=40, deadline=None)
def test_what_was_broken_off_between_sentences_goes_on_as_if_it_was_not(call: Call, data: st.DataObject) -> None:
    whole = list(call.together().chunks())
    transcription = call.together()
    stored = list(islice(transcription.chunks(), data.draw(st.integers(1, len(whole)))))
    rest = list(call.together(transcription.resume_point()).chunks())
    both = segments_of(stored) + segments_of(rest)
    assert [segment.id for segment in both] == list(range(len(both)))
    assert {facts([segment])[0] for segment in both} == {facts([segment])[0] for segment in segments_of(whole)}
    assert len(both) == len(segments_of(whole))


def test_copies_of_a_channel_are_told_by_all_of_it() -> None:
    rng = np.random.default_rng(1)
    voice, other = (rng.integers(-9_000, 9_000, 4 * RATE).astype(np.int16) for _ in range(2))
    silent, late = np.zeros_like(voice), voice.copy()
    late[-1] += 100
    codec = voice + rng.integers(-3, 4, voice.size).astype(np.int16)

    def found(*rows: Samples) -> list[int]:
        stacked = np.stack(rows)
        pieces = (stacked[:, start : start + RATE] for start in range(0, voice.size, RATE))
        return distinct_channels(pieces, count=len(rows))

    assert found(voice) == [1]
    assert found(voice, voice) == [1]
    assert found(voice, codec) == [1]
    assert found(voice, late) == [1, 2]
    assert found(silent, voice, silent, other, voice) == [1, 2, 4]


def test_channels_that_differ_at_once_are_not_read_to_the_end() -> None:
    pieces = iter([np.array([[0, 0], [0, 9_000]], np.int16), np.zeros((2, 2), np.int16)])
    assert distinct_channels(pieces, count=2) == [1, 2]
    assert len(list(pieces)) == 1
