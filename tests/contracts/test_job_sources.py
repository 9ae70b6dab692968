"""What is written of recordings that lay elsewhere: in PostgreSQL, and in the fake that stands in for it."""

import pytest
from msgspec.structs import replace

from audio_text.domain.job import Retention
from audio_text.ports import BroughtRecording, Claim, JobRepository
from factories import make_job
from services.repositories import OnFake, OnPostgres

TIER = "audio_small"
SOURCE = "https://media.example/one.mp3?signature=x"


class JobSourceContract:
    @pytest.mark.parametrize("duration", [61.5, None])
    async def test_what_was_brought_is_written_down(self, jobs: JobRepository, duration: float | None) -> None:
        job = make_job(tier=TIER, source_url=SOURCE, file_size_bytes=0, content_type=None)
        await jobs.add(job)
        claim = await _claim(jobs)
        before = await jobs.get(job.id)
        found = BroughtRecording(size_bytes=2**33, content_type="audio/mpeg", duration=duration)
        assert await jobs.note_recording(claim, found)
        after = await jobs.get(job.id)
        told = {"file_size_bytes": 2**33, "content_type": "audio/mpeg", "duration": duration}
        assert after == replace(before, **told, update_date=after.update_date)

    async def test_nobody_writes_it_without_the_claim(self, jobs: JobRepository) -> None:
        job = make_job(tier=TIER, source_url=SOURCE, file_size_bytes=0)
        await jobs.add(job)
        claim = await _claim(jobs)
        found = BroughtRecording(size_bytes=1, content_type=None, duration=1.0)
        assert not await jobs.note_recording(Claim(claim.job_id, claim.token + 1), found)
        await jobs.cancel(job.id)
        assert not await jobs.note_recording(claim, found)
        assert (await jobs.get(job.id)).file_size_bytes == 0

    async def test_a_recording_from_elsewhere_is_needed_like_any_other(self, jobs: JobRepository) -> None:
        job = make_job(tier=TIER, source_url=SOURCE)
        await jobs.add(job)
        retention = Retention(completed_seconds=0.0, retryable_seconds=0.0)
        assert await jobs.needed_objects([job.object_key], retention=retention) == {job.object_key}
        await jobs.delete(job.id)
        assert await jobs.needed_objects([job.object_key], retention=retention) == set()


async def _claim(jobs: JobRepository) -> Claim:
    job = await jobs.claim(TIER, owner="w", lease_seconds=60)
    assert job is not None
    return Claim(job.id, job.claims)


class TestFakeJobSources(OnFake, JobSourceContract):
    pass


class TestPiccoloJobSources(OnPostgres, JobSourceContract):
    pass
