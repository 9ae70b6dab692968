"""A transcript cut into subtitle cues: little enough text at once, for long enough to read it."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from unicodedata import east_asian_width

import msgspec

from audio_text.domain.transcript import Segment, Word

SHORTEST_CUE_MS = 833
"""A cue is shown for five sixths of a second if nothing follows at once: less is a flash. (Netflix's style guide.)"""

LONG_PAUSE_SECONDS = 3.0
"""Words that are so far apart do not share a cue, or the later ones would be read long before they are heard."""

SLOWEST_CHARACTERS_PER_SECOND = 5.0
"""Where only a segment as a whole is timed and has less text than this, part of it is taken for silence."""

# The marks of Chinese and Japanese are among them.
_CLAUSE_END = tuple(",;:\u3001\uff0c\uff1b\uff1a")
_SENTENCE_END = tuple(".?!\u2026\u3002\uff1f\uff01")
_CLAUSE_BONUS, _SENTENCE_BONUS = 0.25, 0.5
"""What it is worth to break there, on the scale of imbalance: 0 in the middle of the text, 1 at its ends."""

# Chinese and Japanese have no spaces to break at: any character may begin a line, but not a mark that closes something.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_OPENING = r"\u3008\u300a\u300c\u300e\u3010\uff08"
_CLOSING = r"\u2026\u3001\u3002\u3009\u300b\u300d\u300f\u3011\u30fc\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f"
_PIECE = re.compile(rf"[{_OPENING}]*[{_UNSPACED}][{_CLOSING}]*|[^\s{_UNSPACED}]+")


class CueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a cue may hold; a single word that is longer stays whole. A wide character counts as two.

    The defaults are those of the style guides of Netflix and the BBC. Reading speed cannot be had by cutting: a cue
    that is too fast is shown for longer, as far as there is silence after it.
    """

    max_line_width: int = 42
    max_line_count: int = 2
    max_cue_seconds: float = 7.0
    max_characters_per_second: float = 20.0


DEFAULT_LIMITS = CueLimits()


class Cue(msgspec.Struct, frozen=True, kw_only=True):
    """Text and when it is shown, in milliseconds of the recording; `end_ms` is always greater than `start_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str | None = None


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What is never broken: a word with the marks around it, or a character of a script without spaces."""

    start: float
    end: float
    text: str
    is_spaced: bool
    width: int


class CueShaper:
    """Cuts segments into cues that do not overlap. One is always held back: its end depends on the next."""

    def __init__(self, limits: CueLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._longest_ms = round(limits.max_cue_seconds * 1_000)
        self._held: Cue | None = None

    def feed(self, segment: Segment, *, speaker: str | None = None) -> list[Cue]:
        """Take the next segment, of which every cue bears this label; the cues that are finished by it."""
        groups = list(_groups(_pieces(segment), self._limits))
        finished: list[Cue] = []
        for number, group in enumerate(groups, start=1):
            end = max(group[-1].end, segment.end) if number == len(groups) else group[-1].end
            cue = Cue(
                start_ms=round(max(group[0].start, 0.0) * 1_000),
                end_ms=round(max(end, 0.0) * 1_000),
                lines=_balanced_lines(group, self._limits.max_line_width),
                speaker=speaker,
            )
            if self._held is not None:
                cue = msgspec.structs.replace(cue, start_ms=max(cue.start_ms, self._held.start_ms + 1))
                finished.append(self._ended(self._held, before_ms=cue.start_ms))
            self._held = cue
        return finished

    @property
    def earliest_ms(self) -> int | None:
        """Where the cue begins that is held back: none that follows begins before it."""
        return None if self._held is None else self._held.start_ms

    def finish_before(self, now_ms: int) -> list[Cue]:
        """Nothing begins before this: the cue that was held back, if it is over by then at the latest."""
        is_over = self._held is not None and self._held.start_ms + self._longest_ms <= now_ms
        return self.finish() if is_over else []

    def finish(self) -> list[Cue]:
        """Nothing follows: the cue that was held back, if there is one."""
        held, self._held = self._held, None
        return [] if held is None else [self._ended(held, before_ms=held.start_ms + self._longest_ms)]

    def _ended(self, cue: Cue, *, before_ms: int) -> Cue:
        """Show it for as long as it is spoken and takes to read, but neither into the next one nor for too long."""
        reading_ms = 1_000 * sum(map(_width, cue.lines)) / self._limits.max_characters_per_second
        wanted = max(cue.end_ms, cue.start_ms + round(max(reading_ms, SHORTEST_CUE_MS)))
        return msgspec.structs.replace(cue, end_ms=min(wanted, before_ms, cue.start_ms + self._longest_ms))


class SpeakerCues:
    """Cuts the segments of several speakers, which come by their start, into cues that come so, too.

    Every speaker's cues are cut by themselves: where two speak at once, their cues overlap.
    """

    def __init__(self, limits: CueLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._shapers: dict[str | None, CueShaper] = {}
        self._finished: list[Cue] = []
        self._told_ms = 0

    def feed(self, segment: Segment, *, speaker: str | None) -> list[Cue]:
        """Take the next segment; the cues that are finished by it, and that no other can come before."""
        now_ms = round(max(segment.start, 0.0) * 1_000)
        shaper = self._shapers.setdefault(speaker, CueShaper(self._limits))
        self._finished += shaper.feed(segment, speaker=speaker)
        for other in self._shapers.values():
            self._finished += other.finish_before(now_ms)
        held = [start for shaper in self._shapers.values() if (start := shaper.earliest_ms) is not None]
        return self._ordered(min([now_ms, *held]))

    def finish(self) -> list[Cue]:
        """Nothing follows: all that was held back."""
        for shaper in self._shapers.values():
            self._finished += shaper.finish()
        return self._ordered(None)

    def _ordered(self, before_ms: int | None) -> list[Cue]:
        self._finished.sort(key=lambda cue: cue.start_ms)
        count = (
            len(self._finished)
            if before_ms is None
            else bisect_left(self._finished, before_ms, key=lambda cue: cue.start_ms)
        )
        told, self._finished = self._finished[:count], self._finished[count:]
        return [self._in_order(cue) for cue in told]

    def _in_order(self, cue: Cue) -> Cue:
        """WebVTT allows no cue to begin before the one above it; a model's times may deviate by a little."""
        self._told_ms = max(self._told_ms, cue.start_ms)
        return msgspec.structs.replace(cue, start_ms=self._told_ms, end_ms=max(cue.end_ms, self._told_ms + 1))


def _pieces(segment: Segment) -> list[Piece]:
    words = _timed_words(segment)
    text = "".join(word.word for word in words)
    times = [times for word in words for times in _character_times(word)]
    return [
        Piece(
            start=times[match.start()][0],
            end=times[match.end() - 1][1],
            text=match[0],
            is_spaced=text[match.start() - 1 : match.start()].isspace(),
            width=_width(match[0]),
        )
        for match in _PIECE.finditer(text)
    ]


def _timed_words(segment: Segment) -> Iterable[Word]:
    """The segment's words where they spell its text, else its text as one word, whose characters share its time."""
    words = segment.words or ()
    if "".join(word.word for word in words).split() == segment.text.split():
        return words
    spoken_seconds = _width(segment.text) / SLOWEST_CHARACTERS_PER_SECOND
    end = min(segment.end, segment.start + spoken_seconds)
    return (Word(start=segment.start, end=end, word=segment.text, probability=1.0),)


def _character_times(word: Word) -> Iterator[tuple[float, float]]:
    """When each character is spoken; the spaces around a word take no time."""
    lead = len(word.word) - len(word.word.lstrip())
    step = (word.end - word.start) / max(len(word.word.strip()), 1)
    for number in range(-lead, len(word.word) - lead):
        yield word.start + step * number, word.start + step * (number + 1)


def _groups(pieces: list[Piece], limits: CueLimits) -> Iterator[list[Piece]]:
    """Cut until each part fits into a cue, always at the best place."""
    waiting = [pieces] if pieces else []
    while waiting:
        group = waiting.pop()
        if len(group) == 1 or _fits(group, limits):
            yield group
        else:
            place = _best_break(group)
            waiting += [group[place:], group[:place]]


def _fits(pieces: list[Piece], limits: CueLimits) -> bool:
    return (
        pieces[-1].end - pieces[0].start <= limits.max_cue_seconds
        and all(_pause(pieces, place) < LONG_PAUSE_SECONDS for place in range(1, len(pieces)))
        and len(_lines(pieces, limits.max_line_width)) <= limits.max_line_count
    )


def _best_break(pieces: list[Piece]) -> int:
    """The place where two parts are most nearly alike, or better, where a sentence, a clause or a breath ends."""
    total, before = sum(piece.width for piece in pieces), 0
    best, best_score = 1, float("inf")
    for place in range(1, len(pieces)):
        last = pieces[place - 1]
        before += last.width
        imbalance = abs(2 * before - total) / total
        bonus = _SENTENCE_BONUS if last.text.endswith(_SENTENCE_END) else 0.0
        bonus = bonus or (_CLAUSE_BONUS if last.text.endswith(_CLAUSE_END) else 0.0)
        score = imbalance - bonus - _pause(pieces, place)
        if score < best_score:
            best, best_score = place, score
    return best


def _pause(pieces: list[Piece], place: int) -> float:
    return max(pieces[place].start - pieces[place - 1].end, 0.0)


def _balanced_lines(pieces: list[Piece], width: int) -> tuple[str, ...]:
    """As few lines as the width allows, and those as even as they can be."""
    count = len(_lines(pieces, width))
    is_enough: Callable[[int], bool] = lambda narrower: len(_lines(pieces, narrower)) <= count  # noqa: E731 -- a key
    return tuple(_lines(pieces, bisect_left(range(width), True, key=is_enough)))


def _lines(pieces: list[Piece], width: int) -> list[str]:
    """Fill one line after the other."""
    lines: list[str] = []
    room = 0
    for piece in pieces:
        needed = piece.width + piece.is_spaced
        if lines and needed <= room:
            lines[-1] += f" {piece.text}" if piece.is_spaced else piece.text
            room -= needed
        else:
            lines.append(piece.text)
            room = width - piece.width
    return lines


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
