"""What is noted on a job, and deadlines: in PostgreSQL, and in the fake that stands in for it elsewhere."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from audio_text.domain.job import MOST_METADATA, AttemptEnd, JobStatus
from audio_text.errors import InvalidRequestError, JobNotFoundError
from audio_text.ports import Again, Claim, JobRepository, Notes, Released
from factories import make_job
from services.repositories import OnFake, OnPostgres

NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
TIER = "audio_small"


class JobNotesContract:
    @pytest.mark.parametrize(
        ("notes", "description", "metadata"),
        [
            (Notes(), "old", {"a": "1", "b": "2"}),
            (Notes(description="new"), "new", {"a": "1", "b": "2"}),
            (Notes(description=None), None, {"a": "1", "b": "2"}),
            (Notes(metadata={"b": None, "c": "3", "nothing": None}), "old", {"a": "1", "c": "3"}),
            (Notes(metadata={"a": "", "ä {}": "'"}), "old", {"a": "", "b": "2", "ä {}": "'"}),
            (Notes(metadata={}), "old", {"a": "1", "b": "2"}),
            (Notes(description="", metadata=None), "", {}),
        ],
    )
    async def test_notes_change_where_they_say_so(
        self, jobs: JobRepository, notes: Notes, description: str | None, metadata: dict[str, str]
    ) -> None:
        job = make_job(description="old", metadata={"a": "1", "b": "2"})
        await jobs.add(job)
        noted = await jobs.annotate(job.id, notes=notes)
        assert noted == replace(job, description=description, metadata=metadata, update_date=noted.update_date)
        assert await jobs.get(job.id) == noted

    async def test_an_unknown_job_has_no_notes(self, jobs: JobRepository) -> None:
        with pytest.raises(JobNotFoundError):
            await jobs.annotate("nobody", notes=Notes(metadata={"a": "b"}))

    async def test_notes_that_would_be_too_many_change_nothing(self, jobs: JobRepository) -> None:
        job = make_job(metadata={str(number): "" for number in range(MOST_METADATA)})
        await jobs.add(job)
        with pytest.raises(InvalidRequestError, match="more than 16"):
            await jobs.annotate(job.id, notes=Notes(description="new", metadata={"more": ""}))
        assert await jobs.get(job.id) == job
        noted = await jobs.annotate(job.id, notes=Notes(metadata={"more": "", "0": None}))
        assert len(noted.metadata) == MOST_METADATA

    async def test_changes_at_the_same_time_are_all_made_up_to_the_limit(self, jobs: JobRepository) -> None:
        job = make_job(metadata={str(number): "" for number in range(MOST_METADATA - 2)})
        await jobs.add(job)
        outcomes = await asyncio.gather(
            *(jobs.annotate(job.id, notes=Notes(metadata={f"new {number}": ""})) for number in range(4)),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, InvalidRequestError) for outcome in outcomes) == 2
        assert len((await jobs.get(job.id)).metadata) == MOST_METADATA

    async def test_notes_on_a_running_job_leave_its_worker_alone(self, jobs: JobRepository) -> None:
        job = make_job(tier=TIER)
        await jobs.add(job)
        claim = await _claim(jobs)
        running = await jobs.get(job.id)
        noted = await jobs.annotate(job.id, notes=Notes(metadata={"a": "b"}))
        assert noted == replace(running, metadata={"a": "b"}, update_date=noted.update_date)
        assert await jobs.extend_lease(claim, lease_seconds=60)

    async def test_a_job_that_nobody_began_before_its_deadline_fails_and_is_not_claimed(
        self, jobs: JobRepository
    ) -> None:
        late = [make_job(tier=TIER, deadline=PAST - timedelta(hours=number)) for number in range(3)]
        in_time = make_job(tier=TIER, deadline=FUTURE, creation_date=NOW + timedelta(hours=1))
        for job in (*late, in_time):
            await jobs.add(job)
        assert await jobs.overdue(seconds=-7_200) == {TIER: 1}
        assert (await _claim(jobs)).job_id == in_time.id
        assert await jobs.claim(TIER, owner="w", lease_seconds=60) is None
        assert [job.id for job in await jobs.end_late(limit=2)] == [late[2].id, late[1].id]
        [job] = await jobs.end_late(limit=9)
        assert (job.id, job.status, job.error_code) == (late[0].id, JobStatus.failed, "deadline_passed")
        assert job.finished_at is not None
        assert not job.is_dead_letter
        assert await jobs.get(job.id) == job
        assert {job.id for job in await jobs.unannounced(seconds=0.0, limit=9)} == {job.id for job in late}
        assert await jobs.end_late(limit=9) == []

    async def test_a_job_that_was_begun_goes_on_after_its_deadline(self, jobs: JobRepository) -> None:
        job = make_job(tier=TIER, deadline=datetime.now(UTC) + timedelta(seconds=0.2))
        await jobs.add(job)
        claim = await _claim(jobs)
        handed_back = Released(end=AttemptEnd.handed_back)
        assert await jobs.release(claim, delay_seconds=0, reason=handed_back)
        await asyncio.sleep(0.3)
        assert await jobs.end_late(limit=9) == []
        assert (await _claim(jobs)).job_id == job.id

    async def test_a_retried_job_has_no_deadline(self, jobs: JobRepository) -> None:
        job = make_job(tier=TIER, deadline=PAST)
        await jobs.add(job)
        await jobs.end_late(limit=9)
        assert (await jobs.retry(job.id, again=Again())).deadline is None
        assert (await _claim(jobs)).job_id == job.id


async def _claim(jobs: JobRepository) -> Claim:
    job = await jobs.claim(TIER, owner="w", lease_seconds=60)
    assert job is not None
    return Claim(job.id, job.claims)


class TestFakeJobNotes(OnFake, JobNotesContract):
    pass


class TestPiccoloJobNotes(OnPostgres, JobNotesContract):
    pass
