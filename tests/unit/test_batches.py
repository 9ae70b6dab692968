"""Accepting batches: how much is looked at, over fakes held to their ports' contracts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import media
from audio_text.domain.access import Caller, KeyLimits
from audio_text.domain.batch import Batch
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.object_keys import new_key
from audio_text.domain.transcript import AudioFacts
from audio_text.errors import BatchRefusedError, ConcurrentJobsError, TierFullError, TransientError
from audio_text.ports import Resources
from audio_text.services import batches
from audio_text.services.batches import LOOKS_AT_ONCE, BatchService, new_batch
from audio_text.services.lifecycle import LifecycleService
from audio_text.services.submission import Submission, SubmissionService
from factories import make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.probe import FakeProbe
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore

CALLER = Caller(key_id="k", limits=KeyLimits(concurrent_jobs=100))


class CountingProbe(FakeProbe):
    """Counts looks, all of them and those at once; while `released` is not set, none ends."""

    def __init__(self) -> None:
        self.count = self.now = self.most = 0
        self.released = asyncio.Event()
        self.released.set()

    async def probe(self, read_range: Callable[[int, int], Awaitable[bytes]], size_bytes: int) -> AudioFacts:
        self.count += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            await self.released.wait()
            return await super().probe(read_range, size_bytes)
        finally:
            self.now -= 1


class World:
    """An API's surroundings."""

    def __init__(self, **overrides: int) -> None:
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.probe = CountingProbe()
        settings = make_settings({key.replace("__", "."): value for key, value in overrides.items()})
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=FakeJobQueue(),
            events=FakeEventStream(),
        )
        self.submission = SubmissionService(resources, probe=self.probe, settings=settings)
        lifecycle = LifecycleService(resources, settings=settings)
        self.service = BatchService(resources, submission=self.submission, lifecycle=lifecycle)

    def urls(self, count: int, data: bytes | None = None) -> list[str]:
        return [self.store.put(new_key("wav"), data or media.wav()) for _ in range(count)]

    async def submit(self, urls: list[str], key: IdempotencyKey | None = None) -> tuple[Batch, bool]:
        submissions = [Submission(filename="a.wav", url=url, caller=CALLER) for url in urls]
        return await self.service.submit(new_batch(caller=CALLER, size=len(urls)), submissions, key=key)


async def test_a_batch_that_a_key_has_no_room_for_is_refused_before_anything_is_looked_at() -> None:
    world = World()
    await world.submit(world.urls(3))
    looks = world.probe.count

    with pytest.raises(ConcurrentJobsError, match="may have 100 jobs"):
        await world.submit(world.urls(98))

    assert world.probe.count == looks


async def test_a_batch_that_is_sent_again_is_found_although_it_takes_all_room() -> None:
    world = World()
    key = IdempotencyKey(text="k", fingerprint="f", seconds=60)
    urls = world.urls(1) * 100

    sent = await asyncio.gather(world.submit(urls, key), world.submit(urls, key))

    assert sorted(is_new for _, is_new in sent) == [False, True]
    assert sent[0][0].id == sent[1][0].id


async def test_a_recording_that_many_jobs_of_a_batch_name_is_looked_at_once() -> None:
    world = World()

    await world.submit(world.urls(2) * 50)

    assert world.probe.count == 2
    assert len(world.jobs.jobs) == 100


async def test_a_bad_recording_that_many_jobs_name_is_looked_at_once_and_refuses_each_of_them() -> None:
    world = World()

    with pytest.raises(BatchRefusedError) as refused:
        await world.submit(world.urls(1, b"no audio at all") * 20)

    assert (world.probe.count, len(refused.value.refusals)) == (1, 20)


async def test_a_batch_that_is_refused_takes_no_place_and_one_that_is_stored_takes_as_many_as_it_has_jobs() -> None:
    world = World(tiers__audio_small__max_pending_jobs=5)
    for _ in range(3):
        with pytest.raises(BatchRefusedError):
            await world.submit([*world.urls(4), *world.urls(1, b"no audio at all")])

    await world.submit(world.urls(3))

    with pytest.raises(TierFullError):
        await world.submit(world.urls(3))
    await world.submit(world.urls(2))


async def test_all_batches_together_leave_the_probe_room_for_single_jobs() -> None:
    world = World()
    world.probe.released.clear()
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(world.submit(world.urls(10)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.probe.now == LOOKS_AT_ONCE
        world.probe.released.set()
    assert (world.probe.most, world.probe.count) == (LOOKS_AT_ONCE, 100)


async def test_a_batch_whose_turn_does_not_come_is_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LOOK_WAIT_SECONDS", 0.0)
    world = World()
    world.probe.released.clear()
    async with asyncio.TaskGroup() as group:
        held = group.create_task(world.submit(world.urls(1)))
        also = group.create_task(world.submit(world.urls(1)))
        for _ in range(20):
            await asyncio.sleep(0)
        with pytest.raises(TransientError, match="try again"):
            await world.submit(world.urls(1))
        world.probe.released.set()
    assert (await held)[1]
    assert (await also)[1]
