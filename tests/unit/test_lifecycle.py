"""What a client may do with its jobs after submitting them, over fakes held to their ports' contracts."""

from typing import Any

import pytest

from audio_text.domain.access import ANYBODY, Caller
from audio_text.domain.job import AttemptEnd, Job, JobStatus
from audio_text.domain.options import TranscriptionOptions, VadOptions
from audio_text.errors import (
    ConcurrentJobsError,
    InvalidRequestError,
    JobNotFoundError,
    JobStateError,
    StoreUnavailableError,
    TierFullError,
    UnknownModelError,
    UploadMissingError,
)
from audio_text.ports import Claim, Resources
from audio_text.services.lifecycle import LifecycleService
from factories import make_chunk, make_job, make_segment, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore

KEY = "uploads/ab/abcdef.wav"


class World:
    """An API's surroundings with one uploaded recording."""

    def __init__(self, **overrides: Any) -> None:
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.queue = FakeJobQueue()
        self.events = FakeEventStream()
        self.store.put(KEY, b"audio")
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=self.queue,
            events=self.events,
        )
        self.service = LifecycleService(
            resources, settings=make_settings({k.replace("__", "."): v for k, v in overrides.items()})
        )

    async def job(self, **fields: Any) -> Job:
        job = make_job(object_key=KEY, **fields)
        await self.jobs.add(job)
        return job

    async def running(self) -> Claim:
        """A job that a worker has, with its first segment stored."""
        await self.job()
        claimed = await self.jobs.claim("audio_small", owner="a worker", lease_seconds=60)
        assert claimed is not None
        claim = Claim(claimed.id, claimed.claims)
        assert await self.jobs.record(claim, make_chunk(make_segment(0)))
        return claim

    @property
    def told(self) -> list[tuple[str, JobStatus, float]]:
        return [(update.job_id, update.status, update.progress) for update in self.events.updates]

    async def unannounced(self) -> list[str]:
        return [job.id for job in await self.jobs.unannounced(seconds=-1, limit=10)]


async def test_a_waiting_job_is_cancelled_and_its_followers_are_told() -> None:
    world = World()
    job = await world.job()

    cancelled = await world.service.cancel(job.id)

    assert cancelled.status is JobStatus.cancelled
    assert await world.jobs.get(job.id) == cancelled
    assert world.told == [(job.id, JobStatus.cancelled, 0.0)]
    assert await world.unannounced() == []
    assert await world.jobs.claim("audio_small", owner="a worker", lease_seconds=60) is None


async def test_a_running_job_is_cancelled_under_its_worker_and_keeps_what_was_decoded() -> None:
    world = World()
    claim = await world.running()

    cancelled = await world.service.cancel(claim.job_id)

    assert not await world.jobs.extend_lease(claim, lease_seconds=60)
    assert await world.jobs.segments(claim.job_id) == [make_segment(0)]
    assert world.told == [(claim.job_id, JobStatus.cancelled, cancelled.progress)]
    assert [record.end for record in await world.service.attempts(claim.job_id)] == [AttemptEnd.cancelled]


async def test_cancelling_twice_is_the_same_as_once() -> None:
    world = World()
    job = await world.job()

    assert await world.service.cancel(job.id) == await world.service.cancel(job.id)


@pytest.mark.parametrize("status", [JobStatus.completed, JobStatus.failed])
async def test_a_job_that_is_over_cannot_be_cancelled(status: JobStatus) -> None:
    world = World()
    job = await world.job(status=status)

    with pytest.raises(JobStateError, match=status.value):
        await world.service.cancel(job.id)
    assert world.told == []


async def test_a_job_is_cancelled_even_when_nobody_can_be_told() -> None:
    world = World()
    job = await world.job()
    world.events.server.is_down = True

    assert (await world.service.cancel(job.id)).status is JobStatus.cancelled
    assert await world.unannounced() == [job.id]


@pytest.mark.parametrize("status", [JobStatus.failed, JobStatus.cancelled])
async def test_a_retried_job_waits_again_and_a_worker_is_woken(status: JobStatus) -> None:
    world = World()
    job = await world.job(status=status, attempt=4, is_dead_letter=status is JobStatus.failed, error_code="x")

    again = await world.service.retry(job.id)

    assert (again.status, again.attempt, again.is_dead_letter, again.error_code) == (JobStatus.pending, 0, False, None)
    assert (again.whisper_model, again.tier, again.options) == (job.whisper_model, job.tier, job.options)
    assert world.told == [(job.id, JobStatus.pending, 0.0)]
    assert [(message.tier, message.job_id) for message in world.queue.messages] == [(job.tier, job.id)]


async def test_a_cancelled_job_goes_on_behind_what_was_decoded() -> None:
    world = World()
    claim = await world.running()
    await world.service.cancel(claim.job_id)

    await world.service.retry(claim.job_id)

    assert await world.jobs.segments(claim.job_id) == [make_segment(0)]


async def test_a_job_can_be_retried_with_another_model_on_its_own_tier() -> None:
    world = World()
    claim = await world.running()
    await world.service.cancel(claim.job_id)

    again = await world.service.retry(claim.job_id, model="large-v3")

    assert (again.whisper_model, again.tier, again.progress) == ("large-v3", "audio_large", 0.0)
    assert await world.jobs.segments(claim.job_id) == []
    assert [message.tier for message in world.queue.messages] == ["audio_large"]


async def test_options_of_a_retry_are_laid_over_those_of_the_job() -> None:
    world = World()
    had = TranscriptionOptions(language="en", beam_size=3, vad=VadOptions(threshold=0.7))
    job = await world.job(status=JobStatus.failed, options=had)

    again = await world.service.retry(job.id, options={"beam_size": 2, "vad": {"speech_pad_ms": 0}})

    assert (again.options.language, again.options.beam_size) == ("en", 2)
    assert again.options.vad == VadOptions(threshold=0.7, speech_pad_ms=0)


async def test_a_retried_job_needs_room_beside_the_others_of_its_key_unless_an_operator_asks() -> None:
    world = World(limits__concurrent_jobs=2)
    caller = Caller(key_id="k")
    over = [await world.job(status=JobStatus.cancelled, key_id="k") for _ in range(3)]
    for job in over[:2]:
        await world.service.retry(job.id, caller=caller)

    for who in (caller, Caller(key_id="another of the owner's")):
        with pytest.raises(ConcurrentJobsError, match="may have 2 jobs"):
            await world.service.retry(over[2].id, caller=who)

    assert (await world.service.retry(over[0].id, caller=caller)).status is JobStatus.pending
    assert (await world.service.retry(over[2].id)).status is JobStatus.pending


async def test_a_retried_job_needs_room_in_its_tier() -> None:
    world = World(tiers__audio_small__max_pending_jobs=2)
    over = [await world.job(status=JobStatus.failed) for _ in range(3)]
    for job in over[:2]:
        await world.service.retry(job.id, caller=ANYBODY)

    with pytest.raises(TierFullError):
        await world.service.retry(over[2].id, caller=ANYBODY)

    assert (await world.jobs.get(over[2].id)).status is JobStatus.failed
    assert (await world.service.retry(over[2].id, caller=ANYBODY, model="large-v3")).tier == "audio_large"


async def test_a_retry_that_cannot_be_done_changes_nothing() -> None:
    world = World()
    job = await world.job(status=JobStatus.failed)

    with pytest.raises(UnknownModelError):
        await world.service.retry(job.id, model="gigantic")
    with pytest.raises(InvalidRequestError, match="beam_size"):
        await world.service.retry(job.id, options={"beam_size": 0})
    world.store.is_down = True
    with pytest.raises(StoreUnavailableError):
        await world.service.retry(job.id)
    world.store.is_down = False
    world.store.objects.clear()
    with pytest.raises(UploadMissingError, match="no longer stored"):
        await world.service.retry(job.id)
    assert await world.jobs.get(job.id) == job
    assert world.queue.messages == []


async def test_a_completed_job_is_not_retried_although_its_recording_is_gone() -> None:
    world = World()
    job = await world.job(status=JobStatus.completed)
    world.store.objects.clear()

    with pytest.raises(JobStateError, match="completed"):
        await world.service.retry(job.id)


@pytest.mark.parametrize("status", [JobStatus.pending, JobStatus.processing])
async def test_a_job_that_was_retried_already_is_left_as_it_is(status: JobStatus) -> None:
    world = World()
    job = await world.job(status=status)

    assert await world.service.retry(job.id) == job


async def test_a_job_is_retried_even_when_no_worker_can_be_woken() -> None:
    world = World()
    job = await world.job(status=JobStatus.failed)
    world.queue.is_down = True

    assert (await world.service.retry(job.id)).status is JobStatus.pending


async def test_a_deleted_job_is_gone_with_its_recording() -> None:
    world = World()
    claim = await world.running()

    await world.service.delete(claim.job_id)

    assert (world.jobs.jobs, world.store.objects) == ({}, {})
    assert await world.jobs.segments(claim.job_id) == []
    assert [status for _, status, _ in world.told] == [JobStatus.cancelled]


@pytest.mark.parametrize("status", [JobStatus.pending, JobStatus.failed])
async def test_a_recording_that_another_job_may_need_outlives_a_deleted_one(status: JobStatus) -> None:
    world = World()
    job = await world.job(status=JobStatus.completed)
    await world.job(status=status)

    await world.service.delete(job.id)

    assert list(world.store.objects) == [KEY]
    assert world.told == []


async def test_a_job_is_deleted_even_when_its_recording_cannot_be() -> None:
    world = World()
    job = await world.job(status=JobStatus.failed)
    world.store.is_down = True

    await world.service.delete(job.id)

    assert world.jobs.jobs == {}


async def test_nothing_can_be_done_with_a_job_that_is_not_there() -> None:
    service = World().service
    for act in (service.get, service.attempts, service.cancel, service.retry, service.delete):
        with pytest.raises(JobNotFoundError):
            await act("nobody")
