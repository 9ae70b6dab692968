"""The use case that brings a claimed job to an end, over fakes held to their ports' contracts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import AttemptEnd, Completed, Job, JobStatus
from audio_text.domain.listing import JobQuery
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import ChannelProgress, NextWindow, TranscriptChunk
from audio_text.domain.usage import Quota
from audio_text.errors import (
    DatabaseUnavailableError,
    EngineBrokenError,
    EngineMemoryError,
    InvalidAudioError,
    ModelUnavailableError,
)
from audio_text.ports import Claim, Released, Resources, ResumePoint
from audio_text.services.lifecycle import LifecycleService
from audio_text.services.transcription import TranscriptionService
from factories import make_chunk, make_job, make_segment, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.remote import no_ingest
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore
from fakes.watchdog import FakeWatchdog

KEY = "uploads/ab/abcdef.wav"
FIRST, SECOND = make_segment(0), make_segment(1)


class ScriptedEngine:
    """Plays a list of chunks, errors and pauses, and remembers what it was asked for."""

    def __init__(self, *steps: TranscriptChunk | Exception | asyncio.Event) -> None:
        self.steps = steps
        self.resumes: list[ResumePoint | None] = []
        self.is_closed = False

    async def transcribe(
        self, audio: Path, *, model: str, options: TranscriptionOptions, resume: ResumePoint | None = None
    ) -> AsyncGenerator[TranscriptChunk, None]:
        self.resumes.append(resume)
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.is_closed = True

    async def preload(self, model: str) -> None:
        """Nothing to load."""


class World:
    """A worker's surroundings with one uploaded recording."""

    def __init__(self, *steps: TranscriptChunk | Exception | asyncio.Event, **overrides: Any) -> None:
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.queue = FakeJobQueue()
        self.events = FakeEventStream()
        self.engine = ScriptedEngine(*steps)
        self.watchdog = FakeWatchdog()
        self.settings = make_settings({key.replace("__", "."): value for key, value in overrides.items()})
        self.store.put(KEY, b"audio")

    @cached_property
    def service(self) -> TranscriptionService:
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=self.queue,
            events=self.events,
        )
        return TranscriptionService(
            resources,
            engine=self.engine,
            ingest=no_ingest(resources, self.settings),
            watchdog=self.watchdog,
            settings=self.settings,
            owner="test",
            chance=lambda: 0.0,
        )

    async def submit(self, **fields: Any) -> str:
        job = make_job(object_key=KEY, **fields)
        await self.jobs.add(job)
        return job.id

    async def run(self) -> Job:
        """One wake-up; returns the job as it stands then."""
        assert await self.service.run_next("audio_small")
        (job,) = await self.jobs.find(JobQuery(), limit=1)
        return job

    @property
    def told(self) -> list[JobStatus]:
        return [update.status for update in self.events.updates]


def hanging() -> asyncio.Event:
    return asyncio.Event()


async def test_a_job_is_brought_from_its_claim_to_its_text() -> None:
    world = World(make_chunk(FIRST), make_chunk(SECOND), make_chunk(position=10.0))
    await world.submit()

    job = await world.run()

    assert job.status is JobStatus.completed
    assert job.result_text == "Sentence 0. Sentence 1."
    assert (job.progress, job.duration, job.language) == (100.0, 10.0, "en")
    assert job.processing_time_seconds is not None
    assert await world.jobs.segments(job.id) == [FIRST, SECOND]


async def test_a_recording_with_another_sha256_than_was_declared_fails_at_once() -> None:
    world = World(make_chunk(FIRST))
    world.store.declared[KEY] = "0" * 64
    await world.submit()

    job = await world.run()

    assert (job.status, job.error_code, job.attempt) == (JobStatus.failed, "checksum_mismatch", 1)
    assert world.engine.resumes == []


async def test_followers_are_told_each_step_with_the_segments_it_brought() -> None:
    world = World(make_chunk(FIRST), make_chunk(SECOND), make_chunk(position=10.0))
    await world.submit()

    await world.run()

    assert [(update.status, update.progress, update.segments) for update in world.events.updates] == [
        (JobStatus.processing, 0.0, ()),
        (JobStatus.processing, 20.0, (FIRST,)),
        (JobStatus.processing, 40.0, (SECOND,)),
        (JobStatus.processing, 100.0, ()),
        (JobStatus.completed, 100.0, ()),
    ]


async def test_nothing_is_published_before_the_row_says_it() -> None:
    world = World(make_chunk(FIRST), make_chunk(position=10.0))
    job_id = await world.submit()
    rows: list[tuple[JobStatus, float]] = []
    publish = world.events.publish

    async def watched(update: JobUpdate) -> str:
        row = await world.jobs.get(job_id)
        rows.append((row.status, row.progress))
        return await publish(update)

    world.events.publish = watched  # type: ignore[method-assign]
    await world.run()

    assert rows == [(update.status, update.progress) for update in world.events.updates]


async def test_the_same_recording_is_answered_from_an_earlier_job_and_its_followers_miss_nothing() -> None:
    world = World(make_chunk(FIRST), make_chunk(SECOND, position=10.0))
    await world.submit()
    earlier = await world.run()
    world.store.put(KEY, b"audio")
    await world.submit(reuse=True)
    before = len(world.events.updates)

    job = await world.run()

    assert len(world.engine.resumes) == 1
    assert (job.status, job.reused_from, job.result_text) == (JobStatus.completed, earlier.id, earlier.result_text)
    assert await world.jobs.segments(job.id) == [FIRST, SECOND]
    assert [(update.status, update.progress, update.segments) for update in world.events.updates[before:]] == [
        (JobStatus.processing, 0.0, ()),
        (JobStatus.processing, 100.0, (FIRST, SECOND)),
        (JobStatus.completed, 100.0, ()),
    ]
    assert await world.jobs.unannounced(seconds=-1, limit=1) == []
    assert world.store.objects == {}


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"audio", {}),
        (b"other audio", {"reuse": True}),
        (b"audio", {"reuse": True, "options": TranscriptionOptions(beam_size=1)}),
    ],
    ids=["not asked for", "another recording", "other options"],
)
async def test_anything_else_is_decoded(data: bytes, fields: dict[str, Any]) -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()
    await world.run()
    world.store.put(KEY, data)
    await world.submit(**fields)

    job = await world.run()

    assert (job.status, job.reused_from, len(world.engine.resumes)) == (JobStatus.completed, None, 2)


async def test_a_clip_is_decoded_though_an_earlier_job_had_the_same() -> None:
    world = World(make_chunk(FIRST, position=5.0, duration=5.0))
    for _ in range(2):
        world.store.put(KEY, b"audio")
        await world.submit(reuse=True, options=TranscriptionOptions(clip_end_seconds=5.0))
        assert (await world.run()).status is JobStatus.completed

    assert len(world.engine.resumes) == 2


async def test_a_wake_up_without_a_waiting_job_does_nothing() -> None:
    world = World()

    assert not await world.service.run_next("audio_small")
    assert world.told == []


async def test_silence_is_a_success_with_an_empty_text() -> None:
    world = World(make_chunk(position=10.0))
    await world.submit()

    job = await world.run()

    assert (job.status, job.result_text) == (JobStatus.completed, "")


async def test_the_recording_is_deleted_once_the_result_is_stored() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()

    await world.run()

    assert world.store.objects == {}


async def test_the_recording_is_kept_when_settings_say_so() -> None:
    world = World(make_chunk(FIRST, position=10.0), job__keep_audio=True)
    await world.submit()

    await world.run()

    assert KEY in world.store.objects


async def test_the_recording_is_kept_while_another_job_waits_for_it() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()
    await world.submit(tier="audio_large")

    await world.run()

    assert KEY in world.store.objects


async def test_a_job_is_completed_even_when_its_recording_cannot_be_deleted() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()

    async def delete(key: str) -> None:
        world.store.is_down = True
        await world.store.check()

    world.store.delete = delete  # type: ignore[method-assign]

    assert (await world.run()).status is JobStatus.completed


async def test_the_recording_is_deleted_however_long_the_store_takes_for_it() -> None:
    world = with_short_lease(World(make_chunk(FIRST, position=10.0)))
    await world.submit()
    delete = world.store.delete

    async def delete_slowly(key: str) -> None:
        await asyncio.sleep(2 * world.settings.worker.lease_seconds)
        await delete(key)

    world.store.delete = delete_slowly  # type: ignore[method-assign]
    await world.run()

    assert world.store.objects == {}


async def test_a_job_is_completed_even_when_nobody_can_be_told() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()
    world.events.server.is_down = True

    job = await world.run()

    assert job.status is JobStatus.completed
    assert await world.jobs.unannounced(seconds=-1, limit=1) == [job]


@pytest.mark.parametrize("steps", [(make_chunk(FIRST, position=10.0),), (InvalidAudioError(),)], ids=["text", "error"])
async def test_an_end_that_was_published_is_remembered(steps: tuple[TranscriptChunk | Exception, ...]) -> None:
    world = World(*steps)
    await world.submit()

    await world.run()

    assert await world.jobs.unannounced(seconds=-1, limit=1) == []


async def test_a_job_is_completed_even_when_it_cannot_be_remembered_that_its_end_was_published() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()

    async def unreachable(job_ids: Sequence[str]) -> None:
        raise DatabaseUnavailableError

    world.jobs.mark_announced = unreachable  # type: ignore[method-assign]

    assert (await world.run()).status is JobStatus.completed
    assert world.told[-1] is JobStatus.completed
    assert world.store.objects == {}


async def test_a_transient_failure_is_retried_after_the_tiers_delay() -> None:
    world = World(EngineMemoryError(), tiers__audio_small__retry__first_delay_seconds=30)
    await world.submit()

    job = await world.run()

    assert (job.status, job.attempt) == (JobStatus.pending, 1)
    assert job.available_at is not None
    assert job.available_at > job.creation_date
    assert [(message.tier, message.delay_seconds) for message in world.queue.messages] == [("audio_small", 30)]
    assert world.told == [JobStatus.processing, JobStatus.pending]


async def test_a_store_that_is_away_is_a_transient_failure() -> None:
    world = World(make_chunk(FIRST))
    await world.submit()
    world.store.is_down = True

    assert (await world.run()).status is JobStatus.pending


async def test_a_job_fails_with_its_true_reason_after_the_last_retry() -> None:
    world = World(EngineMemoryError("Not enough memory."), tiers__audio_small__retry__retries=1)
    await world.submit()

    await world.run()
    job = await world.run()

    assert (job.status, job.error_code, job.error_message) == (JobStatus.failed, "out_of_memory", "Not enough memory.")
    assert (job.attempt, job.is_dead_letter) == (2, True)


@pytest.mark.parametrize("error", [InvalidAudioError("Damaged."), ModelUnavailableError("Download it.")])
async def test_what_no_retry_can_mend_fails_the_job_at_once(error: InvalidAudioError) -> None:
    world = World(make_chunk(FIRST), error)
    await world.submit()

    job = await world.run()

    assert (job.status, job.error_code, job.error_message) == (JobStatus.failed, error.code, error.detail)
    assert not job.is_dead_letter
    assert await world.jobs.segments(job.id) == [FIRST]
    assert world.told[-1] is JobStatus.failed
    assert world.queue.messages == []


async def test_a_recording_that_turns_out_longer_than_its_key_may_have_is_heard_no_further() -> None:
    world = World(make_chunk(FIRST, duration=2.0), make_chunk(SECOND, duration=500.0), make_chunk(position=500.0))
    quota = Quota(key_id="k", audio_seconds_per_day=100)
    await world.jobs.add(make_job(object_key=KEY, key_id="k", duration=2.0), quota=quota)

    job = await world.run()

    assert (job.status, job.error_code, job.attempt) == (JobStatus.failed, "audio_quota_exceeded", 1)
    assert await world.jobs.segments(job.id) == [FIRST]
    assert world.engine.is_closed
    assert (await world.jobs.usage("k")).audio_seconds_today == 2


async def test_a_recording_that_is_gone_fails_the_job() -> None:
    world = World(make_chunk(FIRST))
    await world.submit()
    world.store.objects.clear()

    job = await world.run()

    assert (job.status, job.error_code) == (JobStatus.failed, "upload_missing")


async def test_a_fault_of_ours_is_retried_and_then_fails_the_job_and_never_the_worker() -> None:
    world = World(KeyError("bug"), tiers__audio_small__retry__retries=1)
    await world.submit()

    assert (await world.run()).status is JobStatus.pending
    job = await world.run()

    assert (job.status, job.error_code) == (JobStatus.failed, "internal_error")
    assert "bug" in str(job.error_message)


async def test_a_job_that_took_every_worker_down_is_not_tried_for_ever() -> None:
    world = World(make_chunk(FIRST, position=10.0), tiers__audio_small__retry__retries=2)
    await world.submit(attempt=3)

    job = await world.run()

    assert (job.status, job.error_code, job.is_dead_letter) == (JobStatus.failed, "worker_lost", True)
    assert world.engine.resumes == []


@pytest.mark.parametrize("is_handed_back", [False, True], ids=["died", "stopped"])
async def test_the_next_attempt_continues_behind_the_last_stored_segment(*, is_handed_back: bool) -> None:
    world = World(make_chunk(SECOND, position=10.0))
    job_id = await world.submit()
    claimed = await world.jobs.claim("audio_small", owner="a worker that is gone", lease_seconds=-1)
    assert claimed is not None
    claim = Claim(job_id, claimed.claims)
    await world.jobs.record(claim, make_chunk(FIRST, duration_after_vad=2.0))
    if is_handed_back:
        await world.jobs.release(claim, delay_seconds=0.0, reason=Released(end=AttemptEnd.handed_back))

    job = await world.run()

    assert world.engine.resumes == [
        ResumePoint(
            position=FIRST.end,
            next_segment_id=1,
            duration_after_vad=2.0,
            language="en",
            language_probability=0.99,
            previous_tokens=FIRST.tokens,
            keeps_prompt=True,
        )
    ]
    assert job.result_text == "Sentence 0. Sentence 1."


async def test_the_next_attempt_continues_in_each_channel_where_it_was() -> None:
    options = TranscriptionOptions(channels=Channels.separate, channel_names=("Kim",))
    spoken = [make_segment(0, channel=2), make_segment(1, channel=1), make_segment(2, channel=2)]
    ahead = ChannelProgress(channel=1, position=8.0, block_start=7.5, duration_after_vad=2.0)
    behind = ChannelProgress(
        channel=2, position=6.0, segments_ahead=1, duration_after_vad=4.0, language="en", language_probability=0.9
    )
    last = make_chunk(make_segment(3, channel=1), position=10.0)
    world = World(last)
    job_id = await world.submit(options=options)
    claimed = await world.jobs.claim("audio_small", owner="a worker that is gone", lease_seconds=-1)
    assert claimed is not None
    chunk = make_chunk(*spoken, position=6.0, duration_after_vad=6.0, channel_progress=(ahead, behind))
    await world.jobs.record(Claim(job_id, claimed.claims), chunk)

    job = await world.run()

    (resume,) = world.engine.resumes
    assert resume is not None
    assert (resume.position, resume.next_segment_id, resume.duration_after_vad) == (6.0, 3, 6.0)
    assert resume.channels == {
        1: ResumePoint(
            position=8.0,
            block_start=7.5,
            next_segment_id=1,
            duration_after_vad=2.0,
            language=None,
            language_probability=None,
            previous_tokens=spoken[1].tokens,
            keeps_prompt=True,
        ),
        2: ResumePoint(
            position=6.0,
            next_segment_id=1,
            segments_ahead=1,
            duration_after_vad=4.0,
            language="en",
            language_probability=0.9,
            previous_tokens=spoken[0].tokens,
            keeps_prompt=True,
        ),
    }
    assert job.result_text == "Channel 2: Sentence 0.\nKim: Sentence 1.\nChannel 2: Sentence 2.\nKim: Sentence 3."


@pytest.mark.parametrize("is_moved_on", [False, True], ids=["by us", "by code that knows no windows"])
async def test_the_next_attempt_goes_on_in_the_window_that_belongs_to_the_place(*, is_moved_on: bool) -> None:
    world = World(make_chunk(SECOND, position=10.0))
    job_id = await world.submit()
    claimed = await world.jobs.claim("audio_small", owner="a worker that is gone", lease_seconds=-1)
    assert claimed is not None
    window = NextWindow(seek=190, spoken_until=1.9, position=FIRST.end)
    await world.jobs.record(Claim(job_id, claimed.claims), make_chunk(FIRST, block_start=0.0, next_window=window))
    if is_moved_on:
        world.jobs.overwrite(job_id, position=FIRST.end + 1.0)

    await world.run()

    (resume,) = world.engine.resumes
    assert resume is not None
    assert resume.next_window == (None if is_moved_on else window)


async def test_a_worker_that_lost_its_job_writes_and_tells_nothing_more() -> None:
    world = World(make_chunk(FIRST), make_chunk(SECOND, position=10.0))
    job_id = await world.submit()
    record = world.jobs.record

    async def record_after_takeover(claim: Claim, chunk: TranscriptChunk) -> bool:
        world.jobs.overwrite(job_id, claims=claim.token + 1)
        return await record(claim, chunk)

    world.jobs.record = record_after_takeover  # type: ignore[method-assign]
    job = await world.run()

    assert (job.status, job.result_text) == (JobStatus.processing, None)
    assert world.engine.is_closed
    assert world.told == [JobStatus.processing]


def with_short_lease(world: World) -> World:
    # Shorter than settings accept, so that a test need not wait for a real one.
    worker = msgspec.structs.replace(world.settings.worker, lease_seconds=0.06)
    world.settings = msgspec.structs.replace(world.settings, worker=worker)
    return world


async def test_the_lease_is_kept_while_the_engine_is_silent() -> None:
    pause = hanging()
    world = with_short_lease(World(pause, make_chunk(FIRST, position=10.0)))
    await world.submit()
    extended = asyncio.Event()
    extend = world.jobs.extend_lease
    count = 0

    async def counted(claim: Claim, *, lease_seconds: float) -> bool:
        nonlocal count
        count += 1
        if count == 4:
            pause.set()
            extended.set()
        return await extend(claim, lease_seconds=lease_seconds)

    world.jobs.extend_lease = counted  # type: ignore[method-assign]
    job = await world.run()

    assert extended.is_set()
    assert job.status is JobStatus.completed


async def test_a_job_that_was_cancelled_is_left_although_the_engine_is_silent() -> None:
    world = with_short_lease(World(hanging()))
    job_id = await world.submit()
    publish = world.events.publish

    async def cancel_then_publish(update: JobUpdate) -> str:
        world.jobs.overwrite(job_id, status=JobStatus.cancelled)
        return await publish(update)

    world.events.publish = cancel_then_publish  # type: ignore[method-assign]
    job = await world.run()

    assert job.status is JobStatus.cancelled
    assert world.engine.is_closed


def without_heartbeat(world: World) -> World:
    worker = msgspec.structs.replace(world.settings.worker, lease_seconds=86_400)
    world.settings = msgspec.structs.replace(world.settings, worker=worker)
    return world


async def test_a_worker_hears_that_its_job_was_cancelled_before_the_next_heartbeat() -> None:
    world = without_heartbeat(World(make_chunk(FIRST), hanging()))
    job_id = await world.submit()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        async with world.events.follow(job_id, after="0-0") as subscription:
            async for published in subscription:
                if published.update.segments:
                    break
        resources = Resources(
            jobs=world.jobs,
            batches=FakeBatchRepository(world.jobs),
            store=world.store,
            queue=world.queue,
            events=world.events,
        )
        await LifecycleService(resources, settings=world.settings).cancel(job_id)

    assert running.result().status is JobStatus.cancelled
    assert world.engine.is_closed
    assert world.told[-1] is JobStatus.cancelled
    assert await world.jobs.segments(job_id) == [FIRST]


async def test_late_news_of_an_earlier_cancelling_disturbs_nobody() -> None:
    pause = hanging()
    world = without_heartbeat(World(make_chunk(FIRST), pause, make_chunk(SECOND, position=10.0)))
    job_id = await world.submit()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.run())
        async with world.events.follow(job_id, after="0-0") as subscription:
            async for published in subscription:
                if published.update.segments:
                    break
        extend = world.jobs.extend_lease

        async def looked(claim: Claim, *, lease_seconds: float) -> bool:
            pause.set()
            return await extend(claim, lease_seconds=lease_seconds)

        world.jobs.extend_lease = looked  # type: ignore[method-assign]
        await world.events.publish(JobUpdate(job_id=job_id, status=JobStatus.cancelled, progress=0.0, claims=1))

    assert running.result().status is JobStatus.completed


async def test_a_lease_that_nobody_could_extend_in_time_is_lost() -> None:
    world = with_short_lease(World(hanging()))
    await world.submit()

    async def unreachable(claim: Claim, *, lease_seconds: float) -> bool:
        world.jobs.is_down = True
        try:
            await world.jobs.check()
        finally:
            world.jobs.is_down = False
        return True

    world.jobs.extend_lease = unreachable  # type: ignore[method-assign]
    await world.run()

    assert world.engine.is_closed
    assert world.told == [JobStatus.processing]


async def test_a_job_beyond_its_time_limit_fails_and_keeps_its_partial_transcript() -> None:
    world = World(make_chunk(FIRST), hanging(), tiers__audio_small__soft_limit_seconds=0.05)
    await world.submit()

    job = await world.run()

    assert (job.status, job.error_code) == (JobStatus.failed, "time_limit_exceeded")
    assert await world.jobs.segments(job.id) == [FIRST]
    assert world.watchdog.watched == {}


async def test_a_timeout_of_something_else_is_not_taken_for_the_time_limit() -> None:
    world = World(TimeoutError())
    await world.submit()

    assert (await world.run()).status is JobStatus.pending


async def test_the_process_is_watched_for_as_long_as_the_tier_allows_and_no_longer_than_the_job_lives() -> None:
    world = World(make_chunk(FIRST, position=10.0), tiers__audio_small__hard_limit_seconds=5_000)
    job_id = await world.submit(duration=10.0)

    await world.run()

    assert world.watchdog.watched == {}
    assert world.watchdog.dismissed == {Claim(job_id, 1): [pytest.approx(5_000, abs=100)]}


async def test_limits_grow_with_the_audio_when_settings_say_so() -> None:
    limits = {"soft_limit_seconds": 1_000.0, "hard_limit_seconds": 2_000.0, "limit_per_audio_second": 100.0}
    overrides = {f"tiers__audio_small__{key}": value for key, value in limits.items()}
    # first what the container said, then what the engine learns on the way
    world = World(make_chunk(FIRST, duration=20.0), make_chunk(SECOND, position=30.0, duration=30.0), **overrides)
    job_id = await world.submit(duration=10.0)

    await world.run()

    seconds = world.watchdog.dismissed[Claim(job_id, 1)]
    assert seconds == [pytest.approx(2_000 + 100 * audio, abs=50) for audio in (0, 10, 20, 30)]


async def test_a_long_recording_may_take_longer_than_a_short_one() -> None:
    pause = hanging()
    limits = {"soft_limit_seconds": 0.05, "hard_limit_seconds": 2_000.0, "limit_per_audio_second": 100.0}
    overrides = {f"tiers__audio_small__{key}": value for key, value in limits.items()}
    world = World(make_chunk(FIRST), pause, make_chunk(SECOND, position=10.0), **overrides)
    await world.submit(duration=10.0)

    asyncio.get_running_loop().call_later(0.2, pause.set)

    assert (await world.run()).status is JobStatus.completed


async def test_a_broken_engine_has_its_job_retried_and_its_process_ended() -> None:
    world = World(make_chunk(FIRST), EngineBrokenError("CUDA failed."))
    await world.submit()

    job = await world.run()

    assert (job.status, job.attempt) == (JobStatus.pending, 1)
    assert world.watchdog.is_retired
    assert not await world.service.run_next("audio_small")
    [record] = await world.jobs.attempts(job.id)
    assert (record.end, record.error_code) == (AttemptEnd.retried, "engine_broken")


async def test_a_broken_engine_ends_its_process_although_the_database_is_away() -> None:
    world = World(EngineBrokenError())
    await world.submit()

    async def unreachable(claim: Claim, **reason: Any) -> bool:
        raise DatabaseUnavailableError

    world.jobs.release = unreachable  # type: ignore[method-assign]

    with pytest.raises(DatabaseUnavailableError):
        await world.run()
    assert world.watchdog.is_retired


async def test_an_attempt_after_silence_goes_on_where_the_silence_was_heard_to_end() -> None:
    world = World(make_chunk(FIRST, position=100.0))
    job_id = await world.submit(duration=100.0)
    claimed = await world.jobs.claim("audio_small", owner="a worker that is gone", lease_seconds=-1)
    assert claimed is not None
    quiet = make_chunk(position=60.0, duration=100.0, language=None, language_probability=None)
    await world.jobs.record(Claim(job_id, claimed.claims), quiet)

    job = await world.run()

    (resume,) = world.engine.resumes
    assert resume is not None
    assert (resume.position, resume.next_segment_id, resume.language) == (60.0, 0, None)
    assert job.recomputed_seconds == 30.0


async def test_an_attempt_at_a_clip_goes_on_within_the_recording() -> None:
    world = World(make_chunk(SECOND, position=100.0))
    job_id = await world.submit(duration=500.0, options=TranscriptionOptions(clip_start_seconds=200.0))
    claimed = await world.jobs.claim("audio_small", owner="a worker that is gone", lease_seconds=-1)
    assert claimed is not None
    clip = make_chunk(make_segment(0, start=201.0, end=204.0), position=60.0, duration=100.0)
    await world.jobs.record(Claim(job_id, claimed.claims), clip)

    await world.run()

    (resume,) = world.engine.resumes
    assert resume is not None
    assert (resume.position, resume.next_segment_id) == (260.0, 1)


async def run_until_stopped_behind_the_first_segment(world: World, job_id: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(world.run())
        async with world.events.follow(job_id, after="0-0") as subscription:
            async for published in subscription:
                if published.update.segments:
                    break
        world.service.stop()


async def test_a_stopping_worker_hands_its_job_back_without_spending_the_attempt() -> None:
    world = World(make_chunk(FIRST), hanging())
    job_id = await world.submit()

    await run_until_stopped_behind_the_first_segment(world, job_id)

    job = await world.jobs.get(job_id)
    assert (job.status, job.attempt) == (JobStatus.pending, 0)
    assert [message.delay_seconds for message in world.queue.messages] == [0]
    assert world.told[-1] is JobStatus.pending
    assert world.engine.is_closed


async def test_a_job_that_was_handed_back_goes_on_where_it_was() -> None:
    world = World(make_chunk(FIRST), hanging())
    job_id = await world.submit()
    await run_until_stopped_behind_the_first_segment(world, job_id)

    following = World(make_chunk(SECOND, position=10.0))
    following.jobs = world.jobs
    job = await following.run()

    (resume,) = following.engine.resumes
    assert resume is not None
    assert resume.position == FIRST.end
    assert (job.attempt, job.result_text) == (1, "Sentence 0. Sentence 1.")


async def test_a_worker_that_stops_while_it_claims_hands_the_job_back_untouched() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    job_id = await world.submit()
    claim = world.jobs.claim

    async def claim_while_stopping(tier: str, **lease: Any) -> Job | None:
        job = await claim(tier, **lease)
        world.service.stop()
        return job

    world.jobs.claim = claim_while_stopping  # type: ignore[method-assign]
    job = await world.run()

    assert (job.id, job.status, job.attempt) == (job_id, JobStatus.pending, 0)
    assert world.engine.resumes == []


async def test_a_stopping_worker_leaves_waiting_jobs_to_others_and_passes_the_wake_up_on() -> None:
    world = World()
    job_id = await world.submit()
    world.service.stop()

    assert not await world.service.run_next("audio_small")

    assert (await world.jobs.get(job_id)).status is JobStatus.pending
    assert [message.tier for message in world.queue.messages] == ["audio_small"]


async def test_a_job_whose_text_is_stored_is_brought_to_its_end_although_the_worker_stops() -> None:
    world = World(make_chunk(FIRST, position=10.0))
    await world.submit()
    complete = world.jobs.complete

    async def complete_while_stopping(claim: Claim, outcome: Completed) -> bool:
        world.service.stop()
        return await complete(claim, outcome)

    world.jobs.complete = complete_while_stopping  # type: ignore[method-assign]
    job = await world.run()

    assert job.status is JobStatus.completed
    assert world.told[-1] is JobStatus.completed
    assert world.store.objects == {}
