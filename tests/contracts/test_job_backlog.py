"""What waits on a tier: in PostgreSQL, and in the fake that stands in for it elsewhere."""

from datetime import UTC, datetime, timedelta

import pytest

from audio_text.domain.backlog import Backlog
from audio_text.domain.job import JobStatus, Priority
from audio_text.domain.options import TranscriptionOptions
from audio_text.ports import JobRepository
from factories import make_job
from services.repositories import OnFake, OnPostgres

TIER = "audio_small"
NOW = datetime.now(UTC)
START = NOW - timedelta(hours=1)
LATER = NOW + timedelta(hours=1)


async def add(jobs: JobRepository, job_id: str, age: int = 0, **fields: object) -> None:
    defaults = {"id": job_id, "tier": TIER, "duration": 60.0, "creation_date": START + timedelta(seconds=age)}
    await jobs.add(make_job(**(defaults | fields)))


async def add_running(jobs: JobRepository, job_id: str, **fields: object) -> None:
    leased = {"status": JobStatus.processing, "lease_owner": "w", "lease_expires_at": LATER}
    await add(jobs, job_id, **(leased | fields))


async def backlog(jobs: JobRepository, *, limit: int = 100) -> Backlog:
    return (await jobs.backlogs([TIER], limit=limit))[TIER]


def ids(found: Backlog) -> list[str]:
    return [job.job_id for job in found.waiting]


class JobBacklogContract:
    async def test_pending_jobs_of_a_tier_are_counted_up_to_a_limit(self, jobs: JobRepository) -> None:
        for number in range(3):
            await add(jobs, str(number))
        await add(jobs, "elsewhere", tier="audio_large")
        await add(jobs, "put off", available_at=LATER)
        await add_running(jobs, "running")
        assert [await jobs.pending(TIER, limit=limit) for limit in (2, 4, 9)] == [2, 4, 4]
        assert await jobs.pending("audio_medium", limit=9) == 0

    async def test_tiers_on_which_nothing_happens_are_empty(self, jobs: JobRepository) -> None:
        await add(jobs, "elsewhere", tier="audio_large")
        assert await jobs.backlogs([TIER, "none"], limit=9) == {TIER: Backlog(), "none": Backlog()}
        assert await jobs.backlogs([], limit=9) == {}

    async def test_jobs_wait_in_the_order_of_their_classes_and_then_of_their_age(self, jobs: JobRepository) -> None:
        await add(jobs, "low", 0, priority=Priority.low)
        await add(jobs, "second", 2)
        await add(jobs, "first", 1)
        await add(jobs, "high", 9, priority=Priority.high)
        found = await backlog(jobs)
        assert ids(found) == ["high", "first", "second", "low"]
        assert [job.priority for job in found.waiting] == ["high", "normal", "normal", "low"]

    async def test_owners_take_turns_and_who_has_jobs_in_work_comes_later(self, jobs: JobRepository) -> None:
        await add_running(jobs, "busy", owner="b")
        for number in range(3):
            await add(jobs, f"b{number}", number, owner="b")
            await add(jobs, f"a{number}", 10 + number, owner="a")
        await add(jobs, "nobody", 20)
        in_turn = ["a0", "nobody", "b0", "a1", "b1", "a2", "b2"]
        assert ids(await backlog(jobs)) == in_turn
        claimed = [await jobs.claim(TIER, owner="w", lease_seconds=60) for _ in in_turn]
        assert [job and job.id for job in claimed] == in_turn

    async def test_a_backlog_holds_no_more_than_the_oldest_that_were_asked_for(self, jobs: JobRepository) -> None:
        for number in range(5):
            await add(jobs, f"job {number}", number)
        assert ids(await backlog(jobs, limit=3)) == ["job 0", "job 1", "job 2"]

    async def test_what_may_not_be_claimed_waits_for_nobody(self, jobs: JobRepository) -> None:
        await add(jobs, "put off", available_at=LATER)
        await add(jobs, "late", deadline=START)
        await add(jobs, "cancelled", status=JobStatus.cancelled)
        await add(jobs, "in time", deadline=LATER, available_at=START)
        assert ids(await backlog(jobs)) == ["in time"]

    async def test_audio_that_is_still_to_be_done_is_counted(self, jobs: JobRepository) -> None:
        await add(jobs, "whole", 1)
        await add(jobs, "half", 2, position=30.0)
        await add(jobs, "done", 3, position=70.0)
        await add(jobs, "clip", 4, options=TranscriptionOptions(clip_start_seconds=10.0, clip_end_seconds=15.0))
        await add(jobs, "end", 5, options=TranscriptionOptions(clip_start_seconds=50.0, clip_end_seconds=99.0))
        assert [job.seconds for job in (await backlog(jobs)).waiting] == [60.0, 30.0, 0.0, 5.0, 10.0]

    async def test_a_recording_of_unknown_length_counts_as_long_as_others_were(self, jobs: JobRepository) -> None:
        await add(jobs, "unknown", duration=None)
        assert [job.seconds for job in (await backlog(jobs)).waiting] == [0.0]
        for number, duration in enumerate((10.0, 30.0)):
            over = {"status": JobStatus.completed, "finished_at": START, "processing_time_seconds": 1.0}
            await add(jobs, f"over {number}", duration=duration, **over)
        assert [job.seconds for job in (await backlog(jobs)).waiting] == [20.0]

    async def test_jobs_in_work_are_those_whose_leases_hold(self, jobs: JobRepository) -> None:
        await add_running(jobs, "one", position=20.0)
        await add_running(jobs, "two", duration=None)
        await add_running(jobs, "lost", lease_expires_at=START)
        found = await backlog(jobs)
        assert (found.running, found.running_seconds, found.real_time_factor) == (2, 40.0, None)

    async def test_the_last_jobs_tell_how_fast_a_tier_is(self, jobs: JobRepository) -> None:
        for number in range(60):
            await add(
                jobs,
                f"job {number}",
                status=JobStatus.completed,
                finished_at=START + timedelta(seconds=number),
                processing_time_seconds=1_000.0 if number < 10 else 10.0 + number % 2 * 10,
                duration=10.0 + number % 2 * 90,
            )
        assert (await backlog(jobs)).real_time_factor == pytest.approx(15.0 / 55.0)


class TestFakeJobBacklog(OnFake, JobBacklogContract):
    pass


class TestPiccoloJobBacklog(OnPostgres, JobBacklogContract):
    pass
