"""Use case: all transcripts of a batch as one archive, written while it is read."""

import io
import re
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec

from audio_text.domain.formats import TranscriptFormat, Writer
from audio_text.domain.job import Job, JobStatus
from audio_text.errors import JobNotFoundError
from audio_text.services.transcripts import StoredTranscript, TranscriptService

MANIFEST = "manifest.json"

LONGEST_STEM = 100
"""Characters of a file's name that are kept: some systems take no more than 255 bytes."""

UNDATED = datetime(1980, 1, 1, tzinfo=UTC)
"""The time of a file where nobody knows when its job finished: the first that a zip archive can hold."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\s]+')


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the manifest says of a job; `file` is its transcript's name in the archive, where there is one."""

    job_id: str
    filename: str
    status: JobStatus
    file: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class _Outlet(io.RawIOBase):
    """What was written since it was last emptied; it cannot be sought, as a connection cannot."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: object) -> int:
        """Keep a copy."""
        piece = bytes(memoryview(data))  # pyright: ignore[reportArgumentType] -- a buffer, as io says
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """Give what was written, and forget it."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


async def zipped(
    jobs: AsyncIterator[Job],
    *,
    transcripts: TranscriptService,
    transcript_format: TranscriptFormat,
    writer_of: Callable[[StoredTranscript], Writer],
) -> AsyncGenerator[bytes]:
    """Give a zip archive in parts: the transcript of each completed job, then a manifest of all.

    A transcript has the time at which its job finished, in UTC and to two seconds: the format knows no zone, and no
    more. In memory is a part of one transcript, and a line for each job. A job that is deleted meanwhile is left out.
    An error on the way breaks the archive off, which its reader notices by the missing directory.
    """
    outlet, entries = _Outlet(), list[Entry]()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as archive:
        number = 0
        async for job in jobs:
            number += 1
            name = f"{number:04}-{_stem(job.filename)}.{transcript_format.extension}"
            if job.status is not JobStatus.completed:
                entries.append(_entry(job, file=None))
                continue
            if (stored := await _found(transcripts, job)) is None:
                continue
            entries.append(_entry(stored.job, file=name))
            with archive.open(_file(name, stored.job.finished_at or UNDATED), "w") as file:
                async for part in await transcripts.written(stored, writer_of(stored)):
                    file.write(part.encode())
                    if data := outlet.take():
                        yield data
        manifest = msgspec.json.format(msgspec.json.encode(entries), indent=2)
        archive.writestr(_file(MANIFEST, datetime.now(UTC)), manifest)
    yield outlet.take()


async def _found(transcripts: TranscriptService, job: Job) -> StoredTranscript | None:
    try:
        return await transcripts.find(job.id)
    except JobNotFoundError:
        return None


def _file(name: str, at: datetime) -> zipfile.ZipInfo:
    file = zipfile.ZipInfo(name, date_time=at.astimezone(UTC).timetuple()[:6])
    file.compress_type = zipfile.ZIP_DEFLATED
    return file


def _entry(job: Job, *, file: str | None) -> Entry:
    return Entry(
        job_id=job.id,
        filename=job.filename,
        status=job.status,
        file=file,
        error_code=job.error_code,
        error_message=job.error_message,
    )


def _stem(filename: str) -> str:
    """A name that every file system takes, and that leads nowhere else."""
    stem = filename.rpartition(".")[0] or filename
    return _UNSAFE.sub("_", stem)[:LONGEST_STEM].strip("._ ") or "recording"
