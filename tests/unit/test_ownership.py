"""Whose a job is, asked once and remembered."""

import pytest

from audio_text.domain.access import ANYBODY, Caller, Scope
from audio_text.errors import DatabaseUnavailableError, JobNotFoundError
from audio_text.services.ownership import OwnershipService
from factories import make_job
from fakes.repository import FakeJobRepository

ADA = Caller(owner="ada", scopes=frozenset(Scope))
BOB = Caller(owner="bob", scopes=frozenset(Scope))


class CountingRepository(FakeJobRepository):
    asked = 0

    async def owner_of(self, job_id: str) -> str | None:
        self.asked += 1
        return await super().owner_of(job_id)


class World:
    def __init__(self, *, known_jobs: int = 10) -> None:
        self.jobs = CountingRepository()
        self.ownership = OwnershipService(jobs=self.jobs, known_jobs=known_jobs)

    async def add(self, owner: str | None) -> str:
        job = make_job(owner=owner)
        await self.jobs.add(job)
        return job.id


async def test_a_job_of_another_owner_does_not_exist_and_its_refusal_says_the_same() -> None:
    world = World()
    job_id = await world.add("ada")
    await world.ownership.require_job(job_id, ADA)
    with pytest.raises(JobNotFoundError) as foreign:
        await world.ownership.require_job(job_id, BOB)
    with pytest.raises(JobNotFoundError) as unknown:
        await world.ownership.require_job("nobody", BOB)
    assert foreign.value.detail == unknown.value.detail


async def test_a_job_that_came_without_a_key_is_not_for_those_who_have_one() -> None:
    world = World()
    job_id = await world.add(None)
    with pytest.raises(JobNotFoundError):
        await world.ownership.require_job(job_id, ADA)


async def test_in_open_mode_nothing_is_read() -> None:
    world = World()
    await world.ownership.require_job(await world.add("ada"), ANYBODY)
    await world.ownership.require_job("nobody", ANYBODY)
    assert world.jobs.asked == 0


async def test_the_owner_is_asked_for_once_whoever_looks_and_however_often() -> None:
    world = World()
    job_id = await world.add("ada")
    for _ in range(3):
        await world.ownership.require_job(job_id, ADA)
        with pytest.raises(JobNotFoundError):
            await world.ownership.require_job(job_id, BOB)
    assert world.jobs.asked == 1


async def test_what_does_not_exist_is_not_remembered_and_may_come_to_exist() -> None:
    world = World()
    job = make_job(owner="ada")
    with pytest.raises(JobNotFoundError):
        await world.ownership.require_job(job.id, ADA)
    await world.jobs.add(job)
    await world.ownership.require_job(job.id, ADA)


async def test_only_so_many_owners_are_remembered_those_that_were_asked_for_last() -> None:
    world = World(known_jobs=2)
    first, second, third = [await world.add("ada") for _ in range(3)]
    for job_id in (first, second, first, third, first):
        await world.ownership.require_job(job_id, ADA)
    assert world.jobs.asked == 3
    await world.ownership.require_job(second, ADA)
    assert world.jobs.asked == 4


async def test_while_the_database_is_away_nobody_is_let_in_by_guess() -> None:
    world = World()
    job_id = await world.add("ada")
    world.jobs.is_down = True
    with pytest.raises(DatabaseUnavailableError):
        await world.ownership.require_job(job_id, ADA)
