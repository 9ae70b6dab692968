"""Rows are compared with messages, and missing wake-ups sent again."""

import asyncio
from datetime import UTC, datetime, timedelta

from audio_text.ports import Resources
from audio_text.services.reconciliation import MOST_WAKE_UPS, ReconciliationService
from factories import make_job, make_settings
from fakes.events import FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore

LONG_AGO = datetime.now(UTC) - timedelta(minutes=1)


def service(jobs: FakeJobRepository, queue: FakeJobQueue, store: FakeAudioStore) -> ReconciliationService:
    resources = Resources(jobs=jobs, store=store, queue=queue, events=FakeEventStream())
    return ReconciliationService(resources, settings=make_settings().store)


async def reconcile(jobs: FakeJobRepository, queue: FakeJobQueue) -> list[str]:
    before = len(queue.messages)
    await service(jobs, queue, FakeAudioStore()).restore_wake_ups()
    return [message.tier for message in queue.messages[before:]]


async def test_a_job_whose_message_is_gone_gets_another_wake_up() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    await jobs.add(make_job(creation_date=LONG_AGO, tier="audio_small"))

    assert await reconcile(jobs, queue) == ["audio_small"]


async def test_a_job_whose_message_still_waits_is_left_alone() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    job = make_job(creation_date=LONG_AGO, tier="audio_small")
    await jobs.add(job)
    await queue.enqueue("audio_small", job_id=job.id)

    assert await reconcile(jobs, queue) == []


async def test_a_job_that_was_just_submitted_is_left_alone() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    await jobs.add(make_job())

    assert await reconcile(jobs, queue) == []


async def test_a_job_whose_worker_went_silent_gets_a_wake_up() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    await jobs.add(make_job(creation_date=LONG_AGO, tier="audio_large"))
    claimed = await jobs.claim("audio_large", owner="a worker that died", lease_seconds=-30)
    assert claimed is not None

    assert await reconcile(jobs, queue) == ["audio_large"]


async def test_a_lost_queue_is_filled_again_in_bounded_portions() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    for _ in range(MOST_WAKE_UPS + 1):
        await jobs.add(make_job(creation_date=LONG_AGO))

    assert len(await reconcile(jobs, queue)) == MOST_WAKE_UPS
    assert len(await reconcile(jobs, queue)) == 1


async def test_recordings_that_nobody_came_back_for_are_removed() -> None:
    store = FakeAudioStore()
    store.put("uploads/ab/abcdef.wav", b"forgotten")
    store.is_old = True

    await service(FakeJobRepository(), FakeJobQueue(), store).sweep_store()

    assert store.objects == {}


async def test_an_outage_only_postpones_the_work() -> None:
    jobs, queue, store = FakeJobRepository(), FakeJobQueue(), FakeAudioStore()
    jobs.is_down = store.is_down = True

    async with asyncio.TaskGroup() as group:
        running = group.create_task(service(jobs, queue, store).run_forever())
        await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
