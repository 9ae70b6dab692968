"""Jobs that are answered from earlier ones: in PostgreSQL, and in the fake that stands in for it elsewhere."""

from typing import Any

import pytest
from msgspec.structs import replace

from audio_text.domain.job import AttemptEnd, Completed, Job, JobStatus
from audio_text.domain.listing import JobQuery
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import ChannelProgress, Word
from audio_text.ports import Claim, JobRepository
from factories import make_chunk, make_job, make_segment
from services.repositories import OnFake, OnPostgres

TIER = "audio_small"
DIGEST = "a" * 64
WORDS = (Word(start=0.0, end=1.0, word=" Sentence", probability=0.5),)
SEGMENTS = [make_segment(0, channel=1, words=WORDS), make_segment(1, channel=2)]
COMPLETED = Completed(
    result_text="Sentence 0. Sentence 1.",
    duration=10.0,
    duration_after_vad=8.0,
    processing_time_seconds=2.5,
    language="en",
    language_probability=0.9,
    audio_sha256=DIGEST,
)


class JobReuseContract:
    async def test_a_job_is_completed_with_its_own_copy_of_what_an_earlier_one_says(self, jobs: JobRepository) -> None:
        earlier = await _completed(jobs)
        claim = await _claimed(jobs, expires_in_seconds=60)

        job = await _answered(jobs, claim)

        assert job == await jobs.get(claim.job_id)
        names = ("result_text", "duration", "duration_after_vad", "language", "language_probability")
        names += ("device", "compute_type", "channel_progress", "position", "audio_sha256")
        assert [getattr(job, name) for name in names] == [getattr(earlier, name) for name in names]
        assert (job.status, job.progress, job.reused_from) == (JobStatus.completed, 100.0, earlier.id)
        assert (job.processing_time_seconds, job.real_time_factor) == (0.25, None)
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert job.finished_at is not None
        assert job.expires_at is not None
        assert [record.end for record in await jobs.attempts(job.id)] == [AttemptEnd.completed]
        assert job in await jobs.unannounced(seconds=-1, limit=9)
        await jobs.delete(earlier.id)
        assert await jobs.segments(job.id) == SEGMENTS

    async def test_silence_is_reused_too(self, jobs: JobRepository) -> None:
        first = await _claimed(jobs)
        assert await jobs.complete(first, replace(COMPLETED, result_text="", language=None, language_probability=None))
        job = await _answered(jobs, await _claimed(jobs))
        assert (job.result_text, await jobs.segments(job.id)) == ("", [])

    async def test_the_newest_of_several_answers(self, jobs: JobRepository) -> None:
        await _completed(jobs)
        newest = await _completed(jobs)
        job = await _answered(jobs, await _claimed(jobs))
        assert job.reused_from == newest.id

    @pytest.mark.parametrize(
        "other",
        [
            {"owner": "somebody"},
            {"whisper_model": "tiny"},
            {"options": TranscriptionOptions(language="en")},
            {"options": TranscriptionOptions(clip_end_seconds=5.0)},
            {"expires_in_seconds": 0},
        ],
        ids=["owner", "model", "options", "clip", "expired"],
    )
    async def test_nothing_else_answers(self, jobs: JobRepository, other: dict[str, Any]) -> None:
        await _completed(jobs, **other)
        await _assert_unanswered(jobs, await _claimed(jobs))

    async def test_every_owner_is_answered_from_jobs_of_its_own(self, jobs: JobRepository) -> None:
        await _completed(jobs)
        mine = await _completed(jobs, owner="me")
        await _completed(jobs, owner="you")
        assert (await _answered(jobs, await _claimed(jobs, owner="me"))).reused_from == mine.id
        await _assert_unanswered(jobs, await _claimed(jobs, owner="nobody else"))

    async def test_another_recording_and_one_that_is_not_completed_do_not_answer(self, jobs: JobRepository) -> None:
        await _completed(jobs, outcome=replace(COMPLETED, audio_sha256="b" * 64))
        await _completed(jobs, outcome=replace(COMPLETED, audio_sha256=None))
        await _claimed(jobs)
        await _assert_unanswered(jobs, await _claimed(jobs))

    async def test_what_was_begun_goes_on(self, jobs: JobRepository) -> None:
        await _completed(jobs)
        claim = await _claimed(jobs)
        assert await jobs.record(claim, make_chunk(make_segment(0, text=" Mine.")))
        await _assert_unanswered(jobs, claim)
        assert [segment.text for segment in await jobs.segments(claim.job_id)] == [" Mine."]

    async def test_whoever_has_lost_the_job_changes_nothing(self, jobs: JobRepository) -> None:
        await _completed(jobs)
        lost = await _claimed(jobs, lease_seconds=0.0)
        assert await jobs.claim(TIER, owner="other", lease_seconds=60)
        await _assert_unanswered(jobs, lost)
        await jobs.cancel(lost.job_id)
        await _assert_unanswered(jobs, Claim(lost.job_id, 2))
        await _assert_unanswered(jobs, Claim("nobody", 1))

    async def test_an_answer_that_took_no_decoding_says_nothing_about_speed(self, jobs: JobRepository) -> None:
        await _completed(jobs)
        await _answered(jobs, await _claimed(jobs))
        assert (await jobs.backlogs([TIER], limit=1))[TIER].real_time_factor == 0.25


async def _claimed(jobs: JobRepository, *, lease_seconds: float = 60.0, **fields: Any) -> Claim:
    job = make_job(**fields)
    await jobs.add(job)
    claimed = await jobs.claim(TIER, owner="worker", lease_seconds=lease_seconds)
    assert claimed is not None
    assert claimed.id == job.id
    return Claim(job.id, claimed.claims)


async def _completed(jobs: JobRepository, *, outcome: Completed = COMPLETED, **fields: Any) -> Job:
    claim = await _claimed(jobs, **fields)
    channels = (ChannelProgress(channel=1, position=10.0), ChannelProgress(channel=2, position=10.0))
    chunk = make_chunk(
        *SEGMENTS, position=10.0, channel_progress=channels, device="cpu", compute_type="int8", language="en"
    )
    assert await jobs.record(claim, chunk)
    assert await jobs.complete(claim, outcome)
    return await jobs.get(claim.job_id)


async def _answered(jobs: JobRepository, claim: Claim) -> Job:
    job = await jobs.complete_from_earlier(claim, audio_sha256=DIGEST, processing_time_seconds=0.25)
    assert job is not None
    return job


async def _assert_unanswered(jobs: JobRepository, claim: Claim) -> None:
    before = await jobs.find(JobQuery(), limit=9)
    assert await jobs.complete_from_earlier(claim, audio_sha256=DIGEST, processing_time_seconds=0.25) is None
    assert await jobs.find(JobQuery(), limit=9) == before


class TestFakeJobReuse(OnFake, JobReuseContract):
    pass


class TestPiccoloJobReuse(OnPostgres, JobReuseContract):
    pass
