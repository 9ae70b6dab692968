"""What a transcription said, chunk by chunk, and what the job's row says once that is stored."""

from collections.abc import Sequence

from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.ports import ResumePoint
from audio_text.services.resuming import resume_point
from factories import make_job


def segments_of(chunks: Sequence[TranscriptChunk], channel: int | None = None) -> list[Segment]:
    """The segments of all chunks, or those of one channel."""
    return [segment for chunk in chunks for segment in chunk.segments if channel in {None, segment.channel}]


def resume_after(chunks: Sequence[TranscriptChunk], options: TranscriptionOptions) -> ResumePoint:
    """Where the next attempt goes on, once these chunks are stored."""
    last = chunks[-1]
    job = make_job(
        options=options,
        position=last.position,
        block_start=last.block_start,
        next_window=last.next_window,
        channel_progress=last.channel_progress,
        duration_after_vad=last.duration_after_vad,
        language=last.language,
        language_probability=last.language_probability,
    )
    resume = resume_point(job, segments_of(chunks))
    assert resume is not None
    return resume
