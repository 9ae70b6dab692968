"""Places in the queue: where a job stands, how long that may take, and how often anybody looks."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from audio_text.domain.backlog import Backlog, QueuePlace, Waiting
from audio_text.domain.job import Job, JobStatus, Priority
from audio_text.services import backlog as module
from audio_text.services.backlog import BacklogService
from factories import make_job
from fakes.repository import FakeJobRepository

TIER = "audio_small"
START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A table of jobs that counts how often it is asked for backlogs."""

    def __init__(self, *, refresh_seconds: float = 3_600.0) -> None:
        self.jobs = FakeJobRepository()
        self.asked: list[list[str]] = []
        self.service = BacklogService(self, refresh_seconds=refresh_seconds)  # type: ignore[arg-type]

    async def backlogs(self, tiers: Collection[str], *, limit: int) -> dict[str, Backlog]:
        self.asked.append(list(tiers))
        await asyncio.sleep(0)
        return await self.jobs.backlogs(tiers, limit=limit)

    async def add(self, **fields: object) -> Job:
        number = len(self.jobs.jobs)
        date = START + timedelta(seconds=number)
        job = make_job(**({"duration": 60.0, "creation_date": date, "update_date": date} | fields))
        await self.jobs.add(job)
        return job

    async def add_over(self, **fields: object) -> None:
        over = {"status": JobStatus.completed, "finished_at": START, "processing_time_seconds": 6.0}
        await self.add(**(over | fields))


async def test_a_job_is_told_how_many_are_ahead_of_it_and_how_long_they_may_take() -> None:
    world = World()
    await world.add_over()  # 0.1 seconds per second of audio
    later = datetime.now(UTC) + timedelta(hours=1)
    for position in (0.0, 40.0):
        await world.add(status=JobStatus.processing, lease_expires_at=later, position=position)
    jobs = [await world.add(duration=duration) for duration in (100.0, 200.0, 5.0)]
    places = await world.service.places(jobs)
    assert [places[job.id] for job in jobs] == [
        QueuePlace(position=0, eta_seconds=4.0),
        QueuePlace(position=1, eta_seconds=9.0),
        QueuePlace(position=2, eta_seconds=19.0),
    ]


async def test_nobody_can_tell_how_long_it_takes_while_nobody_is_at_work_or_has_ever_been() -> None:
    world = World(refresh_seconds=0.0)
    job = await world.add()
    assert await world.service.place(job) == QueuePlace(position=0, eta_seconds=None)
    await world.add_over()
    assert await world.service.place(job) == QueuePlace(position=0, eta_seconds=None)


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.pending])
async def test_a_job_that_does_not_wait_has_no_place_and_costs_nothing(status: JobStatus) -> None:
    world = World()
    assert await world.service.place(await world.add(status=status)) is None
    assert not world.asked


async def test_a_tier_is_looked_at_once_however_many_ask_at_the_same_time() -> None:
    world = World()
    jobs = [await world.add(tier=tier) for tier in ("b", "a", "b")]
    await asyncio.gather(*(world.service.places(jobs) for _ in range(50)))
    assert world.asked == [["a", "b"]]
    await world.service.place(await world.add(tier="c"))
    await world.service.places(jobs)
    assert world.asked == [["a", "b"], ["c"]]


async def test_an_old_look_is_not_good_enough() -> None:
    world = World(refresh_seconds=0.0)
    first, second = await world.add(), await world.add()
    assert await world.service.place(second) == QueuePlace(position=1, eta_seconds=None)
    await world.jobs.cancel(first.id)
    assert await world.service.place(second) == QueuePlace(position=0, eta_seconds=None)


async def test_a_job_that_came_after_the_look_stands_behind_its_class() -> None:
    world = World()
    old = await world.add()
    await world.add(priority=Priority.low)
    await world.service.place(old)
    now = datetime.now(UTC)
    newcomers = [await world.add(update_date=now, priority=priority) for priority in (*Priority, *Priority)]
    for _ in range(2):
        places = await world.service.places(newcomers)
        assert [places[job.id].position for job in newcomers] == [2, 1, 0, 5, 3, 1]


async def test_a_job_that_was_taken_before_the_look_or_is_put_off_has_no_place() -> None:
    world = World()
    await world.service.place(await world.add())
    taken = make_job(update_date=START)
    later = datetime.now(UTC) + timedelta(hours=1)
    put_off = make_job(available_at=later)
    assert await world.service.places([taken, put_off]) == {}


async def test_jobs_behind_as_many_as_are_looked_at_have_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 2)
    world = World()
    jobs = [await world.add() for _ in range(3)]
    assert set(await world.service.places(jobs)) == {job.id for job in jobs[:2]}
    assert await world.service.place(make_job()) is None


async def test_while_the_database_is_away_nobody_has_a_place_and_it_is_asked_no_more_often() -> None:
    world = World()
    job = await world.add()
    world.jobs.is_down = True
    with capture_logs() as logs:
        assert await asyncio.gather(*(world.service.place(job) for _ in range(9))) == [None] * 9
    assert [(line["event"], line["log_level"]) for line in logs] == [("backlog_unknown", "warning")]
    assert await world.service.place(make_job()) is None, "not even one that has just come"
    world.jobs.is_down = False
    world.service.refresh_seconds = 0.0
    assert await world.service.place(job) == QueuePlace(position=0, eta_seconds=None)


def test_the_estimate_is_the_audio_ahead_at_the_speed_of_all_who_are_at_work() -> None:
    backlog = Backlog(waiting=(Waiting("a", Priority.low, 9.0),), running=4, running_seconds=100, real_time_factor=0.5)
    assert backlog.eta_seconds(60.0) == 20.0
    assert replace(backlog, running=0).eta_seconds(60.0) is None
    assert replace(backlog, real_time_factor=None).eta_seconds(60.0) is None
