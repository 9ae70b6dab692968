"""Quotas of keys: in PostgreSQL, and in the fake that stands in for it elsewhere."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job
from audio_text.domain.usage import Quota, Usage
from audio_text.errors import ConcurrentJobsError, LimitReachedError
from audio_text.ports import Claim, JobRepository
from factories import make_chunk, make_job
from services.repositories import OnFake, OnPostgres

KEY = IdempotencyKey(text="k", fingerprint="f", seconds=60)


def job_of(key_id: str = "a", **fields: Any) -> Job:
    return make_job(owner="o", key_id=key_id, **fields)


def jobs_quota(most: int, key_id: str = "a") -> Quota:
    return Quota(key_id=key_id, concurrent_jobs=most)


def audio_quota(most: int, key_id: str = "a") -> Quota:
    return Quota(key_id=key_id, audio_seconds_per_day=most)


async def outcome(jobs: JobRepository, job: Job, quota: Quota, key: IdempotencyKey | None = None) -> str:
    try:
        await jobs.add(job, key=key, quota=quota)
    except LimitReachedError as error:
        return error.code
    return "added"


class QuotaContract:
    async def test_a_key_has_so_many_jobs_in_work_and_another_when_one_is_over(self, jobs: JobRepository) -> None:
        first, second, third = (job_of() for _ in range(3))
        assert await jobs.add(first, quota=jobs_quota(2))
        assert await jobs.add(second, quota=jobs_quota(2))
        with pytest.raises(ConcurrentJobsError):
            await jobs.add(third, quota=jobs_quota(2))
        assert await jobs.claim("audio_small", owner="w", lease_seconds=60)
        assert await outcome(jobs, third, jobs_quota(2)) == "concurrent_jobs_exceeded"
        await jobs.cancel(second.id)
        assert await outcome(jobs, third, jobs_quota(2)) == "added"
        assert (await jobs.usage("a")).concurrent_jobs == 2

    async def test_every_key_has_a_quota_of_its_own_and_who_has_none_is_not_counted(self, jobs: JobRepository) -> None:
        await jobs.add(job_of("b"))
        await jobs.add(make_job())
        assert await outcome(jobs, job_of(), jobs_quota(1)) == "added"
        assert await outcome(jobs, job_of("b"), jobs_quota(1, "b")) == "concurrent_jobs_exceeded"
        assert await jobs.add(job_of())

    async def test_seconds_of_audio_are_reserved_and_never_given_back(self, jobs: JobRepository) -> None:
        long, short = job_of(duration=60.0), job_of(duration=40.0)
        assert await outcome(jobs, long, audio_quota(100)) == "added"
        assert await outcome(jobs, job_of(duration=40.5), audio_quota(100)) == "audio_quota_exceeded"
        assert await outcome(jobs, short, audio_quota(100)) == "added"
        await jobs.delete(long.id)
        await jobs.cancel(short.id)
        assert await outcome(jobs, job_of(duration=1.0), audio_quota(100)) == "audio_quota_exceeded"
        assert await outcome(jobs, job_of(), audio_quota(100)) == "audio_quota_exceeded"
        assert await jobs.usage("a") == Usage(concurrent_jobs=0, audio_seconds_today=100.0)

    async def test_a_length_that_a_worker_learns_counts_then_and_once(self, jobs: JobRepository) -> None:
        assert await outcome(jobs, job_of(), audio_quota(100)) == "added"
        assert (await jobs.usage("a")).audio_seconds_today == 0
        claimed = await jobs.claim("audio_small", owner="w", lease_seconds=60)
        assert claimed is not None
        claim = Claim(claimed.id, claimed.claims)
        for position in (10.0, 20.0):
            assert await jobs.record(claim, make_chunk(duration=120.0, position=position))
        assert (await jobs.usage("a")).audio_seconds_today == 120
        assert await outcome(jobs, job_of(duration=1.0), audio_quota(130)) == "added"
        assert await outcome(jobs, job_of(), audio_quota(100)) == "audio_quota_exceeded"

    async def test_a_length_that_was_not_true_is_put_right(self, jobs: JobRepository) -> None:
        await jobs.add(job_of(duration=100.0), quota=audio_quota(100))
        claimed = await jobs.claim("audio_small", owner="w", lease_seconds=60)
        assert claimed is not None
        await jobs.record(Claim(claimed.id, claimed.claims), make_chunk(duration=30.0))
        assert (await jobs.usage("a")).audio_seconds_today == 30

    async def test_without_a_quota_the_jobs_that_are_there_tell_what_was_used(self, jobs: JobRepository) -> None:
        for duration in (10.0, None, 5.0):
            await jobs.add(job_of(duration=duration))
        assert await jobs.usage("a") == Usage(concurrent_jobs=3, audio_seconds_today=15.0)
        assert await jobs.usage("b") == Usage(concurrent_jobs=0, audio_seconds_today=0.0)

    async def test_what_is_refused_leaves_nothing_behind(self, jobs: JobRepository) -> None:
        both = Quota(key_id="a", concurrent_jobs=2, audio_seconds_per_day=100)
        assert await outcome(jobs, job_of(duration=100.5), both, KEY) == "audio_quota_exceeded"
        assert await jobs.submitted(KEY) is None
        assert await jobs.usage("a") == Usage(concurrent_jobs=0, audio_seconds_today=0.0)
        assert await outcome(jobs, job_of(duration=50.0), both, KEY) == "added"
        assert not await jobs.add(job_of(duration=10.0), key=KEY, quota=both)
        assert await jobs.usage("a") == Usage(concurrent_jobs=1, audio_seconds_today=50.0)

    async def test_a_job_that_is_sent_again_counts_once(self, jobs: JobRepository) -> None:
        job, other = job_of(duration=50.0), job_of(duration=50.0)
        both = Quota(key_id="a", concurrent_jobs=2, audio_seconds_per_day=100)
        for _ in range(3):
            assert await jobs.add(job, quota=both)
            assert await jobs.add(other, key=KEY, quota=both)
        assert await jobs.usage("a") == Usage(concurrent_jobs=2, audio_seconds_today=100.0)

    async def test_of_many_at_once_exactly_as_many_fit(self, jobs: JobRepository) -> None:
        key_id = str(uuid4())
        count = Counter(
            await asyncio.gather(
                *(outcome(jobs, job_of(key_id), jobs_quota(5, key_id), None) for n in range(20)),
                *(outcome(jobs, job_of("x", duration=10.0), audio_quota(70, "x")) for _ in range(20)),
            )
        )
        assert count == {"added": 12, "concurrent_jobs_exceeded": 15, "audio_quota_exceeded": 13}
        assert (await jobs.usage(key_id)).concurrent_jobs == 5
        assert (await jobs.usage("x")).audio_seconds_today == 70


class TestFakeQuotas(OnFake, QuotaContract):
    pass


class TestPiccoloQuotas(OnPostgres, QuotaContract):
    pass
