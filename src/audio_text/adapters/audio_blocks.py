"""Blocks: a recording in pieces of a minute or two, cut where nobody speaks."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from audio_text.adapters.audio_decoding import Samples
from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.adapters.whisper import FRAME_SAMPLES
from audio_text.domain.blocks import longest_pause

SpeechDetector = Callable[[Samples], Sequence[float]]
"""Samples to the probability of speech in each whole frame of FRAME_SAMPLES."""

PAUSE_FRAMES = 8
"""A quarter of a second without speech: longer than any closure inside a word."""

SEARCH_SAMPLES = 30 * SAMPLE_RATE
"""End of a block in which the cut is searched: Whisper's window, so that a block wastes at most one."""

LEAST_REST_SAMPLES = SAMPLE_RATE
"""What is left after a cut is at least a second: in less, Whisper hears things."""

FIRST_BLOCK_SAMPLES = 30 * SAMPLE_RATE
"""The first block of a longer recording is short: its first segment comes as soon as a short recording's."""


class Block(NamedTuple):
    """Samples [start, end) of the pass; `cut_from` is where the search for its end began.

    `grid_start` is where it would begin if nothing of it had been heard in an earlier pass.
    """

    start: int
    end: int
    cut_from: int
    is_last: bool
    is_cut_in_pause: bool
    grid_start: int


class Blocks:
    """Reads samples block by block, never holding more than one block and the second after it."""

    def __init__(
        self,
        samples: Iterator[Samples],
        *,
        seconds: float,
        speech: SpeechDetector,
        heard: int = 0,
        is_continued: bool = False,
    ) -> None:
        """`heard`: samples that an earlier pass has done already. `is_continued`: it had come to a later block."""
        self._source = samples
        self._size = round(seconds * SAMPLE_RATE)
        self._speech = speech
        self._heard = heard
        self._is_first = not is_continued
        self._buffer = np.zeros(0, np.int16)
        self._start = 0
        self._next = 0
        self.is_exhausted = False

    @property
    def samples_read(self) -> int:
        """All samples read from the source so far."""
        return self._start + self._buffer.size

    def read(self) -> Block | None:
        """The next block; None when everything has been read. A recording that fits is one block."""
        while block := self._read():
            if block.end > self._heard:
                return block._replace(start=max(block.start, self._heard))
        return None

    def _read(self) -> Block | None:
        self._fill()
        if self._buffer.size == 0:
            return None
        if self.is_exhausted and self._buffer.size <= self._size:
            return self._block(self._buffer.size, cut_from=self._buffer.size, is_last=True)
        length = min(self._size, FIRST_BLOCK_SAMPLES) if self._is_first else self._size
        self._is_first = False
        search_from = length - min(SEARCH_SAMPLES, length // 2)
        pause = longest_pause(self._speech(self._buffer[search_from : length - LEAST_REST_SAMPLES]))
        middle = (pause.start + pause.stop) * FRAME_SAMPLES // 2 if pause else length - search_from
        return self._block(
            search_from + middle, cut_from=search_from, is_last=False, is_cut_in_pause=len(pause) >= PAUSE_FRAMES
        )

    def samples(self, block: Block) -> Samples:
        """What is heard in the block that was read last."""
        return self._buffer[block.start - block.grid_start : block.end - block.grid_start]

    def go_back(self, sample: int) -> None:
        """Let the next block begin here, within the last one, instead of at its end."""
        self._next = sample

    def _fill(self) -> None:
        pieces = [self._buffer[self._next - self._start :]]
        missing = self._size + 1 - pieces[0].size
        while missing > 0 and not self.is_exhausted:
            piece = next(self._source, None)
            if piece is None:
                self.is_exhausted = True
                break
            pieces.append(piece)
            missing -= piece.size
        self._buffer = np.concatenate(pieces)
        self._start = self._next

    def _block(self, length: int, *, cut_from: int, is_last: bool, is_cut_in_pause: bool = True) -> Block:
        start = self._start
        self._next = end = start + length
        return Block(start, end, start + cut_from, is_last, is_cut_in_pause, grid_start=start)
