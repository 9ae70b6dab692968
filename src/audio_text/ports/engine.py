"""What turns recordings into text, and goes on where it was broken off."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import NextWindow, TranscriptChunk


class ResumePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where an earlier attempt stopped: continue at `position` seconds with these facts and segments behind.

    `position` is in the time of the recording, as the segments' times are, also when only a clip is wanted.
    `block_start`, in the same time, is where the block began that was being decoded (None: not known): blocks then end
    where they would have ended without the break.
    `next_window` is where in that block the model goes on, which then hears what it would have heard; without it, it
    hears the rest of the block by itself.
    `previous_tokens` are those that `domain.blocks.prompt_tokens` finds in the segments; with `keeps_prompt`, the
    job's own prompt goes before them. Where channels are transcribed
    separately, `channels` has the same for each of those that are: then its `next_segment_id` counts this channel's.
    `segments_ahead`: so many segments of the next window are stored already, and not told again.
    """

    position: float
    next_segment_id: int
    duration_after_vad: float
    language: str | None
    language_probability: float | None
    previous_tokens: Sequence[int] = ()
    keeps_prompt: bool = False
    block_start: float | None = None
    next_window: NextWindow | None = None
    segments_ahead: int = 0
    channels: "Mapping[int, ResumePoint]" = {}


class Engine(Protocol):
    """Turns a local audio file into segments."""

    def transcribe(
        self, audio: Path, *, model: str, options: TranscriptionOptions, resume: ResumePoint | None = None
    ) -> AsyncGenerator[TranscriptChunk, None]:
        """Yield chunks as they are decoded, the last with position == duration; never blocks the event loop.

        At least one chunk always comes, also for silence. Closing the generator stops the work at the next
        segment. Raises InvalidAudioError, EmptyAudioError, NoSoundTrackError; UnknownModelError, ModelUnavailableError;
        InvalidRequestError for a language that the model does not know and a clip outside the recording;
        TransientError, EngineMemoryError for lack of memory, EngineBrokenError when the process has to end.
        """
        ...

    async def preload(self, model: str) -> None:
        """Have the model in memory. Raises ModelUnavailableError."""
        ...
