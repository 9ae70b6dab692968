"""A transcript as a document: JSON, plain text, SubRip and WebVTT subtitles, or a table; whole, or part by part."""

import html
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from audio_text.domain.subtitles import DEFAULT_LIMITS, Cue, CueLimits, CueShaper
from audio_text.domain.transcript import Segment


class TranscriptFormat(StrEnum):
    """What a transcript can be written as."""

    json = "json"
    verbose_json = "verbose_json"
    text = "text"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"

    @property
    def extension(self) -> str:
        """What the name of such a file ends with."""
        return {"verbose_json": "json", "text": "txt"}.get(self.value, self.value)


class Writer:
    """Writes one document, part by part: `begin` once, `write` for each run of segments in order, `end` once.

    Segments without text are left out, except in JSON. What it keeps in memory is the plain text, at most.
    """

    def begin(self) -> str:
        """What comes before any segment."""
        return ""

    def write(self, segments: Iterable[Segment]) -> str:
        """The next segments, as far as they can be written before those after them are known."""
        raise NotImplementedError

    def end(self) -> str:
        """What is still to be written."""
        return ""


def writer(
    transcript_format: TranscriptFormat,
    *,
    limits: CueLimits = DEFAULT_LIMITS,
    facts: Mapping[str, object] | None = None,
    note: str | None = None,
) -> Writer:
    """Begin a document. `limits` shape subtitles, `facts` are fields of JSON, WebVTT can hold a note for people."""
    match transcript_format:
        case TranscriptFormat.json:
            return JsonWriter(facts or {}, is_verbose=False)
        case TranscriptFormat.verbose_json:
            return JsonWriter(facts or {}, is_verbose=True)
        case TranscriptFormat.text:
            return TextWriter()
        case TranscriptFormat.srt:
            return SubRipWriter(limits)
        case TranscriptFormat.vtt:
            return WebVttWriter(limits, note=note)
        case TranscriptFormat.tsv:
            return TableWriter()


def render(
    transcript_format: TranscriptFormat, segments: Iterable[Segment], *, limits: CueLimits = DEFAULT_LIMITS
) -> str:
    """Write all segments, in the order given, as one document that ends in a line feed or is empty."""
    document = writer(transcript_format, limits=limits)
    return document.begin() + document.write(segments) + document.end()


class TextWriter(Writer):
    """One line per segment."""

    def write(self, segments: Iterable[Segment]) -> str:
        """Write lines."""
        return "".join(f"{line}\n" for segment in segments if (line := _one_line(segment.text)))


class TableWriter(Writer):
    """One row per segment, as Whisper's command line writes it: start and end in milliseconds, text, no quotes."""

    def begin(self) -> str:
        """Name the columns."""
        return "start\tend\ttext\n"

    def write(self, segments: Iterable[Segment]) -> str:
        """Write rows."""
        return "".join(
            f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{line}\n"
            for segment in segments
            if (line := _one_line(segment.text))
        )


class SubtitleWriter(Writer):
    """Cues, shaped by limits."""

    def __init__(self, limits: CueLimits) -> None:
        self._shaper = CueShaper(limits)

    def write(self, segments: Iterable[Segment]) -> str:
        """Write the cues that are finished."""
        return "".join(self._cue(cue) for segment in segments for cue in self._shaper.feed(segment))

    def end(self) -> str:
        """Write the last cue."""
        return "".join(self._cue(cue) for cue in self._shaper.finish())

    def _cue(self, cue: Cue) -> str:
        raise NotImplementedError


class SubRipWriter(SubtitleWriter):
    """SubRip: numbered cues, and no way to say anything else."""

    def __init__(self, limits: CueLimits) -> None:
        super().__init__(limits)
        self._count = 0

    def _cue(self, cue: Cue) -> str:
        self._count += 1
        gap = "\n" if self._count > 1 else ""
        # There are no escapes, and an arrow inside the text reads as the next cue's times.
        text = "\n".join(cue.lines).replace("-->", "->")
        label = f"{cue.speaker}: " if cue.speaker else ""
        return f"{gap}{self._count}\n{_times(cue, decimal_mark=',')}\n{label}{text}\n"


class WebVttWriter(SubtitleWriter):
    """WebVTT: UTF-8, HTML's escapes, and comments."""

    def __init__(self, limits: CueLimits, *, note: str | None) -> None:
        super().__init__(limits)
        self._note = note

    def begin(self) -> str:
        """Say what this is, and the note."""
        return "WEBVTT\n" + (f"\nNOTE {_one_line(self._note).replace('-->', '->')}\n" if self._note else "")

    def _cue(self, cue: Cue) -> str:
        text = html.escape("\n".join(cue.lines), quote=False)
        label = f"<v {html.escape(cue.speaker, quote=False)}>" if cue.speaker else ""
        return f"\n{_times(cue)}\n{label}{text}\n"


class JsonWriter(Writer):
    """One object: facts, `segments`, one to a line, and at the end `text`, the whole of it.

    A segment has its id, times, text and, where they were timed, words; a verbose one everything that is known of it.
    """

    def __init__(self, facts: Mapping[str, object], *, is_verbose: bool) -> None:
        self._facts = facts
        self._is_verbose = is_verbose
        self._texts: list[str] = []

    def begin(self) -> str:
        """Write the facts."""
        facts = "".join(f"{_json(name)}:{_json(value)}," for name, value in self._facts.items())
        return f'{{{facts}"segments":['

    def write(self, segments: Iterable[Segment]) -> str:
        """Write segments."""
        parts: list[str] = []
        for segment in segments:
            parts.append(",\n" if self._texts else "\n")
            parts.append(_json(segment if self._is_verbose else _brief(segment)))
            self._texts.append(segment.text)
        return "".join(parts)

    def end(self) -> str:
        """Write the text."""
        gap = "\n" if self._texts else ""
        return f'{gap}],"text":{_json("".join(self._texts).strip())}}}\n'


def timestamp(seconds: float, *, decimal_mark: str = ".") -> str:
    """`HH:MM:SS.mmm`, rounded to the nearest millisecond; hours may have more than two digits."""
    return _clock(_milliseconds(seconds), decimal_mark)


def _clock(milliseconds: int, decimal_mark: str) -> str:
    whole_seconds, millisecond = divmod(milliseconds, 1_000)
    minutes, second = divmod(whole_seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{decimal_mark}{millisecond:03}"


def _times(cue: Cue, *, decimal_mark: str = ".") -> str:
    return f"{_clock(cue.start_ms, decimal_mark)} --> {_clock(cue.end_ms, decimal_mark)}"


def _milliseconds(seconds: float) -> int:
    return round(max(seconds, 0.0) * 1_000)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _brief(segment: Segment) -> dict[str, object]:
    names = ("id", "start", "end", "text") if segment.words is None else ("id", "start", "end", "text", "words")
    return {name: getattr(segment, name) for name in names}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
