"""Following a job: the row first, then every later event once and in order, then the row again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import AttemptEnd, Completed, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import EventsUnavailableError, JobNotFoundError
from audio_text.ports import Claim, Released
from audio_text.services.backlog import BacklogService
from audio_text.services.live import LiveService, LiveUpdate
from factories import make_chunk, make_job, make_segment
from fakes.events import FakeEventStream
from fakes.repository import FakeJobRepository

OUTCOME = Completed(
    result_text="all of it",
    duration=10.0,
    duration_after_vad=10.0,
    processing_time_seconds=1.0,
    language="en",
    language_probability=1.0,
)


class World:
    """One claimed job, with the two places its worker writes to."""

    def __init__(self) -> None:
        self.jobs = FakeJobRepository()
        self.events = FakeEventStream()
        self.live = LiveService(jobs=self.jobs, events=self.events)
        self.claim = Claim("", 0)

    async def start(self) -> str:
        job = make_job()
        await self.jobs.add(job)
        claimed = await self.jobs.claim(job.tier, owner="test", lease_seconds=60)
        assert claimed is not None
        self.claim = Claim(claimed.id, claimed.claims)
        return job.id

    async def progress(self, *segments: Segment) -> str:
        chunk = make_chunk(*segments)
        await self.jobs.record(self.claim, chunk)
        return await self.publish(JobStatus.processing, progress=chunk.progress, segments=chunk.segments)

    async def complete(self, *, published: bool = True) -> None:
        await self.jobs.complete(self.claim, OUTCOME)
        if published:
            await self.publish(JobStatus.completed, progress=100.0)

    async def publish(self, status: JobStatus, **fields: Any) -> str:
        return await self.events.publish(JobUpdate(job_id=self.claim.job_id, status=status, **fields))

    @asynccontextmanager
    async def following(self, **options: Any) -> AsyncGenerator["Follower", None]:
        async with asyncio.timeout(10), aclosing(self.live.follow(self.claim.job_id, **options)) as updates:
            yield Follower(updates)


class Follower:
    """Reads what one client is told."""

    def __init__(self, updates: AsyncGenerator[LiveUpdate | None, None]) -> None:
        self._updates = updates

    async def next(self) -> LiveUpdate | None:
        return await anext(self._updates)

    async def rest(self) -> list[LiveUpdate]:
        return [update async for update in self._updates if update is not None]


def numbers(updates: list[LiveUpdate]) -> list[int]:
    return [segment.id for update in updates for segment in update.update.segments]


async def test_the_state_at_connect_is_told_at_once() -> None:
    world = World()
    await world.start()
    await world.progress(make_segment(0))

    async with world.following() as follower:
        first = await follower.next()

    assert first is not None
    assert (first.update.status, first.update.progress) == (JobStatus.processing, 20.0)
    assert first.update.segments == (make_segment(0),)
    assert first.job is not None


async def test_every_later_event_comes_once_and_in_order_up_to_the_terminal_one() -> None:
    world = World()
    await world.start()

    async with world.following() as follower:
        await follower.next()
        for number in range(3):
            await world.progress(make_segment(number))
        await world.complete()
        updates = await follower.rest()

    assert [update.update.progress for update in updates] == [20.0, 40.0, 60.0, 100.0]
    assert numbers(updates) == [0, 1, 2]
    last = updates[-1]
    assert last.job is not None
    assert (last.job.status, last.job.result_text) == (JobStatus.completed, "all of it")


async def test_a_job_that_is_over_is_told_with_its_result_and_all_its_segments() -> None:
    world = World()
    await world.start()
    await world.progress(make_segment(0), make_segment(1))
    await world.complete()

    async with world.following() as follower:
        (only,) = await follower.rest()

    assert only.job is not None
    assert only.job.result_text == "all of it"
    assert numbers([only]) == [0, 1]


async def test_a_client_that_comes_back_with_its_cursor_gets_only_what_it_missed() -> None:
    world = World()
    await world.start()
    await world.progress(make_segment(0))
    cursor = await world.progress(make_segment(1))
    await world.progress(make_segment(2))

    async with world.following(after=cursor) as follower:
        snapshot = await follower.next()
        missed = await follower.next()
        await world.complete()
        updates = await follower.rest()

    assert snapshot is not None
    assert snapshot.event_id == cursor
    assert missed is not None
    assert numbers([snapshot, missed, *updates]) == [2]


async def test_a_client_that_comes_back_after_the_end_still_gets_every_segment_it_missed() -> None:
    world = World()
    await world.start()
    cursor = await world.progress(make_segment(0))
    await world.progress(make_segment(1))
    await world.complete()

    async with world.following(after=cursor) as follower:
        updates = await follower.rest()

    assert numbers(updates) == [1]
    assert [update.update.status.is_terminal for update in updates] == [False, True]


async def test_a_client_that_had_seen_the_end_is_told_it_again_and_let_go() -> None:
    world = World()
    await world.start()
    await world.complete()
    (log,) = world.events.server.logs.values()

    async with world.following(after=log[-1].event_id) as follower:
        (only,) = await follower.rest()

    assert only.update.status is JobStatus.completed


async def test_when_the_log_is_gone_the_row_and_the_stored_segments_speak() -> None:
    world = World()
    await world.start()
    cursor = await world.progress(make_segment(0))
    await world.progress(make_segment(1))
    world.events.server.logs.clear()

    async with world.following(after=cursor) as follower:
        first = await follower.next()

    assert first is not None
    assert numbers([first]) == [0, 1]


async def test_events_lost_on_the_way_are_made_good_from_the_row_without_repeating_a_segment() -> None:
    world = World()
    await world.start()

    async with world.following(idle_seconds=0.05) as follower:
        await follower.next()
        await world.progress(make_segment(0))
        seen = await follower.next()
        await world.jobs.record(world.claim, make_chunk(make_segment(1)))
        world.events.server.lose()
        await world.complete(published=False)
        rest = await follower.rest()

    assert seen is not None
    assert numbers([seen, *rest]) == [0, 1]
    assert rest[-1].update.status is JobStatus.completed


async def test_a_lost_terminal_event_leaves_nobody_waiting() -> None:
    world = World()
    await world.start()

    async with world.following(idle_seconds=0.05) as follower:
        await follower.next()
        await world.jobs.record(world.claim, make_chunk(make_segment(0)))
        await world.complete(published=False)
        updates = await follower.rest()

    assert updates[-1].update.status is JobStatus.completed
    assert numbers(updates) == [0]


async def test_segments_whose_event_was_never_published_come_before_the_next_ones() -> None:
    world = World()
    await world.start()

    async with world.following() as follower:
        await follower.next()
        await world.jobs.record(world.claim, make_chunk(make_segment(0)))
        await world.progress(make_segment(1))
        await world.complete()
        updates = await follower.rest()

    assert numbers(updates) == [0, 1]


async def test_a_log_that_ends_without_its_terminal_event_is_closed_by_the_row() -> None:
    world = World()
    await world.start()
    await world.progress(make_segment(0))
    await world.complete(published=False)

    async with world.following(after="0-0") as follower:
        updates = await follower.rest()

    assert numbers(updates) == [0]
    assert updates[-1].update.status is JobStatus.completed


async def test_while_nothing_happens_the_follower_learns_that_nothing_happens() -> None:
    world = World()
    await world.start()

    async with world.following(idle_seconds=0.02) as follower:
        await follower.next()
        assert await follower.next() is None


async def test_progress_never_goes_back_for_a_follower() -> None:
    world = World()
    await world.start()
    first = await world.progress(make_segment(0))
    await world.progress(make_segment(1))
    await world.progress(make_segment(2))

    async with world.following(after=first) as follower:
        seen = [await follower.next() for _ in range(3)]

    progress = [update.update.progress for update in seen if update is not None]
    assert progress == sorted(progress)


async def test_a_job_that_does_not_exist_is_said_so() -> None:
    world = World()
    world.claim = Claim("nothing", 0)

    async with world.following() as follower:
        with pytest.raises(JobNotFoundError):
            await follower.next()


async def test_live_events_being_away_is_said_so() -> None:
    world = World()
    await world.start()
    world.events.server.is_down = True

    async with world.following() as follower:
        with pytest.raises(EventsUnavailableError):
            await follower.next()


class Queue:
    """A world in which a job waits behind another one."""

    def __init__(self) -> None:
        self.world = World()
        backlog = BacklogService(self.world.jobs, refresh_seconds=0.02)
        self.world.live = LiveService(jobs=self.world.jobs, events=self.world.events, backlog=backlog)

    async def start(self) -> tuple[str, str]:
        first, second = make_job(), make_job()
        for job in (first, second):
            await self.world.jobs.add(job)
        self.world.claim = Claim(second.id, 1)
        return first.id, second.id


def positions(updates: list[LiveUpdate]) -> list[int | None]:
    return [update.place and update.place.position for update in updates]


async def test_a_job_that_waits_is_told_its_place_and_each_change_of_it() -> None:
    queue = Queue()
    first, _ = await queue.start()

    async with queue.world.following() as follower:
        told = [await follower.next()]
        await queue.world.jobs.cancel(first)
        told.append(await follower.next())
        await queue.world.jobs.cancel(queue.world.claim.job_id)
        await queue.world.publish(JobStatus.cancelled, progress=0.0)
        told += await follower.rest()

    assert [update.update.status for update in told if update] == ["pending", "pending", "cancelled"]
    assert positions([update for update in told if update]) == [1, 0, None]


async def test_a_place_that_does_not_change_is_not_told_again() -> None:
    queue = Queue()
    await queue.start()

    async with queue.world.following(idle_seconds=0.1) as follower:
        assert await follower.next() is not None
        assert await follower.next() is None


async def test_a_job_that_is_given_back_is_told_its_place_again() -> None:
    queue = Queue()
    await queue.start()
    job = await queue.world.jobs.get(queue.world.claim.job_id)

    async with queue.world.following() as follower:
        await follower.next()
        queue.world.jobs.take(job, owner="w", lease_seconds=60)
        await queue.world.publish(JobStatus.processing, progress=0.0, claims=1)
        assert positions([update] if (update := await follower.next()) else []) == [None]
        await queue.world.jobs.release(Claim(job.id, 1), delay_seconds=0.0, reason=Released(end=AttemptEnd.handed_back))
        await queue.world.publish(JobStatus.pending, progress=0.0, claims=1)
        given_back = await follower.next()

    assert given_back is not None
    assert (given_back.update.status, positions([given_back])) == (JobStatus.pending, [1])


async def test_a_database_that_is_away_for_a_moment_costs_a_waiting_job_only_its_place() -> None:
    queue = Queue()
    first, _ = await queue.start()

    async with queue.world.following() as follower:
        await follower.next()
        async with asyncio.TaskGroup() as group:
            moved = group.create_task(follower.next())
            queue.world.jobs.is_down = True
            await asyncio.sleep(0.1)
            queue.world.jobs.is_down = False
            await queue.world.jobs.cancel(first)

    update = moved.result()
    assert update is not None
    assert positions([update]) == [0]
