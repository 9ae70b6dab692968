"""A transcript as a document: JSON, plain text, SubRip and WebVTT subtitles, or a table; whole, or part by part."""

import html
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from audio_text.domain.speakers import Speakers, Turns, no_speakers
from audio_text.domain.subtitles import DEFAULT_LIMITS, Cue, CueLimits, CueShaper, SpeakerCues
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
    speakers: Speakers | None = None,
) -> Writer:
    """Begin a document. `limits` shape subtitles, `facts` are fields of JSON, WebVTT can hold a note for people.

    With `speakers`, every format tells them apart.
    """
    match transcript_format:
        case TranscriptFormat.json:
            return JsonWriter(facts or {}, is_verbose=False, speakers=speakers)
        case TranscriptFormat.verbose_json:
            return JsonWriter(facts or {}, is_verbose=True, speakers=speakers)
        case TranscriptFormat.text:
            return TurnWriter(speakers) if speakers else TextWriter()
        case TranscriptFormat.srt:
            return SubRipWriter(limits, speakers=speakers)
        case TranscriptFormat.vtt:
            return WebVttWriter(limits, note=note, speakers=speakers)
        case TranscriptFormat.tsv:
            return TableWriter(speakers)


def render(
    transcript_format: TranscriptFormat,
    segments: Iterable[Segment],
    *,
    limits: CueLimits = DEFAULT_LIMITS,
    speakers: Speakers | None = None,
) -> str:
    """Write all segments, in the order given, as one document that ends in a line feed or is empty."""
    document = writer(transcript_format, limits=limits, speakers=speakers)
    return document.begin() + document.write(segments) + document.end()


class TextWriter(Writer):
    """One line per segment."""

    def write(self, segments: Iterable[Segment]) -> str:
        """Write lines."""
        return "".join(f"{line}\n" for segment in segments if (line := _one_line(segment.text)))


class TurnWriter(Writer):
    """One line per turn: the speaker's label, and all that is said until somebody else speaks."""

    def __init__(self, speakers: Speakers) -> None:
        self._turns = Turns(speakers)

    def write(self, segments: Iterable[Segment]) -> str:
        """Write turns, the last of which may go on."""
        return "".join(self._turns.pieces(segments))

    def end(self) -> str:
        """End the last line."""
        return "\n" if self._turns.has_begun else ""


class TableWriter(Writer):
    """One row per segment, as Whisper's command line writes it: start and end in milliseconds, text, no quotes.

    Before the text there is a column for the speaker, where speakers are told apart.
    """

    def __init__(self, speakers: Speakers | None = None) -> None:
        self._speakers = speakers

    def begin(self) -> str:
        """Name the columns."""
        return "start\tend\tspeaker\ttext\n" if self._speakers else "start\tend\ttext\n"

    def write(self, segments: Iterable[Segment]) -> str:
        """Write rows."""
        return "".join(
            f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{self._speaker(segment)}{line}\n"
            for segment in segments
            if (line := _one_line(segment.text))
        )

    def _speaker(self, segment: Segment) -> str:
        return f"{self._speakers(segment) or ''}\t" if self._speakers else ""


class SubtitleWriter(Writer):
    """Cues, shaped by limits; those of different speakers may overlap, as what they say does."""

    def __init__(self, limits: CueLimits, *, speakers: Speakers | None = None) -> None:
        self._speakers = speakers or no_speakers
        self._shaper = SpeakerCues(limits) if speakers else CueShaper(limits)

    def write(self, segments: Iterable[Segment]) -> str:
        """Write the cues that are finished."""
        return "".join(
            self._cue(cue)
            for segment in segments
            for cue in self._shaper.feed(segment, speaker=self._speakers(segment))
        )

    def end(self) -> str:
        """Write the last cue."""
        return "".join(self._cue(cue) for cue in self._shaper.finish())

    def _cue(self, cue: Cue) -> str:
        raise NotImplementedError


class SubRipWriter(SubtitleWriter):
    """SubRip: numbered cues, and no way to say anything else."""

    def __init__(self, limits: CueLimits, *, speakers: Speakers | None = None) -> None:
        super().__init__(limits, speakers=speakers)
        self._count = 0

    def _cue(self, cue: Cue) -> str:
        self._count += 1
        gap = "\n" if self._count > 1 else ""
        # There are no escapes, and an arrow inside the text reads as the next cue's times.
        label = f"{cue.speaker}: " if cue.speaker else ""
        text = (label + "\n".join(cue.lines)).replace("-->", "->")
        return f"{gap}{self._count}\n{_times(cue, decimal_mark=',')}\n{text}\n"


class WebVttWriter(SubtitleWriter):
    """WebVTT: UTF-8, HTML's escapes, and comments."""

    def __init__(self, limits: CueLimits, *, note: str | None, speakers: Speakers | None = None) -> None:
        super().__init__(limits, speakers=speakers)
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
    Where speakers are told apart, it has a speaker, too, and the text is written in turns.
    """

    def __init__(self, facts: Mapping[str, object], *, is_verbose: bool, speakers: Speakers | None = None) -> None:
        self._facts = facts
        self._names = _VERBOSE if is_verbose else _BRIEF
        self._speakers = speakers
        self._turns = Turns(speakers)
        self._texts: list[str] = []
        self._has_segments = False

    def begin(self) -> str:
        """Write the facts."""
        facts = "".join(f"{_json(name)}:{_json(value)}," for name, value in self._facts.items())
        return f'{{{facts}"segments":['

    def write(self, segments: Iterable[Segment]) -> str:
        """Write segments."""
        parts: list[str] = []
        for segment in segments:
            parts.append(",\n" if self._has_segments else "\n")
            parts.append(_json(self._fields(segment)))
            self._texts += self._turns.pieces([segment])
            self._has_segments = True
        return "".join(parts)

    def end(self) -> str:
        """Write the text."""
        gap = "\n" if self._has_segments else ""
        return f'{gap}],"text":{_json("".join(self._texts).strip())}}}\n'

    def _fields(self, segment: Segment) -> dict[str, object]:
        fields: dict[str, object] = {name: getattr(segment, name) for name in self._names}
        if segment.channel is None:
            del fields["channel"]
        if segment.words is None and self._names is _BRIEF:
            del fields["words"]
        if self._speakers:
            fields["speaker"] = self._speakers(segment)
        return fields


_BRIEF = ("id", "start", "end", "text", "words", "channel")
_VERBOSE = Segment.__struct_fields__


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


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
