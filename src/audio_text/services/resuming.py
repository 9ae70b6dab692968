"""Where the next attempt at a job goes on, from what is stored of the earlier ones."""

from collections.abc import Sequence

from audio_text.domain.blocks import keeps_prompt, prompt_tokens
from audio_text.domain.job import Job
from audio_text.domain.transcript import ChannelProgress, NextWindow, Segment
from audio_text.ports import ResumePoint


def resume_point(job: Job, segments: Sequence[Segment]) -> ResumePoint | None:
    """Continue the job behind all its stored segments; None where nothing has been done yet."""
    if job.channel_progress:
        return _of_channels(job, segments, job.channel_progress)
    position = job.position + job.options.clip_start_seconds if job.position > 0 else 0.0
    if segments:
        # older workers store no position
        position = max(position, segments[-1].end)
    if position == 0.0:
        return None
    return ResumePoint(
        position=position,
        next_segment_id=len(segments),
        block_start=job.block_start,
        next_window=_next_window(job),
        duration_after_vad=job.duration_after_vad or 0.0,
        language=job.language,
        language_probability=job.language_probability,
        previous_tokens=prompt_tokens(segments),
        keeps_prompt=keeps_prompt(segments),
    )


def _next_window(job: Job) -> NextWindow | None:
    window = job.next_window
    # an older worker moves on and leaves it behind
    return window if window and window.position == job.position else None


def _of_channels(job: Job, segments: Sequence[Segment], channels: Sequence[ChannelProgress]) -> ResumePoint:
    return ResumePoint(
        position=min(progress.position for progress in channels),
        next_segment_id=len(segments),
        duration_after_vad=job.duration_after_vad or 0.0,
        language=job.language,
        language_probability=job.language_probability,
        channels={progress.channel: _of_channel(progress, segments) for progress in channels},
    )


def _of_channel(progress: ChannelProgress, segments: Sequence[Segment]) -> ResumePoint:
    heard = [segment for segment in segments if segment.channel == progress.channel]
    heard = heard[: len(heard) - progress.segments_ahead]
    return ResumePoint(
        position=progress.position,
        next_segment_id=len(heard),
        block_start=progress.block_start,
        next_window=progress.next_window,
        segments_ahead=progress.segments_ahead,
        duration_after_vad=progress.duration_after_vad,
        language=progress.language,
        language_probability=progress.language_probability,
        previous_tokens=prompt_tokens(heard),
        keeps_prompt=keeps_prompt(heard),
    )
