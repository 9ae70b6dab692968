"""Several jobs followed as one: what is given out, what no longer is, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import JobStatus
from audio_text.errors import DatabaseUnavailableError, TooManyJobsError
from audio_text.services.following import Following, Gone, following
from audio_text.services.live import LiveService, LiveUpdate
from factories import make_job
from fakes.events import FakeEventStream
from fakes.repository import FakeJobRepository

PENDING, PROCESSING, CANCELLED = JobStatus.pending, JobStatus.processing, JobStatus.cancelled


class World:
    def __init__(self) -> None:
        self.jobs = FakeJobRepository()
        self.events = FakeEventStream()
        self.live = LiveService(jobs=self.jobs, events=self.events)

    async def add(self) -> str:
        job = make_job()
        await self.jobs.add(job)
        return job.id

    async def publish(self, job_id: str, *, progress: float) -> None:
        await self.events.publish(JobUpdate(job_id=job_id, status=PROCESSING, progress=progress))

    async def cancel(self, job_id: str) -> None:
        job = await self.jobs.cancel(job_id)
        await self.events.publish(JobUpdate.of(job))


async def told(followed: Following) -> tuple[str, JobStatus]:
    async with asyncio.timeout(10):
        news = await followed.news()
    assert isinstance(news, LiveUpdate)
    return news.job_id, news.update.status


async def admitted(_job_id: str) -> None:
    """Let every follower follow every job."""


async def first_news(live: LiveService) -> None:
    async with following(live, admit=admitted, limit=1) as followed:
        followed.add("any")
        await followed.news()


async def test_jobs_are_told_as_each_would_be_and_followed_until_they_end() -> None:
    world = World()
    one, other = await world.add(), await world.add()
    async with following(world.live, admit=admitted, limit=2) as followed:
        followed.add(one)
        assert await told(followed) == (one, PENDING)
        followed.add(other)
        assert await told(followed) == (other, PENDING)
        await world.cancel(one)
        assert await told(followed) == (one, CANCELLED)
        assert set(followed.jobs) == {other}
        await world.cancel(other)
        assert await told(followed) == (other, CANCELLED)
        assert not followed.jobs


async def test_of_a_job_that_is_removed_not_even_what_had_happened_is_given_out() -> None:
    world = World()
    one, other = await world.add(), await world.add()
    async with following(world.live, admit=admitted, limit=2) as followed:
        followed.add(one)
        while followed._news.empty():
            await asyncio.sleep(0)
        assert followed.remove(one)
        assert not followed.remove(one)
        followed.add(other)
        assert await told(followed) == (other, PENDING)


async def test_what_waits_for_a_slow_follower_is_one_update_however_much_happens() -> None:
    world = World()
    jobs = [await world.add() for _ in range(20)]
    async with following(world.live, admit=admitted, limit=20) as followed:
        for job_id in jobs:
            followed.add(job_id)
        for _ in range(100):
            await asyncio.sleep(0)
        assert followed._news.qsize() == 1
        assert {(await told(followed))[0] for _ in jobs} == set(jobs)


async def test_more_jobs_than_the_limit_are_refused_and_one_that_is_followed_is_no_further_one() -> None:
    world = World()
    one, other = await world.add(), await world.add()
    async with following(world.live, admit=admitted, limit=1) as followed:
        followed.add(one)
        followed.add(one)
        with pytest.raises(TooManyJobsError, match="At most 1 "):
            followed.add(other)
        assert await told(followed) == (one, PENDING)


async def test_a_job_that_does_not_exist_is_gone_and_the_others_go_on() -> None:
    world = World()
    job_id = await world.add()
    async with following(world.live, admit=admitted, limit=2) as followed:
        followed.add("nobody")
        async with asyncio.timeout(10):
            assert await followed.news() == Gone(job_id="nobody")
        followed.add(job_id)
        assert await told(followed) == (job_id, PENDING)
        assert set(followed.jobs) == {job_id}


async def test_while_nothing_happens_that_is_said() -> None:
    world = World()
    async with following(world.live, admit=admitted, limit=1, idle_seconds=0.02) as followed:
        assert await followed.news() is None
        followed.add(await world.add())
        assert (await told(followed))[1] is PENDING
        assert await followed.news() is None


async def test_a_part_that_is_away_is_said_so() -> None:
    world = World()
    world.jobs.is_down = True
    with pytest.raises(DatabaseUnavailableError):
        await first_news(world.live)


async def test_what_nobody_foresaw_is_raised_and_leaves_no_task_behind() -> None:
    class Broken(LiveService):
        async def follow(self, *_: object, **__: object) -> AsyncGenerator[LiveUpdate | None, None]:
            raise ZeroDivisionError
            yield

    world = World()
    with pytest.raises(ExceptionGroup) as raised:
        await first_news(Broken(jobs=world.jobs, events=world.events))
    assert raised.group_contains(ZeroDivisionError)
    assert len(asyncio.all_tasks()) == 1
