"""Batches of jobs: in PostgreSQL, and in the fake that stands in for it elsewhere."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from audio_text.adapters.batch_table import PiccoloBatchRepository
from audio_text.adapters.database import open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.batch import MOST_JOBS, Batch, Tally
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job, Priority
from audio_text.domain.listing import JobQuery
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.owners import EVERYBODY
from audio_text.domain.usage import Quota, Usage
from audio_text.errors import AudioQuotaError, BatchNotFoundError, ConcurrentJobsError
from audio_text.ports import BatchRepository, JobRepository
from factories import make_job
from fakes.batches import FakeBatchRepository
from fakes.repository import FakeJobRepository
from services.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)


class Tables(NamedTuple):
    jobs: JobRepository
    batches: BatchRepository


def make_batch(batch_id: str = "b1", **fields: Any) -> Batch:
    return Batch(**({"id": batch_id, "owner": "ann", "size": 2, "created_at": START} | fields))


def members(batch_id: str = "b1", count: int = 2) -> list[Job]:
    return [make_job(batch_id=batch_id, creation_date=START + timedelta(seconds=place)) for place in range(count)]


def key(text: str = "k", *, fingerprint: str = "f", owner: str | None = "ann") -> IdempotencyKey:
    return IdempotencyKey(text=text, fingerprint=fingerprint, seconds=60, owner=owner)


class BatchesContract:
    async def test_a_quota_has_room_for_all_jobs_of_a_batch_or_none_is_stored(self, tables: Tables) -> None:
        def of_key(batch_id: str, duration: float = 10.0) -> list[Job]:
            return [replace(job, key_id="k", duration=duration) for job in members(batch_id, 3)]

        both = Quota(key_id="k", concurrent_jobs=5, audio_seconds_per_day=50)
        with pytest.raises(AudioQuotaError):
            await tables.batches.add(make_batch("b1"), of_key("b1", duration=20.0), key=key(), quota=both)
        assert await tables.batches.add(make_batch("b2"), of_key("b2"), key=key(), quota=both)
        with pytest.raises(ConcurrentJobsError):
            await tables.batches.add(make_batch("b3"), of_key("b3"), quota=both)
        assert await tables.jobs.usage("k") == Usage(concurrent_jobs=3, audio_seconds_today=30.0)
        with pytest.raises(BatchNotFoundError):
            await tables.batches.get("b3")

    async def test_jobs_of_unknown_length_in_a_batch_reserve_seconds_each_and_together(self, tables: Tables) -> None:
        def of_key(batch_id: str) -> list[Job]:
            known, *unknown = [replace(job, key_id="k") for job in members(batch_id, 3)]
            return [replace(known, duration=10.0), *unknown]

        quota = Quota(key_id="k", audio_seconds_per_day=100, unknown_audio_seconds=30)
        assert await tables.batches.add(make_batch("b1"), of_key("b1"), quota=quota)
        with pytest.raises(AudioQuotaError):
            await tables.batches.add(make_batch("b2"), of_key("b2"), quota=quota)
        assert await tables.jobs.usage("k") == Usage(concurrent_jobs=3, audio_seconds_today=70.0, reserved_seconds=60.0)
        for job in await tables.jobs.find(JobQuery(batch_id="b1"), limit=9):
            await tables.jobs.cancel(job.id)
        assert (await tables.jobs.usage("k")).audio_seconds_today == 10

    async def test_a_batch_is_stored_with_all_its_jobs_as_they_were_given(self, tables: Tables) -> None:
        odd = make_job(
            batch_id="b1",
            owner="ann",
            filename="naïve \N{SNOWMAN}'\".wav",
            options=TranscriptionOptions(language="en", temperature=(0.0, 0.4)),
            metadata={"project": "größe"},
            priority=Priority.high,
            deadline=START,
            expires_in_seconds=60,
            duration=12.5,
            request_id="r",
        )
        plain = make_job(batch_id="b1")
        assert await tables.batches.add(make_batch(description="May", metadata={"a": "b"}), [odd, plain])
        assert await tables.jobs.get(odd.id) == odd
        assert await tables.jobs.get(plain.id) == plain
        tally = Tally(pending=2)
        assert await tables.batches.get("b1") == make_batch(description="May", metadata={"a": "b"}, tally=tally)

    async def test_it_may_have_as_many_jobs_as_a_batch_can_have(self, tables: Tables) -> None:
        await tables.batches.add(make_batch(size=MOST_JOBS), members(count=MOST_JOBS))
        assert (await tables.batches.get("b1")).tally.pending == MOST_JOBS

    async def test_its_jobs_are_counted_as_they_stand(self, tables: Tables) -> None:
        jobs = members(count=4)
        await tables.batches.add(make_batch(), jobs)
        await tables.jobs.cancel(jobs[0].id)
        await tables.jobs.claim("audio_small", owner="w", lease_seconds=60)
        await tables.jobs.delete(jobs[3].id)
        assert (await tables.batches.get("b1")).tally == Tally(
            pending=1, processing=1, cancelled=1, progress=pytest.approx(100 / 3)
        )

    async def test_an_unknown_batch_is_not_found(self, tables: Tables) -> None:
        with pytest.raises(BatchNotFoundError):
            await tables.batches.get("b2")

    async def test_under_a_key_there_is_one_batch_for_each_owner(self, tables: Tables) -> None:
        assert await tables.batches.add(make_batch(), members(), key=key())
        assert not await tables.batches.add(make_batch("b2"), members("b2"), key=key(fingerprint="g"))
        assert await tables.jobs.find(JobQuery(batch_id="b2"), limit=10) == []
        assert await tables.batches.add(make_batch("b3", owner="bob"), members("b3"), key=key(owner="bob"))
        assert await tables.batches.add(make_batch("b4", owner=None), members("b4"), key=key(owner=None))
        assert not await tables.batches.add(make_batch("b5", owner=None), members("b5"), key=key(owner=None))
        found = await tables.batches.submitted(key(fingerprint="whatever"))
        assert found is not None
        assert (found[0], found[1].id, found[1].tally) == ("f", "b1", Tally(pending=2))
        assert await tables.batches.submitted(key("other")) is None

    async def test_the_newest_come_first_page_by_page_and_only_the_owners(self, tables: Tables) -> None:
        for number in range(6):
            owner = {2: "bob", 5: None}.get(number, "ann")
            created_at = START + timedelta(seconds=number // 2)
            await tables.batches.add(make_batch(f"b{number}", owner=owner, created_at=created_at), [])
        first = await tables.batches.newest(owner="ann", limit=2)
        assert [batch.id for batch in first] == ["b4", "b3"]
        rest = await tables.batches.newest(owner="ann", limit=9, before=(first[-1].created_at, first[-1].id))
        assert [batch.id for batch in rest] == ["b1", "b0"]
        assert [batch.id for batch in await tables.batches.newest(owner=None, limit=9)] == ["b5"]
        assert len(await tables.batches.newest(owner=EVERYBODY, limit=9)) == 6

    async def test_a_batch_ends_once_when_none_of_its_jobs_is_unfinished(self, tables: Tables) -> None:
        jobs = members()
        await tables.batches.add(make_batch(), jobs)
        await tables.jobs.cancel(jobs[0].id)
        assert await tables.batches.end_finished() == []
        await tables.jobs.cancel(jobs[1].id)
        [ended] = await tables.batches.end_finished()
        assert ended.id == "b1"
        assert ended.finished_at is not None
        assert await tables.batches.end_finished() == []
        assert (await tables.batches.get("b1")).finished_at == ended.finished_at

    async def test_a_finished_batch_goes_with_its_last_job_and_its_key_with_it(self, tables: Tables) -> None:
        [job] = members(count=1)
        await tables.batches.add(make_batch(), [job], key=key())
        await tables.jobs.cancel(job.id)
        await tables.batches.end_finished()
        assert await tables.batches.remove_empty() == 0
        await tables.jobs.delete(job.id)
        assert await tables.batches.remove_empty() == 1
        with pytest.raises(BatchNotFoundError):
            await tables.batches.get("b1")
        assert await tables.batches.submitted(key()) is None


class TestFake(BatchesContract):
    @pytest.fixture
    def tables(self) -> Tables:
        jobs = FakeJobRepository()
        return Tables(jobs, FakeBatchRepository(jobs))


class TestPostgres(BatchesContract):
    @pytest.fixture
    async def tables(self, database: Database) -> AsyncGenerator[Tables]:
        async with open_database(database.settings, database.password, application_name="test") as engine:
            yield Tables(PiccoloJobRepository(engine), PiccoloBatchRepository(engine))
