"""The channels of a recording: dealt out of one pass over the file, transcribed each by itself, merged by time."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import msgspec
import numpy as np

from audio_text.adapters.assignment import Assignment
from audio_text.adapters.audio_decoding import SILENT_PEAK, Samples
from audio_text.adapters.block_transcription import EXACT_DIGITS, BlockTranscription
from audio_text.domain.blocks import Progress
from audio_text.domain.transcript import ChannelProgress, TranscriptChunk
from audio_text.ports import ResumePoint


def distinct_channels(pieces: Iterable[Samples], *, count: int) -> list[int]:
    """The channels, counted from 1, that do not sound like an earlier one from beginning to end.

    Reads only until all are told apart: the whole of a recording only when somebody recorded one voice twice.
    """
    alike = list(combinations(range(count), 2))
    for piece in pieces:
        rows = piece.astype(np.int32)
        alike = [(a, b) for a, b in alike if np.abs(rows[a] - rows[b]).max(initial=0) <= SILENT_PEAK]
        if not alike:
            break
    copies = {b for _, b in alike}
    return [channel + 1 for channel in range(count) if channel not in copies]


class ChannelSplit:
    """Deals channels out to their readers; what one of them has not read yet waits for it."""

    def __init__(self, pieces: Iterator[Samples], channels: Iterable[int]) -> None:
        self._pieces = pieces
        self._waiting: dict[int, deque[Samples]] = {channel: deque() for channel in channels}

    def samples(self, channel: int, *, skip: int) -> Iterator[Samples]:
        """One channel without its first so many samples."""
        waiting = self._waiting[channel]
        while waiting or self._read():
            piece = waiting.popleft()
            yield piece[skip:]
            skip = max(0, skip - piece.size)

    def _read(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        for channel, waiting in self._waiting.items():
            # a copy, or who reads slowly would keep the others' samples, too
            waiting.append(piece[channel - 1].copy())
        return True


class _Heard(NamedTuple):
    """News of one channel, and where to go on in it after that."""

    channel: int
    chunk: TranscriptChunk
    after: ResumePoint

    @property
    def time(self) -> float:
        return self.chunk.segments[0].start if self.chunk.segments else self.after.position


class ChannelTranscription:
    """Several transcriptions at once, of which the one that is furthest behind always goes on.

    Each is what it would be if its channel were a recording by itself. One chunk of each is held until its turn
    comes: none is ahead of another by more than a block, nor holds more samples than that.
    """

    def __init__(self, parts: Mapping[int, BlockTranscription], assignment: Assignment) -> None:
        """`parts` are the transcriptions of the channels, which count from 1."""
        self._parts = parts
        resumed: Mapping[int, ResumePoint] = assignment.resume.channels if assignment.resume else {}
        self._ahead = {channel: resumed[channel].segments_ahead if channel in resumed else 0 for channel in parts}
        self._points = {
            channel: msgspec.structs.replace(part.resume_point(), segments_ahead=self._ahead[channel])
            for channel, part in parts.items()
        }
        self._clip_start = assignment.options.clip_start_seconds
        self._next_id = assignment.resume.next_segment_id if assignment.resume else 0
        self._progress = Progress()

    def chunks(self) -> Iterator[TranscriptChunk]:
        """The chunks of all channels by time, and the ids of their segments in that order."""
        streams = (_heard(channel, part, self._ahead[channel]) for channel, part in self._parts.items())
        for heard in heapq.merge(*streams, key=lambda heard: heard.time):
            yield self._chunk(heard)

    def resume_point(self) -> ResumePoint:
        """Where another pass, after this one broke off, has to go on so that both together are one."""
        points = self._points.values()
        most = self._most_spoken()
        return ResumePoint(
            position=min(point.position for point in points),
            next_segment_id=self._next_id,
            duration_after_vad=sum(point.duration_after_vad for point in points),
            language=most and most.language,
            language_probability=most and most.language_probability,
            channels=dict(self._points),
        )

    def _chunk(self, heard: _Heard) -> TranscriptChunk:
        self._points[heard.channel] = heard.after
        segments = tuple(
            msgspec.structs.replace(segment, id=self._next_id + place, channel=heard.channel)
            for place, segment in enumerate(heard.chunk.segments)
        )
        self._next_id += len(segments)
        whole = self.resume_point()
        position, duration = (
            round(seconds, EXACT_DIGITS) for seconds in (whole.position - self._clip_start, heard.chunk.duration)
        )
        position, duration = self._progress.at(min(position, duration), duration)
        return msgspec.structs.replace(
            heard.chunk,
            segments=segments,
            position=position,
            duration=duration,
            duration_after_vad=whole.duration_after_vad,
            language=whole.language,
            language_probability=whole.language_probability,
            block_start=None,
            next_window=None,
            channel_progress=tuple(_progress(channel, point) for channel, point in self._points.items()),
        )

    def _most_spoken(self) -> ResumePoint | None:
        known = [point for point in self._points.values() if point.language is not None]
        return max(known, key=lambda point: point.duration_after_vad, default=None)


def _heard(channel: int, part: BlockTranscription, ahead: int) -> Iterator[_Heard]:
    """Segment by segment, because those of other channels come in between; without the first `ahead` of them.

    Until the last segment of its window has come, a channel goes on with that window.
    """
    before = part.resume_point()
    for chunk in part.chunks():
        after = part.resume_point()
        language = {"language": after.language, "language_probability": after.language_probability}
        for number, segment in enumerate(chunk.segments[ahead:-1], start=ahead + 1):
            within = msgspec.structs.replace(before, segments_ahead=number, **language)
            yield _Heard(channel, msgspec.structs.replace(chunk, segments=(segment,)), within)
        last = chunk.segments[max(ahead, len(chunk.segments) - 1) :]
        yield _Heard(channel, msgspec.structs.replace(chunk, segments=last), after)
        before, ahead = after, 0


def _progress(channel: int, point: ResumePoint) -> ChannelProgress:
    return ChannelProgress(
        channel=channel,
        position=point.position,
        block_start=point.block_start,
        next_window=point.next_window,
        segments_ahead=point.segments_ahead,
        duration_after_vad=point.duration_after_vad,
        language=point.language,
        language_probability=point.language_probability,
    )
