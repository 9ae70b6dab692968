"""What the engine is asked for, and from where in the recording on."""

from pathlib import Path
from typing import NamedTuple

from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.domain.options import TranscriptionOptions
from audio_text.ports import ResumePoint


class Assignment(NamedTuple):
    """What the engine was asked for."""

    audio: Path
    model: str
    options: TranscriptionOptions
    resume: ResumePoint | None

    @property
    def position(self) -> float:
        """What lies before it, in seconds of the recording, is done or not wanted."""
        return max(self.options.clip_start_seconds, self.resume.position if self.resume else 0.0)

    @property
    def begin(self) -> float:
        """Where to begin to read, in seconds of the recording: with the block that is to be continued."""
        block_start = self.resume.block_start if self.resume else None
        if block_start is None:
            return self.position
        return min(self.position, max(self.options.clip_start_seconds, block_start))

    @property
    def passed_samples(self) -> int:
        """How much of the clip lies before `begin`."""
        return round((self.begin - self.options.clip_start_seconds) * SAMPLE_RATE)

    @property
    def heard_samples(self) -> int:
        """How much of what is read is not to be heard: with the window known, the block is heard as a whole."""
        if self.resume and self.resume.next_window:
            return 0
        return round((self.position - self.begin) * SAMPLE_RATE)

    @property
    def is_continued(self) -> bool:
        """Whether the first block that is read is not the first of all."""
        return self.begin > self.options.clip_start_seconds
