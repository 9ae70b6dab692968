"""An engine that hears what it is told to hear."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from pathlib import Path

import msgspec

from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.errors import EmptyAudioError, UnknownModelError
from audio_text.ports import ResumePoint
from factories import make_chunk, make_segment

SPEECH = (
    make_chunk(make_segment(0), duration=6.0, duration_after_vad=2.0),
    make_chunk(make_segment(1), duration=6.0, duration_after_vad=4.0),
    make_chunk(make_segment(2), duration=6.0, duration_after_vad=6.0),
)
"""Six seconds with a sentence every two."""

SILENCE = (make_chunk(position=6.0, duration=6.0, duration_after_vad=0.0, language=None, language_probability=None),)
"""Six seconds in which nobody speaks."""

Step = TranscriptChunk | Exception | asyncio.Event
"""A chunk to yield, an error to raise, or an event to wait for."""


class FakeEngine:
    """Plays its steps for every recording and remembers what it was asked for."""

    def __init__(self, *steps: Step, models: Collection[str] = ("demo",)) -> None:
        self.steps: Sequence[Step] = steps or SPEECH
        self.models = models
        self.resumes: list[ResumePoint | None] = []
        self.preloaded: list[str] = []
        self.is_closed = False

    async def transcribe(
        self, audio: Path, *, model: str, options: TranscriptionOptions, resume: ResumePoint | None = None
    ) -> AsyncGenerator[TranscriptChunk, None]:
        self.resumes.append(resume)
        self._require(model)
        if audio.stat().st_size == 0:
            raise EmptyAudioError
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield _after(step, resume)
        finally:
            self.is_closed = True

    async def preload(self, model: str) -> None:
        self._require(model)
        self.preloaded.append(model)

    def _require(self, model: str) -> None:
        if model not in self.models:
            raise UnknownModelError


def _after(chunk: TranscriptChunk, resume: ResumePoint | None) -> TranscriptChunk:
    if resume is None:
        return chunk
    segments = tuple(segment for segment in chunk.segments if segment.id >= resume.next_segment_id)
    return msgspec.structs.replace(chunk, segments=segments, position=max(chunk.position, resume.position))
