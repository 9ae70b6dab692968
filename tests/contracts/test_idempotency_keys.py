"""Jobs that are submitted under an idempotency key: in PostgreSQL, and in the fake that stands in for it elsewhere."""

import asyncio

from msgspec.structs import replace

from audio_text.domain.idempotency import IdempotencyKey, Submitted
from audio_text.domain.job import JobStatus
from audio_text.domain.listing import JobQuery
from audio_text.ports import JobRepository, Notes
from factories import make_job
from services.repositories import OnFake, OnPostgres

KEY = IdempotencyKey(text="k", fingerprint="f", seconds=60)
EXPIRED = replace(KEY, seconds=0)


class IdempotencyKeysContract:
    async def test_what_was_submitted_is_found_as_it_was_then(self, jobs: JobRepository) -> None:
        assert await jobs.submitted(KEY) is None
        job = make_job(metadata={"ä": "{}"}, description="\0")
        assert await jobs.add(job, key=KEY)
        stored = await jobs.get(job.id)
        await jobs.annotate(job.id, notes=Notes(metadata=None))
        await jobs.cancel(job.id)
        assert await jobs.submitted(KEY) == Submitted(fingerprint="f", job=stored)
        assert (await jobs.submitted(replace(KEY, fingerprint="other"))) is not None
        assert await jobs.submitted(replace(KEY, text="other")) is None

    async def test_a_key_that_holds_keeps_other_jobs_out(self, jobs: JobRepository) -> None:
        first, second = make_job(), make_job()
        assert await jobs.add(first, key=KEY)
        assert not await jobs.add(second, key=replace(KEY, fingerprint="other"))
        assert await jobs.add(first, key=KEY)
        assert [job.id for job in await jobs.find(JobQuery(), limit=9)] == [first.id]

    async def test_every_owner_has_keys_of_its_own(self, jobs: JobRepository) -> None:
        for owner in (None, "a", "b"):
            assert await jobs.add(make_job(owner=owner), key=replace(KEY, owner=owner))
            found = await jobs.submitted(replace(KEY, owner=owner))
            assert found is not None
            assert found.job.owner == owner
        assert not await jobs.add(make_job(), key=KEY)

    async def test_of_many_at_once_one_is_stored(self, jobs: JobRepository) -> None:
        twins = [make_job() for _ in range(8)]
        is_added = await asyncio.gather(*(jobs.add(job, key=KEY) for job in twins))
        assert sum(is_added) == 1
        [stored] = await jobs.find(JobQuery(), limit=9)
        assert stored.id == twins[is_added.index(True)].id
        found = await jobs.submitted(KEY)
        assert found is not None
        assert found.job.id == stored.id

    async def test_a_key_is_free_again_when_it_expires_when_it_is_taken_over_and_when_its_job_is_deleted(
        self, jobs: JobRepository
    ) -> None:
        first, second, third, fourth = (make_job() for _ in range(4))
        assert await jobs.add(first, key=EXPIRED)
        assert await jobs.submitted(KEY) is None
        assert await jobs.add(second, key=KEY)
        assert await jobs.add(third, key=replace(KEY, takes_over=True))
        found = await jobs.submitted(KEY)
        assert found is not None
        assert found.job.id == third.id
        await jobs.delete(third.id)
        assert await jobs.submitted(KEY) is None
        assert await jobs.add(fourth, key=KEY)
        assert len(await jobs.find(JobQuery(statuses=(JobStatus.pending,)), limit=9)) == 3

    async def test_expired_keys_are_removed_in_batches_and_their_jobs_stay(self, jobs: JobRepository) -> None:
        for number in range(5):
            await jobs.add(make_job(), key=replace(EXPIRED, text=str(number)))
        await jobs.add(make_job(), key=KEY)
        assert [await jobs.forget_idempotency_keys(limit=3) for _ in range(3)] == [3, 2, 0]
        assert await jobs.submitted(KEY) is not None
        assert len(await jobs.find(JobQuery(), limit=9)) == 6


class TestFakeIdempotencyKeys(OnFake, IdempotencyKeysContract):
    pass


class TestPiccoloIdempotencyKeys(OnPostgres, IdempotencyKeysContract):
    pass
