"""Rows are compared with messages, and missing wake-ups sent again."""

import asyncio
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Never

import pytest
import structlog

from audio_text.domain.job import JobStatus
from audio_text.domain.object_keys import new_key
from audio_text.errors import EventsUnavailableError
from audio_text.ports import Resources
from audio_text.services.reconciliation import LOOK_SECONDS, MOST_ENDS, MOST_WAKE_UPS, PURPOSE, ReconciliationService
from factories import make_job, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore
from services.waiting import until

LONG_AGO = datetime.now(UTC) - timedelta(minutes=1)


def service(
    jobs: FakeJobRepository, queue: FakeJobQueue, store: FakeAudioStore, events: FakeEventStream | None = None
) -> ReconciliationService:
    resources = Resources(
        jobs=jobs, batches=FakeBatchRepository(jobs), store=store, queue=queue, events=events or FakeEventStream()
    )
    return ReconciliationService(resources, settings=make_settings({"tiers.audio_small.retry.retries": 1}))


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


async def test_a_lease_that_runs_out_gets_its_wake_up_then_and_not_at_the_next_look() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    await jobs.add(make_job(tier="audio_large"))
    assert await jobs.claim("audio_large", owner="a worker that died", lease_seconds=0.2)
    upkeep = asyncio.get_running_loop().create_task(service(jobs, queue, FakeAudioStore()).run_forever())
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            while not queue.messages:
                await asyncio.sleep(0.01)
    finally:
        upkeep.cancel()

    assert [message.tier for message in queue.messages] == ["audio_large"]


async def test_a_worker_has_the_jobs_of_the_dead_one_before_it_claimed_at_once() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    await jobs.add(make_job(tier="audio_large"))
    await jobs.add(make_job(tier="audio_large"))
    for owner in ("host:7/large", "host:7/small"):
        assert await jobs.claim("audio_large", owner=owner, lease_seconds=60)

    await service(jobs, queue, FakeAudioStore()).relieve("host:7/large")

    assert [message.tier for message in queue.messages] == ["audio_large"]
    again = await jobs.claim("audio_large", owner="host:7/large", lease_seconds=60)
    assert again is not None
    assert (again.attempt, again.id) == (2, queue.messages[0].job_id)
    assert await jobs.claim("audio_large", owner="host:7/large", lease_seconds=60) is None


async def test_a_worker_starts_without_a_database_and_leaves_old_jobs_to_their_leases() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    jobs.is_down = True

    await service(jobs, queue, FakeAudioStore()).relieve("host:7/large")

    assert queue.messages == []


async def test_a_lost_queue_is_filled_again_in_bounded_portions() -> None:
    jobs, queue = FakeJobRepository(), FakeJobQueue()
    for _ in range(MOST_WAKE_UPS + 1):
        await jobs.add(make_job(creation_date=LONG_AGO))

    assert len(await reconcile(jobs, queue)) == MOST_WAKE_UPS
    assert len(await reconcile(jobs, queue)) == 1


async def tell_ends(jobs: FakeJobRepository, events: FakeEventStream) -> list[tuple[str, JobStatus]]:
    before = len(events.updates)
    await service(jobs, FakeJobQueue(), FakeAudioStore(), events).tell_ends()
    return [(update.job_id, update.status) for update in events.updates[before:]]


async def lose_worker(jobs: FakeJobRepository, *, attempt: int) -> str:
    job = make_job(attempt=attempt - 1)
    await jobs.add(job)
    assert await jobs.claim("audio_small", owner="a worker that died", lease_seconds=-1)
    return job.id


async def end_untold(jobs: FakeJobRepository, status: JobStatus = JobStatus.cancelled) -> str:
    """A job that ended some time ago in a process that could tell nobody."""
    job = make_job()
    await jobs.add(job)
    await jobs.cancel(job.id)
    jobs.overwrite(job.id, status=status, finished_at=LONG_AGO)
    return job.id


async def test_a_job_whose_last_worker_was_lost_ends_as_a_dead_letter_and_followers_are_told() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    job_id = await lose_worker(jobs, attempt=2)

    assert await tell_ends(jobs, events) == [(job_id, JobStatus.failed)]

    job = await jobs.get(job_id)
    assert (job.status, job.error_code, job.is_dead_letter) == (JobStatus.failed, "worker_lost", True)
    assert await jobs.unannounced(seconds=-1, limit=1) == []


async def test_a_job_whose_deadline_passed_fails_and_followers_are_told() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    job = make_job(deadline=LONG_AGO)
    await jobs.add(job)
    await jobs.add(make_job(deadline=datetime.now(UTC) + timedelta(hours=1)))

    assert await tell_ends(jobs, events) == [(job.id, JobStatus.failed)]

    assert (await jobs.get(job.id)).error_code == "deadline_passed"
    assert await jobs.unannounced(seconds=-1, limit=1) == []


async def test_a_job_with_attempts_left_is_not_ended() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    job_id = await lose_worker(jobs, attempt=1)

    assert await tell_ends(jobs, events) == []
    assert (await jobs.get(job_id)).status is JobStatus.processing


async def test_an_end_that_nobody_was_told_is_told_once() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    ended = {(await end_untold(jobs, status), status) for status in JobStatus if status.is_terminal}

    assert set(await tell_ends(jobs, events)) == ended
    assert await tell_ends(jobs, events) == []


async def test_an_end_is_told_again_until_somebody_could_hear_it() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    job_id = await end_untold(jobs)
    events.server.is_down = True

    with pytest.raises(EventsUnavailableError):
        await tell_ends(jobs, events)
    events.server.is_down = False
    assert await tell_ends(jobs, events) == [(job_id, JobStatus.cancelled)]


async def test_ends_are_told_in_bounded_portions() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    for _ in range(MOST_ENDS + 1):
        await end_untold(jobs)

    assert len(await tell_ends(jobs, events)) == MOST_ENDS
    assert len(await tell_ends(jobs, events)) == 1


async def test_one_process_at_a_time_ends_jobs_for_others() -> None:
    jobs, events = FakeJobRepository(), FakeEventStream()
    await lose_worker(jobs, attempt=2)
    await end_untold(jobs)

    async with jobs.exclusively(PURPOSE):
        assert await tell_ends(jobs, events) == []
    assert len(await tell_ends(jobs, events)) == 2


async def test_nothing_is_locked_while_there_is_nothing_to_end() -> None:
    class LockedRepository(FakeJobRepository):
        def exclusively(self, purpose: str) -> Never:
            pytest.fail(f"{purpose} is locked")

    await tell_ends(LockedRepository(), FakeEventStream())


async def test_an_outage_is_reported_once_by_each_part_and_so_is_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audio_text.services.reconciliation.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("audio_text.services.reconciliation.SWEEP_SECONDS", 0.01)
    monkeypatch.setattr("audio_text.services.reconciliation.TIDY_SECONDS", 0.01)
    jobs = FakeJobRepository()
    jobs.is_down = True
    parts = ["batches", "empty_batches", "ends", "expiry", "sweep", "wake_ups"]

    with structlog.testing.capture_logs() as lines:
        upkeep = asyncio.get_running_loop().create_task(service(jobs, FakeJobQueue(), FakeAudioStore()).run_forever())
        try:
            await until(lambda: told(lines, "reconciliation_postponed") == parts)
            await asyncio.sleep(0.1)
            assert told(lines, "reconciliation_postponed") == parts
            jobs.is_down = False
            await until(lambda: told(lines, "reconciliation_resumed") == parts)
        finally:
            upkeep.cancel()
    assert told(lines, "reconciliation_postponed") == parts


def told(lines: Sequence[MutableMapping[str, Any]], event: str) -> list[str]:
    return sorted(line["part"] for line in lines if line["event"] == event)


async def test_a_worker_that_starts_tidies_up() -> None:
    jobs, store = FakeJobRepository(), FakeAudioStore()
    job = make_job(status=JobStatus.completed, finished_at=LONG_AGO, expires_at=LONG_AGO)
    await jobs.add(job)
    store.put(job.object_key, b"audio")
    forgotten = new_key("wav")
    store.put(forgotten, b"forgotten")
    store.written_at[forgotten] = LONG_AGO - timedelta(days=30)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(service(jobs, FakeJobQueue(), store).run_forever())
        await until(lambda: not jobs.jobs and not store.objects)
        running.cancel()


async def test_an_outage_only_postpones_the_work() -> None:
    jobs, queue, store = FakeJobRepository(), FakeJobQueue(), FakeAudioStore()
    jobs.is_down = store.is_down = True

    async with asyncio.TaskGroup() as group:
        running = group.create_task(service(jobs, queue, store).run_forever())
        await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
