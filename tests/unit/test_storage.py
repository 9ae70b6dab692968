"""What is kept, for how long, and what is left when a process dies while it tidies up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import JobStatus
from audio_text.domain.object_keys import new_key
from audio_text.errors import DatabaseUnavailableError, StoreUnavailableError
from audio_text.ports import Resources
from audio_text.services.storage import BATCH, EXPIRY, IDEMPOTENCY_KEYS, SWEEP, StorageService
from factories import make_job, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore

NOW = datetime.now(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class World:
    """A service with jobs and recordings of any age."""

    def __init__(self, **settings: object) -> None:
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.events = FakeEventStream()
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=FakeJobQueue(),
            events=self.events,
        )
        changed = {name.replace("__", "."): value for name, value in settings.items()}
        self.service = StorageService(resources, settings=make_settings(changed))

    def recording(self, *, age: timedelta) -> str:
        key = new_key("wav")
        self.store.put(key, b"audio")
        self.store.written_at[key] = NOW - age
        return key

    async def job(self, status: JobStatus, *, ended: timedelta | None = None, **fields: Any) -> str:
        job = make_job(**fields)
        await self.jobs.add(job)
        self.jobs.overwrite(job.id, status=status, finished_at=None if ended is None else NOW - ended)
        return job.id

    async def expired_job(self) -> str:
        key = self.recording(age=3 * DAY)
        return await self.job(JobStatus.completed, ended=DAY, object_key=key, expires_at=NOW - HOUR)


async def test_an_upload_that_nobody_submitted_is_removed_when_it_is_old() -> None:
    world = World(store__orphan_days=2)
    old, new = world.recording(age=2 * DAY + HOUR), world.recording(age=2 * DAY - HOUR)

    await world.service.sweep()

    assert list(world.store.objects) == [new]
    assert old not in world.store.objects


@pytest.mark.parametrize("status", [JobStatus.pending, JobStatus.processing])
async def test_the_recording_of_a_job_that_waits_for_days_stays(status: JobStatus) -> None:
    world = World(store__orphan_days=2)
    key = world.recording(age=30 * DAY)
    await world.job(status, object_key=key, creation_date=NOW - 30 * DAY)

    await world.service.sweep()

    assert list(world.store.objects) == [key]


async def test_the_recording_of_a_completed_job_whose_worker_died_before_it_could_delete_it_is_removed() -> None:
    world = World()
    await world.job(JobStatus.completed, ended=DAY, object_key=world.recording(age=3 * DAY))

    await world.service.sweep()

    assert world.store.objects == {}


@pytest.mark.parametrize("status", [JobStatus.failed, JobStatus.cancelled])
@pytest.mark.parametrize(("days", "is_kept"), [(30, True), (10, False), (0, True)])
async def test_the_recording_of_a_job_that_may_be_retried_is_kept_as_long_as_settings_say(
    status: JobStatus, days: int, *, is_kept: bool
) -> None:
    world = World(job__keep_failed_audio_days=days)
    await world.job(status, ended=20 * DAY, object_key=world.recording(age=20 * DAY))

    await world.service.sweep()

    assert len(world.store.objects) == is_kept


async def test_where_recordings_are_kept_they_stay_as_long_as_their_jobs() -> None:
    world = World(job__keep_audio=True)
    kept = world.recording(age=900 * DAY)
    await world.job(JobStatus.completed, ended=900 * DAY, object_key=kept)
    await world.expired_job()

    await world.service.sweep()
    assert list(world.store.objects) == [kept]
    await world.service.delete_expired()
    await world.service.sweep()
    assert list(world.store.objects) == [kept]


async def test_an_expired_job_goes_with_its_recording_and_its_events() -> None:
    world = World(job__keep_audio=True)
    job_id = await world.expired_job()
    world.events.server.logs[job_id] = []
    other = await world.job(JobStatus.completed, ended=DAY, expires_at=NOW + HOUR)

    await world.service.delete_expired()

    assert list(world.jobs.jobs) == [other]
    assert world.store.objects == {}
    assert world.events.server.logs == {}


async def test_all_expired_jobs_go_at_once_in_bounded_portions() -> None:
    world = World()
    for _ in range(2 * BATCH + 1):
        await world.expired_job()

    await world.service.delete_expired()

    assert (world.jobs.jobs, world.store.objects) == ({}, {})


async def test_expired_keys_go_with_expired_jobs_and_their_own_jobs_stay() -> None:
    world = World()
    key = IdempotencyKey(text="k", fingerprint="f", seconds=0)
    for number in range(IDEMPOTENCY_KEYS + 1):
        await world.jobs.add(make_job(), key=msgspec.structs.replace(key, text=str(number)))

    await world.service.delete_expired()

    assert await world.jobs.forget_idempotency_keys(limit=1) == 0
    assert len(world.jobs.jobs) == IDEMPOTENCY_KEYS + 1


async def test_a_recording_that_another_job_needs_outlives_an_expired_one() -> None:
    world = World()
    key = world.jobs.jobs[await world.expired_job()].object_key
    waiting = await world.job(JobStatus.pending, object_key=key)

    await world.service.delete_expired()

    assert list(world.jobs.jobs) == [waiting]
    assert list(world.store.objects) == [key]


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", ["forget", "needed_objects", "delete"])
async def test_what_a_process_leaves_that_dies_while_it_deletes_an_expired_job_is_swept_up(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(job__keep_audio=True)
    await world.expired_job()

    async def die(*_: object, **__: object) -> None:
        raise KilledError

    part = {"forget": world.events, "needed_objects": world.jobs, "delete": world.store}[step]
    with monkeypatch.context() as patch:
        patch.setattr(part, step, die)
        with pytest.raises(KilledError):
            await world.service.delete_expired()
    assert len(world.store.objects) == 1
    assert world.jobs.jobs == {}  # never a job without its recording

    await world.service.delete_expired()
    await world.service.sweep()
    assert world.store.objects == {}


async def test_what_a_store_that_is_away_keeps_of_an_expired_job_is_swept_up_later() -> None:
    world = World()
    await world.expired_job()
    world.store.is_down = world.events.server.is_down = True

    await world.service.delete_expired()
    with pytest.raises(StoreUnavailableError):
        await world.service.sweep()
    world.store.is_down = False
    await world.service.sweep()

    assert (world.jobs.jobs, world.store.objects) == ({}, {})


async def test_nothing_is_removed_while_nobody_can_say_who_needs_it() -> None:
    world = World()
    world.recording(age=30 * DAY)
    world.jobs.is_down = True

    for tidy_up in (world.service.delete_expired, world.service.sweep):
        with pytest.raises(DatabaseUnavailableError):
            await tidy_up()
    await world.service.drop(*world.store.objects)

    assert len(world.store.objects) == 1


async def test_one_process_at_a_time_tidies_up() -> None:
    world = World()
    await world.expired_job()
    world.recording(age=3 * DAY)

    async with world.jobs.exclusively(EXPIRY), world.jobs.exclusively(SWEEP):
        await world.service.delete_expired()
        await world.service.sweep()
        assert (len(world.jobs.jobs), len(world.store.objects)) == (1, 2)
    await world.service.delete_expired()
    await world.service.sweep()
    assert (world.jobs.jobs, world.store.objects) == ({}, {})
