"""Two that write the same row: who comes second waits for the first, and decides by what that one wrote."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from audio_text.adapters.database import open_database
from audio_text.adapters.job_claims import CLAIM, COMPLETE, EXTEND_LEASE, RECORD
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.job import AttemptEnd, Completed, JobStatus
from audio_text.errors import JobStateError
from audio_text.ports import Again, Claim
from factories import make_chunk, make_job, make_segment
from services.database import Database, numbered

TIER = "audio_small"
COMPLETED = Completed(
    result_text="",
    duration=1.0,
    duration_after_vad=1.0,
    processing_time_seconds=1.0,
    language=None,
    language_probability=None,
)
OWNED = (TIER, TIER, "first", 60.0)


@pytest.fixture
async def jobs(database: Database) -> AsyncGenerator[PiccoloJobRepository]:
    async with open_database(database.settings, database.password, application_name="second") as engine:
        yield PiccoloJobRepository(engine)


async def test_a_job_that_is_cancelled_while_it_is_being_claimed_has_its_attempt_closed(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    job = make_job(tier=TIER)
    await jobs.add(job)
    async with asyncio.TaskGroup() as group, _first(database, CLAIM, *OWNED):
        cancelling = group.create_task(jobs.cancel(job.id))
        await _until_waiting(database)
    assert cancelling.result().status is JobStatus.cancelled
    assert [record.end for record in await jobs.attempts(job.id)] == [AttemptEnd.cancelled]


async def test_a_job_that_is_completed_while_it_is_being_cancelled_stays_completed(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    claim = await _claimed(jobs)
    end = ("x", 1.0, 1.0, 1.0, 1.0, "en", 1.0, None, claim.job_id, claim.token, "completed", None, None)
    async with asyncio.TaskGroup() as group, _first(database, COMPLETE, *end):
        cancelling = group.create_task(_refusal(jobs, claim.job_id))
        await _until_waiting(database)
    assert "completed" in cancelling.result()
    assert (await jobs.get(claim.job_id)).result_text == "x"
    assert [record.end for record in await jobs.attempts(claim.job_id)] == [AttemptEnd.completed]


async def test_a_job_that_ends_while_it_is_being_retried_is_not_begun_again(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    claim = await _claimed(jobs)
    end = ("x", 1.0, 1.0, 1.0, 1.0, "en", 1.0, None, claim.job_id, claim.token, "completed", None, None)
    async with asyncio.TaskGroup() as group, _first(database, COMPLETE, *end):
        retrying = group.create_task(_refusal(jobs, claim.job_id, again=Again()))
        await _until_waiting(database)
    assert "completed" in retrying.result()


@pytest.mark.parametrize("move", ["complete", "record"])
async def test_a_worker_whose_job_is_being_taken_over_writes_nothing(
    database: Database, jobs: PiccoloJobRepository, move: str
) -> None:
    claim = await _claimed(jobs, lease_seconds=0.0)
    async with asyncio.TaskGroup() as group, _first(database, CLAIM, *OWNED):
        write = (
            jobs.complete(claim, COMPLETED) if move == "complete" else jobs.record(claim, make_chunk(make_segment()))
        )
        writing = group.create_task(write)
        await _until_waiting(database)
    assert not writing.result()
    job = await jobs.get(claim.job_id)
    assert (job.status, job.lease_owner, job.claims) == (JobStatus.processing, "first", 2)
    assert await jobs.segments(claim.job_id) == []
    assert [record.end for record in await jobs.attempts(claim.job_id)] == [AttemptEnd.lost, None]


async def test_nothing_is_written_to_a_job_that_is_being_deleted(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    claim = await _claimed(jobs)
    async with (
        asyncio.TaskGroup() as group,
        _first(database, "DELETE FROM transcription_job WHERE id = {}", claim.job_id),
    ):
        writing = group.create_task(jobs.record(claim, make_chunk(make_segment())))
        await _until_waiting(database)
    assert not writing.result()
    assert await jobs.segments(claim.job_id) == []


async def test_a_job_whose_worker_beats_just_now_is_neither_claimed_nor_ended_nor_waited_for(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    claim = await _claimed(jobs, lease_seconds=0.0)
    async with _first(database, EXTEND_LEASE, 60.0, claim.job_id, claim.token):
        assert await jobs.claim(TIER, owner="second", lease_seconds=60) is None
        assert await jobs.end_exhausted({TIER: 0}) == []
    assert await jobs.end_exhausted({TIER: 0}) == []
    assert (await jobs.get(claim.job_id)).claims == 1


async def test_a_job_is_deleted_under_its_worker_with_what_that_one_writes_just_now(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    claim = await _claimed(jobs)
    segment = '[{"id": 0, "seek": 0, "start": 0, "end": 1, "text": "", "tokens": []}]'
    async with (
        asyncio.TaskGroup() as group,
        _first(
            database,
            RECORD,
            *(10.0, 1.0, None, None, 10.0, 10.0, "en", 1.0, "cpu", "int8", None),
            *(claim.job_id, claim.token, 0, segment),
        ),
    ):
        deleting = group.create_task(jobs.delete(claim.job_id))
        await _until_waiting(database)
    deleted = deleting.result()
    assert deleted is not None
    assert deleted.progress == 10.0
    assert await jobs.segments(claim.job_id) == []


async def _claimed(jobs: PiccoloJobRepository, *, lease_seconds: float = 60.0) -> Claim:
    await jobs.add(make_job(tier=TIER))
    job = await jobs.claim(TIER, owner="w", lease_seconds=lease_seconds)
    assert job is not None
    return Claim(job.id, job.claims)


async def _refusal(jobs: PiccoloJobRepository, job_id: str, *, again: Again | None = None) -> str:
    with pytest.raises(JobStateError) as refusal:
        await (jobs.retry(job_id, again=again) if again else jobs.cancel(job_id))
    return str(refusal.value)


@asynccontextmanager
async def _first(database: Database, statement: str, *parameters: object) -> AsyncGenerator[None]:
    """Somebody who was first: the statement is carried out, and committed at the end of the context."""
    connection = await database.connect()
    try:
        async with connection.transaction():
            assert await connection.fetch(numbered(statement), *parameters) or statement.startswith("DELETE")
            yield
    finally:
        await connection.close()


async def _until_waiting(database: Database) -> None:
    connection = await database.connect()
    waiting = "SELECT FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock'"
    try:
        async with asyncio.timeout(10):
            while not await connection.fetch(waiting):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
