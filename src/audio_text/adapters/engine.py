"""The engine: faster-whisper on threads of its own, told on the event loop as it decodes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from audio_text.adapters.assignment import Assignment
from audio_text.adapters.audio_blocks import Blocks
from audio_text.adapters.audio_decoding import Samples, SoundTrack, is_silent, open_sound_track
from audio_text.adapters.block_transcription import BlockTranscription, require_language
from audio_text.adapters.channels import ChannelSplit, ChannelTranscription, distinct_channels
from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.adapters.decoders import Decoders
from audio_text.adapters.handover import Handover
from audio_text.adapters.models import Models
from audio_text.adapters.whisper import (
    FRAME_SAMPLES,
    HeardWindow,
    VendorInfo,
    Whisper,
    WindowStart,
    speech_probabilities,
    whisper_errors,
)
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.errors import EmptyAudioError, EngineMemoryError, InvalidRequestError, TooManyChannelsError
from audio_text.ports import ResumePoint
from audio_text.settings import EngineSettings, ModelSettings

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 10.0
"""How long a closed transcription is waited for: one window, unless the model is large and the machine slow."""


class WhisperEngine:
    """The port `Engine`, for `concurrency` transcriptions at once; more than these wait for a thread.

    `stuck` is called on the event loop when a thread is still at work `stuck_seconds` after nobody wanted that any
    more: whatever comes next would wait for it in vain.
    """

    def __init__(
        self,
        settings: EngineSettings,
        models: Mapping[str, ModelSettings],
        *,
        concurrency: int,
        stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._stuck = stuck
        self._models = Models(settings, models, concurrency=concurrency)
        self._decoders = Decoders()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="engine")
        # Voice detection and features of a block take 100 MB for half a second: one thread for all of them
        # means one such peak at a time, and one thread's heap that keeps what was freed.
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="engine-prepare")

    async def preload(self, model: str) -> None:
        """Have the model in memory. Raises UnknownModelError, ModelUnavailableError, EngineMemoryError."""
        await asyncio.wrap_future(self._submit(self._hold, model))
        await asyncio.to_thread(self._decoders.start_ahead)

    async def transcribe(
        self, audio: Path, *, model: str, options: TranscriptionOptions, resume: ResumePoint | None = None
    ) -> AsyncGenerator[TranscriptChunk, None]:
        """Yield the first segment at once, then whatever was decoded while the caller was busy.

        Raises what the port says, and InvalidRequestError for a language that the model does not know or a clip
        outside the recording.
        """
        handover = Handover()
        future = self._submit(self._work, handover, Assignment(audio, model, options, resume))
        work = asyncio.wrap_future(future)
        work.add_done_callback(lambda _: handover.wake())
        future.add_done_callback(self._look_ahead)
        try:
            while (chunk := handover.take()) or not work.done():
                if chunk:
                    yield chunk
                else:
                    await handover.wait()
            await work
        finally:
            handover.close()
            if not future.cancel():
                await self._settle(work)

    def _submit(self, function: Callable[..., None], *arguments: object) -> Future[None]:
        # the job's id in the context belongs to the log lines of its thread, too
        return self._threads.submit(copy_context().run, function, *arguments)

    def _look_ahead(self, ended: Future[None]) -> None:
        # on the engine's thread, once everybody knows how it ended: the next recording need not wait for a process
        if not ended.cancelled():
            self._decoders.start_ahead()

    async def _settle(self, work: asyncio.Future[None]) -> None:
        """Wait until a thread that is not wanted any more has noticed, and let go of how it ended."""
        await asyncio.wait({work}, timeout=CLOSE_SECONDS)
        if not work.done():
            log.warning("transcription_still_running", waited_seconds=CLOSE_SECONDS)
            asyncio.get_running_loop().call_later(self._settings.stuck_seconds, self._look_after, work)
        work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def _look_after(self, abandoned: asyncio.Future[None]) -> None:
        if not abandoned.done():
            self._stuck()

    def _hold(self, model: str) -> None:
        is_held = False
        while not is_held:
            try:
                with self._models.lease(model, lambda: None):
                    is_held = True
            except EngineMemoryError:
                if not self._models.relieve(model, failed=None):
                    raise

    def _work(self, handover: Handover, assignment: Assignment) -> None:
        with suppress(CancelledError):
            self._models.require(assignment.model)
            rest: Assignment | None = assignment
            while rest:
                rest = self._pass(handover, rest)

    def _pass(self, handover: Handover, assignment: Assignment) -> Assignment | None:
        """Transcribe; what is left to do after memory ran out on the way and some could be made free."""
        whisper, transcription = None, None
        try:
            # the recording first: one that cannot be read is not worth loading a model
            with (
                open_sound_track(assignment.audio, self._decoders) as track,
                self._models.lease(assignment.model, handover.check) as whisper,
            ):
                transcription = self._transcription(whisper, track, assignment=assignment, check=handover.check)
                for chunk in transcription.chunks():
                    handover.put(chunk)
        except EngineMemoryError:
            if not self._models.relieve(assignment.model, failed=whisper):
                raise
            return assignment._replace(resume=transcription.resume_point()) if transcription else assignment
        return None

    def _transcription(
        self, whisper: Whisper, track: SoundTrack, *, assignment: Assignment, check: Callable[[], None]
    ) -> BlockTranscription | ChannelTranscription:
        require_language(whisper, assignment.model, assignment.options.language)
        if assignment.options.channels is Channels.separate:
            return self._by_channel(whisper, track, assignment=assignment, check=check)
        samples = _clipped(track.samples, assignment, check)
        return self._by_block(whisper, track, assignment=assignment, samples=samples)

    def _by_channel(
        self, whisper: Whisper, track: SoundTrack, *, assignment: Assignment, check: Callable[[], None]
    ) -> ChannelTranscription:
        if track.channel_count > self._settings.max_channels:
            raise TooManyChannelsError.of(track.channel_count, self._settings.max_channels)
        resume = assignment.resume
        wanted = resume.channels if resume and resume.channels else _heard_apart(assignment, self._decoders, check)
        parts = {
            channel: assignment._replace(resume=resume and resume.channels.get(channel, resume)) for channel in wanted
        }
        first = min(parts.values(), key=lambda part: part.begin)
        split = ChannelSplit(_clipped(track.channels, first, check), parts)
        return ChannelTranscription(
            {
                channel: self._by_block(
                    whisper,
                    track,
                    assignment=part,
                    samples=split.samples(channel, skip=part.passed_samples - first.passed_samples),
                )
                for channel, part in parts.items()
            },
            assignment,
        )

    def _by_block(
        self, whisper: Whisper, track: SoundTrack, *, assignment: Assignment, samples: Iterator[Samples]
    ) -> BlockTranscription:
        return BlockTranscription(
            whisper,
            assignment,
            Blocks(
                samples,
                seconds=self._settings.block_seconds,
                speech=self._speech,
                heard=assignment.heard_samples,
                is_continued=assignment.is_continued,
            ),
            prepare=self._prepare,
            estimate=lambda decoded: _estimated_end(track, assignment.options, decoded),
        )

    def _prepare(  # noqa: PLR0917 -- one call, in the order of its meaning
        self, whisper: Whisper, start: WindowStart, samples: Samples, options: dict[str, Any]
    ) -> tuple[Iterator[HeardWindow], VendorInfo]:
        if options["vad_filter"] and is_silent(samples):
            return iter(()), NOBODY
        return self._preparer.submit(lambda: whisper.transcribe_from(start, _floats(samples), **options)).result()

    def _speech(self, samples: Samples) -> Sequence[float]:
        if is_silent(samples):
            return [0.0] * (samples.size // FRAME_SAMPLES)
        with whisper_errors():
            return self._preparer.submit(lambda: speech_probabilities(_floats(samples))).result()


def _floats(samples: Samples) -> NDArray[np.float32]:
    """As faster_whisper.decode_audio gives them, -1 to 1."""
    return samples.astype(np.float32) / 32768.0


class _Nobody(NamedTuple):
    """What there is to know of silence. A channel is often silent for long, and then should cost next to nothing."""

    language: str = ""
    language_probability: float = 0.0
    duration_after_vad: float = 0.0


NOBODY = cast("VendorInfo", _Nobody())


def _heard_apart(assignment: Assignment, decoders: Decoders, check: Callable[[], None]) -> Sequence[int]:
    with open_sound_track(assignment.audio, decoders) as track:
        return distinct_channels(_clipped(track.channels, assignment, check), count=track.channel_count)


class _Reader(Protocol):
    """SoundTrack.samples or SoundTrack.channels."""

    def __call__(self, begin: float, *, skip: int) -> Iterator[Samples]: ...


def _clipped(read: _Reader, assignment: Assignment, check: Callable[[], None]) -> Iterator[Samples]:
    """The samples that are left of the clip, as long as `check` lets them pass."""
    begin, end = assignment.options.clip_start_seconds, assignment.options.clip_end_seconds
    passed = assignment.passed_samples
    left = None if end is None else max(0, round((end - begin) * SAMPLE_RATE) - passed)
    is_empty = True
    for piece in read(begin, skip=passed):
        check()
        wanted = piece[..., :left]
        is_empty = is_empty and wanted.size == 0
        yield wanted
        if left is not None:
            left -= wanted.shape[-1]
            if left == 0:
                break
    if is_empty and not assignment.resume:
        if begin == 0.0 and end is None:
            raise EmptyAudioError
        raise InvalidRequestError(f"The clip from second {begin:g} on holds no sound: the recording ends before it.")


def _estimated_end(track: SoundTrack, options: TranscriptionOptions, decoded: float) -> float:
    estimated = track.estimated_seconds(decoded)
    return estimated if options.clip_end_seconds is None else min(estimated, options.clip_end_seconds)
