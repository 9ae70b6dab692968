"""Who says what: the label of a segment, and its text in turns. Found when a transcript is written, never stored."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import Segment

Speakers = Callable[[Segment], str | None]
"""Gives the label of whoever says a segment; None where nobody can be told from others."""


def no_speakers(_: Segment) -> None:
    """Tell nobody from others."""


def channel_speakers(names: Sequence[str]) -> Speakers:
    """Take the channels for speakers: the first has the first name; without one, a channel goes by its number."""

    def speaker(segment: Segment) -> str | None:
        return None if segment.channel is None else channel_name(segment.channel, names)

    return speaker


def channel_name(channel: int, names: Sequence[str]) -> str:
    """What a channel is called, given the names of the first ones."""
    return names[channel - 1] if channel <= len(names) else f"Channel {channel}"


def speakers_of(options: TranscriptionOptions) -> Speakers | None:
    """Give who can be told apart in a transcript that was made with these options; None: nobody."""
    return channel_speakers(options.channel_names) if options.channels is Channels.separate else None


class Turns:
    """Writes text in turns: what one speaker says until another does is a line of its own, after a label.

    What bears no label runs on as Whisper wrote it: each segment begins with its own space.
    """

    def __init__(self, speakers: Speakers | None = None) -> None:
        self._speakers = speakers or no_speakers
        self._last: str | None = None

    @property
    def has_begun(self) -> bool:
        """Whether somebody has said something."""
        return self._last is not None

    def pieces(self, segments: Iterable[Segment]) -> Iterator[str]:
        """What each of the next segments adds to the text."""
        for segment in segments:
            text, speaker = segment.text, self._speakers(segment)
            if speaker is None:
                yield text
            elif text.strip():
                yield text if speaker == self._last else self._begun(speaker, text.lstrip())

    def _begun(self, speaker: str, text: str) -> str:
        break_before = "" if self._last is None else "\n"
        self._last = speaker
        return f"{break_before}{speaker}: {text}"


def plain_text(segments: Iterable[Segment], *, speakers: Speakers | None = None) -> str:
    """Join the segments' texts, in turns where speakers are told apart."""
    return "".join(Turns(speakers).pieces(segments)).strip()
