"""Use case: read the transcript of a job in any format, at any time, without holding all of it in memory."""

from collections.abc import AsyncGenerator

import msgspec
import structlog

from audio_text.domain.formats import Writer
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import AudioTextError, TranscriptChangedError
from audio_text.ports import JobRepository

log = structlog.get_logger(__name__)

SEGMENTS_AT_ONCE = 100
"""Read from the database and written together: some 100 KB with words, and a few milliseconds of work."""


class StoredTranscript(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a transcript at one moment: its segments have the ids from 0 to `last` (-1: none)."""

    job: Job
    last: int

    @property
    def is_partial(self) -> bool:
        """Whether the recording says more than this, as far as anybody knows."""
        return self.job.status is not JobStatus.completed


class TranscriptService:
    """Reads transcripts. Everything raises DatabaseUnavailableError."""

    def __init__(self, *, jobs: JobRepository) -> None:
        self._jobs = jobs

    async def find(self, job_id: str) -> StoredTranscript:
        """See what there is. Raises JobNotFoundError."""
        job = await self._jobs.get(job_id)
        last = await self._jobs.last_segment(job_id)
        return StoredTranscript(job=job, last=-1 if last is None else last)

    async def written(
        self, stored: StoredTranscript, writer: Writer, *, first: int = 0, last: int | None = None
    ) -> AsyncGenerator[str]:
        """Give the document with the segments from `first` to `last` in parts, the first of which is read already.

        Raises TranscriptChangedError when segments that were there are gone, here or at a later part.
        """
        wanted = range(first, 1 + (stored.last if last is None else min(last, stored.last)))
        beginning = writer.begin() + writer.write(await self._read(stored, wanted[:SEGMENTS_AT_ONCE]))
        return self._parts(stored, writer, beginning=beginning, rest=wanted[SEGMENTS_AT_ONCE:])

    async def _parts(
        self, stored: StoredTranscript, writer: Writer, *, beginning: str, rest: range
    ) -> AsyncGenerator[str]:
        yield beginning
        try:
            while rest:
                yield writer.write(await self._read(stored, rest[:SEGMENTS_AT_ONCE]))
                rest = rest[SEGMENTS_AT_ONCE:]
        except AudioTextError as error:  # the reader only sees that the rest is missing
            log.warning("transcript_broken_off", job_id=stored.job.id, code=error.code, reason=error.detail)
            raise
        yield writer.end()

    async def _read(self, stored: StoredTranscript, wanted: range) -> list[Segment]:
        if not wanted:
            return []
        segments = await self._jobs.segments(stored.job.id, first=wanted.start, limit=len(wanted))
        if [segment.id for segment in segments] != list(wanted):
            raise TranscriptChangedError
        return segments
