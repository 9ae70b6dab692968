"""A transcript as a file: plain text, SubRip and WebVTT subtitles, or JSON."""

import html
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import assert_never

import msgspec

from audio_text.domain.transcript import Segment, plain_text


class TranscriptFormat(StrEnum):
    """What a transcript can be written as; the value is also the file's extension."""

    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    json = "json"


def render(transcript_format: TranscriptFormat, segments: Iterable[Segment]) -> str:
    """Write segments, in the order given, as the contents of a file that ends in a line feed.

    Text has one line per segment, subtitles one cue per segment; segments without text are left out there.
    JSON has the whole text and every segment with its scores, and its words where they were timed.
    """
    segments = list(segments)
    match transcript_format:
        case TranscriptFormat.txt:
            return "".join(f"{text}\n" for _, text in _lines(segments))
        case TranscriptFormat.srt:
            return "\n".join(_srt_cues(segments))
        case TranscriptFormat.vtt:
            return "\n".join(["WEBVTT\n", *_vtt_cues(segments)])
        case TranscriptFormat.json:
            document = {"text": plain_text(segments), "segments": segments}
            return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
        case _:
            assert_never(transcript_format)


def timestamp(seconds: float, *, decimal_mark: str = ".") -> str:
    """`HH:MM:SS.mmm`, rounded to the nearest millisecond; hours may have more than two digits."""
    whole_seconds, milliseconds = divmod(round(max(seconds, 0.0) * 1_000), 1_000)
    minutes, second = divmod(whole_seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{decimal_mark}{milliseconds:03}"


def _lines(segments: list[Segment]) -> Iterator[tuple[Segment, str]]:
    """Each segment that says something, with its text on one line: a blank line would end a cue early."""
    for segment in segments:
        if text := " ".join(segment.text.split()):
            yield segment, text


def _srt_cues(segments: list[Segment]) -> Iterator[str]:
    for number, (segment, text) in enumerate(_lines(segments), start=1):
        # SubRip knows no escapes, and an arrow inside the text reads as the next cue's times.
        yield f"{number}\n{_times(segment, decimal_mark=',')}\n{text.replace('-->', '->')}\n"


def _vtt_cues(segments: list[Segment]) -> Iterator[str]:
    for segment, text in _lines(segments):
        yield f"{_times(segment)}\n{html.escape(text, quote=False)}\n"


def _times(segment: Segment, *, decimal_mark: str = ".") -> str:
    start = timestamp(segment.start, decimal_mark=decimal_mark)
    end = timestamp(max(segment.start, segment.end), decimal_mark=decimal_mark)
    return f"{start} --> {end}"
