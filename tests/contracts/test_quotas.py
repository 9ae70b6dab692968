"""Quotas of keys: in PostgreSQL, and in the fake that stands in for it elsewhere."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import AttemptEnd, Completed, Failed, Job, JobStatus
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.usage import Quota, Usage
from audio_text.errors import AudioQuotaError, ConcurrentJobsError, LimitReachedError
from audio_text.ports import Again, BroughtRecording, Claim, JobRepository, Released
from factories import make_chunk, make_job
from services.database import Database
from services.repositories import OnFake, OnPostgres

KEY = IdempotencyKey(text="k", fingerprint="f", seconds=60)


def job_of(key_id: str = "a", **fields: Any) -> Job:
    return make_job(owner="o", key_id=key_id, **fields)


def jobs_quota(most: int, key_id: str = "a") -> Quota:
    return Quota(key_id=key_id, concurrent_jobs=most)


def audio_quota(most: int, key_id: str = "a", *, unknown: int = 0) -> Quota:
    return Quota(key_id=key_id, audio_seconds_per_day=most, unknown_audio_seconds=unknown)


def elsewhere() -> Job:
    """A recording that nobody has brought yet."""
    return job_of(source_url="https://elsewhere.test/a.mp3", file_size_bytes=0)


async def claimed(jobs: JobRepository) -> Claim:
    job = await jobs.claim("audio_small", owner="w", lease_seconds=60)
    assert job is not None
    return Claim(job.id, job.claims)


async def completed(jobs: JobRepository, claim: Claim, duration: float) -> None:
    outcome = Completed(
        result_text="",
        duration=duration,
        duration_after_vad=duration,
        processing_time_seconds=1.0,
        language="en",
        language_probability=1.0,
    )
    assert await jobs.complete(claim, outcome)


async def failed(jobs: JobRepository, claim: Claim, code: str = "c") -> None:
    assert await jobs.fail(claim, Failed(error_code=code, error_message="m", processing_time_seconds=1.0))


async def used(jobs: JobRepository, key_id: str = "a") -> tuple[float, float]:
    """Seconds of the day, and how many of them are only reserved."""
    usage = await jobs.usage(key_id)
    return usage.audio_seconds_today, usage.reserved_seconds


async def retried(jobs: JobRepository, job: Job, quota: Quota, *, again: Again | None = None) -> str:
    try:
        await jobs.retry(job.id, again=again or Again(), quota=quota)
    except LimitReachedError as error:
        return error.code
    return "retried"


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

    async def test_an_unknown_length_reserves_seconds_and_no_more_jobs_are_let_in_than_these_allow(
        self, jobs: JobRepository
    ) -> None:
        quota = audio_quota(100, unknown=40)
        assert [await outcome(jobs, job_of(), quota) for _ in range(3)] == ["added", "added", "audio_quota_exceeded"]
        assert await used(jobs) == (80, 80)
        assert await outcome(jobs, job_of(duration=20.0), quota) == "added"
        assert await used(jobs) == (100, 80)

    async def test_who_has_less_than_a_reserve_a_day_may_submit_one_unknown_length(self, jobs: JobRepository) -> None:
        quota = audio_quota(30, unknown=1800)
        assert [await outcome(jobs, job_of(), quota) for _ in range(2)] == ["added", "audio_quota_exceeded"]
        assert await used(jobs) == (30, 30)

    @pytest.mark.parametrize("seconds", [10.0, 90.0])
    async def test_a_length_takes_the_place_of_the_reserve_when_the_recording_was_heard_to_its_end(
        self, jobs: JobRepository, seconds: float
    ) -> None:
        assert await outcome(jobs, job_of(), audio_quota(100, unknown=40)) == "added"
        claim = await claimed(jobs)
        assert await jobs.record(claim, make_chunk(duration=seconds, position=seconds))
        await completed(jobs, claim, seconds)
        assert await used(jobs) == (seconds, 0)
        assert (await jobs.get(claim.job_id)).reserved_seconds is None
        await jobs.delete(claim.job_id)
        assert await used(jobs) == (seconds, 0)

    async def test_a_length_that_is_only_guessed_takes_nothing_and_frees_nothing(self, jobs: JobRepository) -> None:
        await jobs.add(job_of(), quota=audio_quota(100, unknown=40))
        claim = await claimed(jobs)
        for guess, position in ((28_796.0, 22.0), (23.0, 22.5)):
            assert await jobs.record(claim, make_chunk(duration=guess, position=position))
            assert await used(jobs) == (40, 40)
        assert await jobs.record(claim, make_chunk(duration=300.0, position=60.0))
        assert await used(jobs) == (60, 60), "so much was heard"
        await completed(jobs, claim, 61.0)
        assert await used(jobs) == (61, 0)

    async def test_more_is_taken_as_it_is_heard_until_the_day_has_no_more(self, jobs: JobRepository) -> None:
        quota = audio_quota(100, unknown=40)
        await jobs.add(job_of(), quota=quota)
        await jobs.add(job_of(duration=50.0), quota=quota)
        claim = await claimed(jobs)
        for position in (39.0, 60.0):
            assert await jobs.record(claim, make_chunk(duration=900.0, position=position))
        with pytest.raises(AudioQuotaError):
            await jobs.record(claim, make_chunk(duration=900.0, position=60.5))
        assert await used(jobs) == (110, 60)
        await jobs.release(claim, delay_seconds=0.0, reason=Released(end=AttemptEnd.handed_back))
        assert (await claimed(jobs)).job_id == claim.job_id, "what was heard takes nothing more"
        assert await used(jobs) == (110, 60)

    async def test_what_is_brought_settles_its_reserve_by_what_its_header_says_and_then_by_what_it_is(
        self, jobs: JobRepository
    ) -> None:
        await jobs.add(elsewhere(), quota=audio_quota(100, unknown=40))
        claim = await claimed(jobs)
        brought = BroughtRecording(size_bytes=9, content_type=None, duration=None)
        assert await jobs.note_recording(claim, brought)
        assert await used(jobs) == (40, 40)
        assert await jobs.note_recording(claim, BroughtRecording(size_bytes=9, content_type=None, duration=5.0))
        assert await used(jobs) == (5, 0)
        await jobs.record(claim, make_chunk(duration=60.0))
        assert await used(jobs) == (60, 0)

    async def test_a_length_that_was_not_true_is_put_right(self, jobs: JobRepository) -> None:
        await jobs.add(job_of(duration=100.0), quota=audio_quota(100))
        await jobs.record(await claimed(jobs), make_chunk(duration=30.0))
        assert (await jobs.usage("a")).audio_seconds_today == 30

    @pytest.mark.parametrize("duration", [None, 10.0])
    async def test_a_length_that_takes_the_day_more_than_a_tenth_beyond_its_quota_is_refused_and_not_written(
        self, jobs: JobRepository, duration: float | None
    ) -> None:
        quota = audio_quota(100, unknown=10)
        await jobs.add(job_of(duration=duration), quota=quota)
        await jobs.add(job_of(duration=90.0), quota=quota)
        claim = await claimed(jobs)
        with pytest.raises(AudioQuotaError):
            await jobs.record(claim, make_chunk(duration=20.5, position=20.5))
        job = await jobs.get(claim.job_id)
        assert (job.duration, job.progress, job.status) == (duration, 0.0, JobStatus.processing)
        assert (await jobs.usage("a")).audio_seconds_today == 100
        assert await jobs.record(claim, make_chunk(duration=19.5, position=19.5)), "headers are often a little wrong"
        await completed(jobs, claim, 19.5)
        assert await used(jobs) == (109.5, 0)
        assert await outcome(jobs, job_of(duration=0.5), quota) == "audio_quota_exceeded"

    async def test_who_was_let_in_without_a_quota_is_not_held_to_one_later(self, jobs: JobRepository) -> None:
        await jobs.add(job_of())
        claim = await claimed(jobs)
        await jobs.add(job_of(duration=10.0), quota=audio_quota(10))
        assert await jobs.record(claim, make_chunk(duration=500.0))
        assert (await jobs.usage("a")).audio_seconds_today == 510

    async def test_a_reserve_is_given_back_when_nobody_began_the_job(self, jobs: JobRepository) -> None:
        quota = audio_quota(100, unknown=100)
        for end in ("cancelled", "deleted", "late"):
            job = job_of(deadline=datetime.now(UTC) - timedelta(seconds=1) if end == "late" else None)
            assert await outcome(jobs, job, quota) == "added", end
            assert await used(jobs) == (100, 100)
            match end:
                case "cancelled":
                    await jobs.cancel(job.id)
                case "deleted":
                    await jobs.delete(job.id)
                case _:
                    assert await jobs.end_late(limit=9)
            assert await used(jobs) == (0, 0), end
            await jobs.delete(job.id)
            assert await used(jobs) == (0, 0), "once"

    async def test_a_reserve_is_given_back_when_the_recording_could_not_be_brought(self, jobs: JobRepository) -> None:
        await jobs.add(elsewhere(), quota=audio_quota(100, unknown=40))
        await failed(jobs, await claimed(jobs))
        assert await used(jobs) == (0, 0)

    async def test_jobs_that_are_cancelled_once_a_worker_has_begun_are_no_way_round(self, jobs: JobRepository) -> None:
        quota = audio_quota(100, unknown=20)
        for end in ("cancelled", "deleted", "failed", "cancelled elsewhere", "waiting again"):
            await jobs.add(elsewhere() if "elsewhere" in end else job_of(), quota=quota)
            claim = await claimed(jobs)
            match end:
                case "failed":
                    await failed(jobs, claim)
                case "deleted":
                    await jobs.delete(claim.job_id)
                case "waiting again":
                    await jobs.cancel(claim.job_id)
                    assert await retried(jobs, await jobs.get(claim.job_id), quota) == "retried"
                    await jobs.cancel(claim.job_id)
                case _:
                    await jobs.cancel(claim.job_id)
            await jobs.delete(claim.job_id)
        assert await used(jobs) == (100, 0)
        assert await outcome(jobs, job_of(), quota) == "audio_quota_exceeded"

    async def test_a_retry_takes_the_reserve_that_was_given_back_and_none_that_was_not(
        self, jobs: JobRepository
    ) -> None:
        quota = audio_quota(100, unknown=60)
        job, begun = job_of(), job_of()
        await jobs.add(job, quota=quota)
        await jobs.cancel(job.id)
        await jobs.add(begun, quota=quota)
        await jobs.cancel((await claimed(jobs)).job_id)
        assert await used(jobs) == (60, 0)
        assert await retried(jobs, job, quota) == "audio_quota_exceeded"
        assert (await jobs.get(job.id)).status is JobStatus.cancelled
        assert await retried(jobs, begun, quota) == "retried"
        assert await used(jobs) == (60, 60)
        assert await retried(jobs, job, audio_quota(120, unknown=60)) == "retried"
        assert await used(jobs) == (120, 120)

    async def test_a_retry_in_another_way_takes_its_seconds_once_more_if_they_are_left(
        self, jobs: JobRepository
    ) -> None:
        job, other = job_of(duration=40.0), Again(options=TranscriptionOptions(language="de"))
        await jobs.add(job, quota=audio_quota(100))
        await jobs.record(await claimed(jobs), make_chunk(duration=40.0))
        await jobs.cancel(job.id)
        assert await retried(jobs, job, audio_quota(79), again=other) == "audio_quota_exceeded"
        assert await retried(jobs, job, audio_quota(40)) == "retried", "it only goes on"
        assert await used(jobs) == (40, 0)
        await jobs.cancel(job.id)
        assert await retried(jobs, job, audio_quota(80), again=other) == "retried"
        assert await used(jobs) == (80, 40)
        await completed(jobs, await claimed(jobs), 42.0)
        assert await used(jobs) == (82, 0)

    async def test_a_clip_s_length_is_not_that_of_the_recording(self, jobs: JobRepository) -> None:
        clip = job_of(duration=60.0, options=TranscriptionOptions(clip_end_seconds=1.0))
        quota = audio_quota(100, unknown=60)
        await jobs.add(clip, quota=quota)
        claim = await claimed(jobs)
        await jobs.record(claim, make_chunk(duration=1.0, position=1.0))
        await jobs.cancel(clip.id)
        await jobs.add(job_of(duration=50.0), quota=quota)
        whole = Again(options=TranscriptionOptions())
        assert await retried(jobs, clip, quota, again=whole) == "audio_quota_exceeded"
        assert await retried(jobs, clip, audio_quota(150, unknown=60), again=whole) == "retried"

    async def test_what_failed_for_lack_of_seconds_is_not_retried_on_a_full_day(self, jobs: JobRepository) -> None:
        job, quota = job_of(duration=10.0), audio_quota(100)
        await jobs.add(job, quota=quota)
        claim = await claimed(jobs)
        await failed(jobs, claim, "audio_quota_exceeded")
        assert await retried(jobs, job, quota) == "retried"
        await failed(jobs, await claimed(jobs), "audio_quota_exceeded")
        await jobs.add(job_of(duration=90.0), quota=quota)
        assert await retried(jobs, job, quota) == "audio_quota_exceeded"
        assert await used(jobs) == (100, 0)

    async def test_an_operators_retry_asks_for_nothing_and_is_never_refused(self, jobs: JobRepository) -> None:
        job = job_of()
        await jobs.add(job, quota=audio_quota(100, unknown=100))
        await jobs.cancel(job.id)
        await jobs.add(job_of(duration=100.0), quota=audio_quota(100))
        await jobs.retry(job.id, again=Again())
        claim = await claimed(jobs)
        assert await jobs.record(claim, make_chunk(duration=900.0))
        assert (await jobs.usage("a")).audio_seconds_today == 1_000

    async def test_of_many_retries_at_once_exactly_as_many_fit(self, jobs: JobRepository) -> None:
        over = [job_of(status=JobStatus.failed) for _ in range(12)]
        for job in over:
            await jobs.add(job)
        for _ in range(2):
            await jobs.add(job_of())
        count = Counter(
            await asyncio.gather(
                *(retried(jobs, job, jobs_quota(6)) for job in over),
                *(outcome(jobs, job_of(), jobs_quota(6)) for _ in range(12)),
            )
        )
        assert count["retried"] + count["added"] == 4
        assert count["concurrent_jobs_exceeded"] == 20
        assert (await jobs.usage("a")).concurrent_jobs == 6

    async def test_a_job_that_was_retried_already_asks_for_no_room(self, jobs: JobRepository) -> None:
        job = job_of(status=JobStatus.cancelled)
        await jobs.add(job)
        quota = Quota(key_id="a", concurrent_jobs=1, audio_seconds_per_day=10, unknown_audio_seconds=10)
        assert [await retried(jobs, job, quota) for _ in range(3)] == ["retried"] * 3
        assert await used(jobs) == (10, 10)

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
                *(outcome(jobs, job_of("y"), audio_quota(70, "y", unknown=20)) for _ in range(20)),
            )
        )
        assert count == {"added": 15, "concurrent_jobs_exceeded": 15, "audio_quota_exceeded": 30}
        assert (await jobs.usage(key_id)).concurrent_jobs == 5
        assert (await jobs.usage("x")).audio_seconds_today == 70


class TestFakeQuotas(OnFake, QuotaContract):
    pass


class TestPiccoloQuotas(OnPostgres, QuotaContract):
    async def test_what_was_reserved_on_one_day_is_settled_in_that_day(
        self, jobs: JobRepository, database: Database
    ) -> None:
        quota = audio_quota(100, unknown=40)
        begun, waiting, again = job_of(), job_of(), job_of(duration=20.0)
        for job in (begun, waiting, again):
            await jobs.add(job, quota=quota)
        await a_day_later(database)
        assert await used(jobs) == (0, 0)
        await completed(jobs, await claimed(jobs), 30.0)
        await jobs.cancel(waiting.id)
        assert await days(database) == [50]
        assert await retried(jobs, waiting, quota) == "retried"
        await jobs.cancel((await claimed(jobs)).job_id)
        assert await days(database) == [50, 40]

    async def test_a_retry_on_another_day_takes_a_reserve_of_that_day(
        self, jobs: JobRepository, database: Database
    ) -> None:
        job, quota = job_of(), audio_quota(100, unknown=40)
        await jobs.add(job, quota=quota)
        await jobs.cancel((await claimed(jobs)).job_id)
        await a_day_later(database)
        assert await retried(jobs, job, quota) == "retried"
        assert await days(database) == [40, 40]
        await completed(jobs, await claimed(jobs), 10.0)
        assert await days(database) == [40, 10]

    async def test_what_is_more_counts_on_the_day_on_which_it_is_heard(
        self, jobs: JobRepository, database: Database
    ) -> None:
        known, unknown, quota = job_of(duration=1.0), job_of(), audio_quota(100, unknown=40)
        for job in (known, unknown):
            await jobs.add(job, quota=quota)
        await a_day_later(database)
        first, second = await claimed(jobs), await claimed(jobs)
        for claim in (first, second):
            assert await jobs.record(claim, make_chunk(duration=60.0, position=60.0))
        assert await days(database) == [41, 79]
        with pytest.raises(AudioQuotaError):
            await jobs.record(first, make_chunk(duration=92.0, position=92.0))
        await execute(database, "UPDATE transcription_job SET usage_day = usage_day - 40; DELETE FROM key_usage")
        with pytest.raises(AudioQuotaError):
            await jobs.record(first, make_chunk(duration=900.0, position=900.0))

    async def test_progress_within_what_was_taken_leaves_the_key_s_row_alone(
        self, jobs: JobRepository, database: Database
    ) -> None:
        versions = "SELECT xmin::text FROM key_usage"
        await jobs.add(job_of(), quota=audio_quota(100, unknown=40))
        [before] = await execute(database, versions)
        claim = await claimed(jobs)
        for position in (10.0, 40.0):
            assert await jobs.record(claim, make_chunk(duration=90.0, position=position))
        assert await execute(database, versions) == [before]
        assert await jobs.record(claim, make_chunk(duration=90.0, position=41.0))
        assert await execute(database, versions) != [before]

    async def test_jobs_from_before_there_were_reserves_count_on_the_day_on_which_they_came(
        self, jobs: JobRepository, database: Database
    ) -> None:
        quota = audio_quota(100, unknown=40)
        await jobs.add(job_of(duration=10.0), quota=quota)
        await jobs.add(job_of(), quota=quota)
        before = "usage_day = NULL, reserved_seconds = NULL, day_limit_seconds = NULL WHERE duration IS NULL"
        await execute(database, f"UPDATE transcription_job SET {before}; UPDATE key_usage SET audio_seconds = 10")
        await jobs.cancel((await claimed(jobs)).job_id)
        await jobs.record(await claimed(jobs), make_chunk(duration=500.0))
        assert await days(database) == [510]


async def execute(database: Database, statement: str) -> list[Any]:
    connection = await database.connect()
    try:
        if ";" in statement or statement.startswith("UPDATE"):
            await connection.execute(statement)
            return []
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def a_day_later(database: Database) -> None:
    jobs = "UPDATE transcription_job SET usage_day = usage_day - 1, creation_date = creation_date - interval '1 day'"
    await execute(database, f"{jobs}; UPDATE key_usage SET day = day - 1")


async def days(database: Database) -> list[float]:
    """What was used on each day, the first first."""
    return [row["audio_seconds"] for row in await execute(database, "SELECT * FROM key_usage ORDER BY day")]
