"""The archive of a batch's transcripts: when its files say that they were made."""

import io
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from audio_text.domain.formats import TranscriptFormat, writer
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.speakers import speakers_of
from audio_text.services.export import MANIFEST, zipped
from audio_text.services.transcripts import StoredTranscript, TranscriptService
from factories import make_job
from fakes.repository import FakeJobRepository


@pytest.fixture(autouse=True)
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def _archive(*jobs: Job) -> zipfile.ZipFile:
    repository = FakeJobRepository()
    for job in jobs:
        repository.jobs[job.id] = job

    async def listed() -> AsyncIterator[Job]:
        for job in jobs:
            yield job

    def as_text(stored: StoredTranscript) -> object:
        return writer(TranscriptFormat.text, speakers=speakers_of(stored.job.options))

    parts = zipped(
        listed(),
        transcripts=TranscriptService(jobs=repository),
        transcript_format=TranscriptFormat.text,
        writer_of=as_text,
    )
    return zipfile.ZipFile(io.BytesIO(b"".join([part async for part in parts])))


def _dates(archive: zipfile.ZipFile) -> list[tuple[int, ...]]:
    return [file.date_time for file in archive.infolist() if file.filename != MANIFEST]


async def test_a_transcript_is_dated_when_its_job_finished_by_utc() -> None:
    finished_at = datetime(2031, 1, 1, 0, 30, 59, 999_999, tzinfo=timezone(timedelta(hours=2)))
    job = make_job(status=JobStatus.completed, result_text="Good morning.", finished_at=finished_at)
    archive = await _archive(job, make_job(status=JobStatus.failed))
    assert _dates(archive) == [(2030, 12, 31, 22, 30, 58)]


async def test_a_transcript_of_which_nobody_knows_when_it_was_finished_has_always_the_same_date() -> None:
    job = make_job(status=JobStatus.completed, result_text="Good morning.", finished_at=None)
    assert _dates(await _archive(job)) == [(1980, 1, 1, 0, 0, 0)]


async def test_the_manifest_is_dated_when_it_was_written_by_utc_and_files_are_still_packed() -> None:
    begun = datetime.now(UTC)
    job = make_job(status=JobStatus.completed, result_text="Good morning.", finished_at=begun)
    archive = await _archive(job)
    manifest = archive.getinfo(MANIFEST)
    assert begun - timedelta(seconds=2) <= datetime(*manifest.date_time, tzinfo=UTC) <= datetime.now(UTC)
    assert {file.compress_type for file in archive.infolist()} == {zipfile.ZIP_DEFLATED}
