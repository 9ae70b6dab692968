"""What an operator may do with jobs that used up their attempts."""

from typing import Any

import pytest

from audio_text.domain.job import Job, JobStatus
from audio_text.errors import JobNotFoundError, JobStateError, UploadMissingError
from audio_text.ports import Resources
from audio_text.services.dead_letters import DeadLetterService
from factories import make_job, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore


class World:
    """A service with jobs in it."""

    def __init__(self) -> None:
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.queue = FakeJobQueue()
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=self.queue,
            events=FakeEventStream(),
        )
        self.service = DeadLetterService(resources, settings=make_settings())

    async def fail(self, **fields: Any) -> Job:
        job = make_job(**({"status": JobStatus.failed, "is_dead_letter": True} | fields))
        await self.jobs.add(job)
        self.store.put(job.object_key, b"audio")
        return job

    async def listed(self) -> list[str]:
        return [job.id for job in await self.service.newest(limit=10)]


async def test_a_requeued_dead_letter_waits_for_a_worker_and_is_off_the_list() -> None:
    world = World()
    job = await world.fail()
    assert await world.listed() == [job.id]

    assert (await world.service.requeue(job.id)).status is JobStatus.pending

    assert await world.listed() == []
    assert [message.job_id for message in world.queue.messages] == [job.id]


async def test_a_dropped_dead_letter_stays_failed() -> None:
    world = World()
    job = await world.fail()

    await world.service.drop(job.id)

    assert await world.listed() == []
    assert (await world.jobs.get(job.id)).status is JobStatus.failed


async def test_a_dead_letter_without_its_recording_stays_on_the_list() -> None:
    world = World()
    job = await world.fail()
    world.store.objects.clear()

    with pytest.raises(UploadMissingError):
        await world.service.requeue(job.id)
    assert await world.listed() == [job.id]


async def test_what_is_no_dead_letter_is_left_alone() -> None:
    world = World()
    job = await world.fail(is_dead_letter=False)

    for act in (world.service.show, world.service.requeue, world.service.drop):
        with pytest.raises(JobStateError, match="failed"):
            await act(job.id)
        for unknown in ("nobody", "\udcff"):
            with pytest.raises(JobNotFoundError):
                await act(unknown)
    assert await world.jobs.get(job.id) == job
