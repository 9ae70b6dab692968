"""Waiting for jobs while parts of the service are away, with everything in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

import media
from audio_text.domain.events import JobUpdate
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Completed, Job, JobStatus
from audio_text.domain.object_keys import new_key
from audio_text.errors import AudioTextError, EventsUnavailableError, JobNotFoundError, WaitTooLongError
from audio_text.ports import Claim, Resources
from audio_text.services.submission import Submission
from audio_text.services.waiting import WaitingService
from factories import make_chunk, make_job, make_segment, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.probe import FakeProbe
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore
from fakes.waiters import FakeWaiters

GRACE_SECONDS = 0.03
SAME, OTHER = (IdempotencyKey(text=text, fingerprint=text, seconds=60) for text in ("same", "other"))


@dataclass
class World:
    jobs: FakeJobRepository = field(default_factory=FakeJobRepository)
    store: FakeAudioStore = field(default_factory=FakeAudioStore)
    queue: FakeJobQueue = field(default_factory=FakeJobQueue)
    events: FakeEventStream = field(default_factory=FakeEventStream)
    waiters: FakeWaiters = field(default_factory=FakeWaiters)

    @asynccontextmanager
    async def service(self, **settings: float) -> AsyncIterator[WaitingService]:
        overrides = {"openai.grace_seconds": GRACE_SECONDS} | {
            f"openai.{key}": value for key, value in settings.items()
        }
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=self.queue,
            events=self.events,
        )
        async with asyncio.TaskGroup() as group:
            yield WaitingService(
                resources,
                waiters=self.waiters,
                probe=FakeProbe(),
                settings=make_settings(overrides),
                background=group,
            )

    async def pending(self) -> Job:
        job = make_job()
        self.store.put(job.object_key, b"audio")
        await self.jobs.add(job)
        return job

    async def work(self, job: Job) -> None:
        """Do what a worker does to the job, with two segments."""
        claimed = await self.jobs.claim(job.tier, owner="test", lease_seconds=60)
        assert claimed is not None
        claim = Claim(job.id, claimed.claims)
        for number in range(2):
            chunk = make_chunk(make_segment(number))
            await self.jobs.record(claim, chunk)
            update = JobUpdate(job_id=job.id, status=JobStatus.processing, progress=1.0, segments=chunk.segments)
            await self.events.publish(update)
        outcome = Completed(
            result_text="Sentence 0. Sentence 1.",
            duration=10.0,
            duration_after_vad=10.0,
            processing_time_seconds=1.0,
            language="en",
            language_probability=0.9,
        )
        assert await self.jobs.complete(claim, outcome)
        await self.events.publish(JobUpdate(job_id=job.id, status=JobStatus.completed, progress=100.0))

    async def status(self, job: Job) -> JobStatus:
        return (await self.jobs.get(job.id)).status

    def submission(self) -> Submission:
        return Submission(filename="a.wav", url=self.store.put(new_key("wav"), media.wav()), model="demo")


async def _refused(work: Awaitable[object]) -> Exception | None:
    try:
        await work
    except AudioTextError as error:
        return error
    return None


async def test_the_outcome_is_the_job_with_its_segments() -> None:
    world = World()
    async with world.service() as service:
        job = await world.pending()
        async with asyncio.TaskGroup() as group:
            outcome = group.create_task(service.outcome(job.id))
            await world.work(job)
        ended, segments = outcome.result()
    assert ended.status is JobStatus.completed
    assert [segment.id for segment in segments] == [0, 1]


async def test_a_job_is_cancelled_when_its_only_waiter_leaves() -> None:
    world = World()
    async with world.service() as service:
        job = await world.pending()
        async with aclosing(service.follow(job.id)) as updates:
            await anext(updates)
    assert await world.status(job) is JobStatus.cancelled


async def test_a_job_that_is_over_stays_as_it_is_when_its_waiter_leaves() -> None:
    world = World()
    async with world.service() as service:
        job = await world.pending()
        async with aclosing(service.follow(job.id)) as updates:
            await anext(updates)
            await world.work(job)
    assert await world.status(job) is JobStatus.completed


@pytest.mark.parametrize("part", ["waiters", "jobs"])
async def test_a_job_runs_on_when_it_is_not_known_who_waits(part: str) -> None:
    world = World()
    async with world.service() as service:
        job = await world.pending()
        async with aclosing(service.follow(job.id)) as updates:
            await anext(updates)
        getattr(world, part).is_down = True
    getattr(world, part).is_down = False
    assert await world.status(job) is JobStatus.pending


async def test_a_process_that_stops_cancels_no_jobs() -> None:
    world = World()
    async with world.service(grace_seconds=60.0) as service:
        job = await world.pending()
        async with aclosing(service.follow(job.id)) as updates:
            await anext(updates)
        await asyncio.sleep(0)
        service.close()
    assert await world.status(job) is JobStatus.pending


async def test_who_has_waited_for_long_is_told_and_the_job_goes_on() -> None:
    world = World()
    async with world.service(longest_wait_seconds=0.001) as service:
        job = await world.pending()
        with pytest.raises(WaitTooLongError, match=job.id):
            await service.outcome(job.id)
    assert await world.status(job) is JobStatus.pending


async def test_a_job_that_is_deleted_meanwhile_is_not_found() -> None:
    world = World()
    async with world.service() as service:
        job = await world.pending()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_refused(service.outcome(job.id)))
            while job.id not in world.waiters.until:
                await asyncio.sleep(0)
            await world.jobs.delete(job.id)
        assert isinstance(waiting.result(), JobNotFoundError)


async def test_without_live_events_a_waiter_is_sent_away_for_a_moment() -> None:
    world = World()
    world.waiters.is_down = True
    async with world.service() as service:
        job = await world.pending()
        with pytest.raises(EventsUnavailableError):
            await service.outcome(job.id)
    assert await world.status(job) is JobStatus.pending


async def test_a_second_try_finds_the_job_of_the_first() -> None:
    world = World()
    async with world.service() as service:
        first, _ = await service.submit(world.submission(), key=SAME, is_retry=False)
        found, is_new = await service.submit(world.submission(), key=SAME, is_retry=True)
        assert (found.id, is_new) == (first.id, False)
        other, is_new = await service.submit(world.submission(), key=OTHER, is_retry=True)
        assert (other.id != first.id, is_new) == (True, True)
        again, is_new = await service.submit(world.submission(), key=SAME, is_retry=False)
        assert (again.id != first.id, is_new) == (True, True)


async def test_a_second_try_sends_a_cancelled_job_on() -> None:
    world = World()
    async with world.service() as service:
        first, _ = await service.submit(world.submission(), key=SAME, is_retry=False)
        await world.jobs.cancel(first.id)
        found, is_new = await service.submit(world.submission(), key=SAME, is_retry=True)
    assert (found.id, found.status, is_new) == (first.id, JobStatus.pending, False)


@pytest.mark.parametrize("loss", ["job", "recording", "waiters"])
async def test_a_second_try_is_a_new_job_when_the_first_is_lost(loss: str) -> None:
    world = World()
    async with world.service() as service:
        first, _ = await service.submit(world.submission(), key=SAME, is_retry=False)
        if loss == "job":
            await world.jobs.delete(first.id)
        elif loss == "recording":
            await world.jobs.cancel(first.id)
            await world.store.delete(first.object_key)
        else:
            world.waiters.is_down = True
        second, is_new = await service.submit(world.submission(), key=SAME, is_retry=True)
    assert is_new
    assert second.id != first.id
