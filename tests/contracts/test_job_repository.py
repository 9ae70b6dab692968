"""What every table of jobs does: the one in PostgreSQL, and the fake that stands in for it elsewhere."""

import asyncio
import math
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from msgspec.structs import replace

from audio_text.adapters.database import PooledEngine, open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.job import Completed, Failed, Job, JobStatus
from audio_text.domain.options import Task, TranscriptionOptions, VadOptions
from audio_text.domain.transcript import Word
from audio_text.errors import JobNotFoundError
from audio_text.ports import Claim, JobRepository
from factories import make_chunk, make_job, make_segment
from fakes.repository import FakeJobRepository
from services.database import Database

TIER = "audio_small"
HOUR_SECONDS = 3_600.0

COMPLETED = Completed(
    result_text="Hello.",
    duration=10.0,
    duration_after_vad=8.0,
    processing_time_seconds=2.5,
    language="en",
    language_probability=0.9,
)
FAILED = Failed(error_code="invalid_audio", error_message="Not an audio file.", processing_time_seconds=0.5)
MOVES = ["extend_lease", "record", "complete", "fail", "release"]


class World(Protocol):
    """A repository, and a hand that changes its rows as other processes do."""

    jobs: JobRepository

    async def overwrite(self, job_id: str, **fields: object) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.jobs = FakeJobRepository()

    async def overwrite(self, job_id: str, **fields: object) -> None:
        self.jobs.overwrite(job_id, **fields)


class PiccoloWorld:
    def __init__(self, engine: PooledEngine) -> None:
        self.jobs = PiccoloJobRepository(engine)
        self._engine = engine

    async def overwrite(self, job_id: str, **fields: object) -> None:
        for name, value in fields.items():
            cast = "::text::job_status" if name == "status" else ""
            statement = f"UPDATE transcription_job SET {name} = $1{cast} WHERE id = $2"
            await self._engine.pool.execute(statement, value, job_id)


class JobRepositoryContract:
    async def test_a_job_comes_back_as_it_was_added(self, world: World) -> None:
        job = make_job(
            filename="Sitzung März & Co.mp3",
            content_type=None,
            description="with a note",
            request_id="req-1",
            options=TranscriptionOptions(
                language="de",
                task=Task.translate,
                temperature=(0.0, 0.5),
                initial_prompt='Ä "quote" and {braces}',
                vad=VadOptions(threshold=0.25),
                clip_end_seconds=12.5,
            ),
        )
        await world.jobs.add(job)
        assert await world.jobs.get(job.id) == job

    async def test_an_unknown_job_is_not_found(self, world: World) -> None:
        for job_id in ("nobody", "", "\0", "\udcff"):
            with pytest.raises(JobNotFoundError):
                await world.jobs.get(job_id)
            assert await world.jobs.segments(job_id) == []

    async def test_texts_that_a_database_refuses_are_stored_with_replacements(self, world: World) -> None:
        job = make_job(
            filename="a\0b\udcff.mp3",
            description="\ud800",
            options=TranscriptionOptions(initial_prompt="x\0y", hotwords="\udfff \\u0000"),
        )
        await world.jobs.add(job)
        stored = await world.jobs.get(job.id)
        assert stored.filename == "a\ufffdb\ufffd.mp3"
        assert stored.description == "\ufffd"
        assert stored.options.initial_prompt == "x\ufffdy"
        assert stored.options.hotwords == "\ufffd \\u0000"

        claim = await _claim(world)
        word = Word(start=0.0, end=1.0, word=" \0", probability=1.0)
        assert await world.jobs.record(claim, make_chunk(make_segment(text="\ud83d", words=(word,))))
        [segment] = await world.jobs.segments(job.id)
        assert (segment.text, segment.words) == ("\ufffd", (replace(word, word=" \ufffd"),))

        assert await world.jobs.fail(claim, replace(FAILED, error_message="\0"))
        assert (await world.jobs.get(job.id)).error_message == "\ufffd"

    async def test_adding_a_job_again_changes_nothing(self, world: World) -> None:
        job = make_job()
        await world.jobs.add(job)
        await _claim(world)
        await world.jobs.add(job)
        assert (await world.jobs.get(job.id)).status is JobStatus.processing

    async def test_recent_jobs_come_newest_first_and_pages_have_no_gap_and_no_repeat(self, world: World) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        dates = [start + timedelta(microseconds=number // 3) for number in range(20)]  # several at the same moment
        jobs = [make_job(creation_date=date) for date in dates]
        for job in jobs:
            await world.jobs.add(job)
        expected = sorted(jobs, key=lambda job: (job.creation_date, job.id), reverse=True)

        found: list[Job] = []
        before = None
        while page := await world.jobs.recent(limit=7, before=before):
            found += page
            before = (page[-1].creation_date, page[-1].id)
            await world.jobs.add(make_job())  # newer ones that come meanwhile do not shift a page
        assert found == expected

    async def test_recent_jobs_can_be_had_by_status(self, world: World) -> None:
        waiting, running = await _add(world), await _add(world, tier="audio_large")
        await world.jobs.claim("audio_large", owner="w", lease_seconds=HOUR_SECONDS)
        assert [job.id for job in await world.jobs.recent(limit=9, status=JobStatus.pending)] == [waiting]
        assert [job.id for job in await world.jobs.recent(limit=9, status=JobStatus.processing)] == [running]
        assert await world.jobs.recent(limit=9, status=JobStatus.failed) == []
        newest = await world.jobs.get(running)
        before = (newest.creation_date, newest.id)
        assert [job.id for job in await world.jobs.recent(limit=9, before=before, status=JobStatus.pending)] == [
            waiting
        ]

    async def test_a_claim_takes_the_oldest_job_of_its_tier(self, world: World) -> None:
        now = datetime.now(UTC)
        await _add(world, creation_date=now - timedelta(hours=2), tier="audio_large")
        younger = await _add(world, creation_date=now - timedelta(minutes=1))
        older = await _add(world, creation_date=now - timedelta(hours=1))
        claims = [await world.jobs.claim(TIER, owner="w", lease_seconds=HOUR_SECONDS) for _ in range(3)]
        assert [job and job.id for job in claims] == [older, younger, None]

    async def test_a_claimed_job_is_processing_leased_and_started(self, world: World) -> None:
        job_id = await _add(world)
        before = await world.jobs.get(job_id)
        job = await world.jobs.claim(TIER, owner="worker-7", lease_seconds=HOUR_SECONDS)
        assert job is not None
        assert job == await world.jobs.get(job_id)
        assert (job.status, job.attempt, job.lease_owner) == (JobStatus.processing, 1, "worker-7")
        assert job.started_at is not None
        assert job.lease_expires_at is not None
        assert job.lease_expires_at - job.started_at == timedelta(hours=1)
        assert job.update_date > before.update_date
        assert job.creation_date == before.creation_date

    async def test_a_claim_never_goes_to_two_workers(self, world: World) -> None:
        added = {await _add(world) for _ in range(9)}
        claims = await asyncio.gather(
            *(world.jobs.claim(TIER, owner=f"worker-{number}", lease_seconds=HOUR_SECONDS) for number in range(9))
        )
        assert {job.id for job in claims if job is not None} == added

    async def test_a_job_that_is_not_available_yet_is_not_claimed(self, world: World) -> None:
        later = await _add(world, available_at=datetime.now(UTC) + timedelta(hours=1))
        assert await world.jobs.claim(TIER, owner="w", lease_seconds=1) is None
        await world.overwrite(later, available_at=datetime.now(UTC) - timedelta(seconds=1))
        assert (await _claim(world)).job_id == later

    async def test_a_job_whose_lease_ran_out_goes_to_somebody_else(self, world: World) -> None:
        job_id = await _add(world)
        first = await _claim(world, lease_seconds=0.0)
        started_at = (await world.jobs.get(job_id)).started_at
        second = await world.jobs.claim(TIER, owner="other", lease_seconds=HOUR_SECONDS)
        assert second is not None
        assert (second.id, second.attempt, second.lease_owner) == (job_id, 2, "other")
        assert second.started_at == started_at
        assert not await world.jobs.record(first, make_chunk(make_segment()))
        assert await world.jobs.claim(TIER, owner="third", lease_seconds=1) is None

    async def test_a_heartbeat_keeps_the_job(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world, lease_seconds=0.0)
        before = await world.jobs.get(job_id)
        assert await world.jobs.extend_lease(claim, lease_seconds=HOUR_SECONDS)
        assert await world.jobs.claim(TIER, owner="other", lease_seconds=1) is None
        job = await world.jobs.get(job_id)
        assert job.lease_expires_at is not None
        assert before.lease_expires_at is not None
        assert job.lease_expires_at > before.lease_expires_at

    async def test_overdue_counts_what_could_have_been_claimed_for_long(self, world: World) -> None:
        now = datetime.now(UTC)
        minute_ago, soon = now - timedelta(minutes=1), now + timedelta(minutes=1)
        await _add(world, creation_date=minute_ago)
        await _add(world, creation_date=now)
        await _add(world, creation_date=minute_ago, available_at=soon)
        await _add(world, creation_date=minute_ago, available_at=minute_ago, tier="audio_large")
        leased = await _add(world, creation_date=minute_ago, tier="audio_medium")
        await world.jobs.claim("audio_medium", owner="w", lease_seconds=HOUR_SECONDS)
        await world.overwrite(await _add(world, creation_date=minute_ago), status=JobStatus.cancelled)
        assert await world.jobs.overdue(seconds=30) == {TIER: 1, "audio_large": 1}
        await world.overwrite(leased, lease_expires_at=minute_ago)
        assert await world.jobs.overdue(seconds=30) == {TIER: 1, "audio_large": 1, "audio_medium": 1}
        assert await world.jobs.overdue(seconds=90) == {}

    async def test_a_recorded_chunk_moves_progress_and_facts(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        chunk = make_chunk(
            make_segment(), position=2.5, duration=10.0, duration_after_vad=7.0, language="fr", language_probability=0.5
        )
        before = await world.jobs.get(job_id)
        assert await world.jobs.record(claim, chunk)
        job = await world.jobs.get(job_id)
        assert (job.progress, job.duration, job.duration_after_vad) == (25.0, 10.0, 7.0)
        assert (job.language, job.language_probability) == ("fr", 0.5)
        assert (job.status, job.lease_expires_at) == (before.status, before.lease_expires_at)
        assert job.update_date > before.update_date

    async def test_segments_come_back_in_order_from_any_one_on(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        words = (Word(start=0.1, end=0.30000000000000004, word=" Hé", probability=1 / 3),)
        segments = [make_segment(number, words=words if number % 2 else None) for number in range(12)]
        assert await world.jobs.record(claim, make_chunk(*segments[:5]))
        assert await world.jobs.record(claim, make_chunk())
        assert await world.jobs.record(claim, make_chunk(*segments[5:]))
        assert await world.jobs.segments(job_id) == segments
        assert await world.jobs.segments(job_id, first=9) == segments[9:]
        assert await world.jobs.segments(job_id, first=12) == []

    async def test_a_segment_keeps_every_digit_of_its_scores(self, world: World) -> None:
        job_id = await _add(world)
        segment = make_segment(
            start=0.1 + 0.2, end=1e-17, avg_logprob=-math.pi, compression_ratio=5e-324, no_speech_prob=1.0, tokens=()
        )
        assert await world.jobs.record(await _claim(world), make_chunk(segment))
        assert await world.jobs.segments(job_id) == [segment]

    async def test_a_score_that_is_not_a_number_does_not_stop_a_job(self, world: World) -> None:
        job_id = await _add(world)
        scores = dict.fromkeys(("temperature", "avg_logprob", "compression_ratio", "no_speech_prob"), math.nan)
        assert await world.jobs.record(await _claim(world), make_chunk(make_segment(**scores)))
        [segment] = await world.jobs.segments(job_id)
        assert all(math.isnan(getattr(segment, name)) for name in scores)

    async def test_recording_a_chunk_again_changes_nothing(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        segments = [make_segment(number) for number in range(4)]
        for chunk in (make_chunk(*segments[:2]), make_chunk(*segments[2:]), make_chunk(*segments[2:])):
            assert await world.jobs.record(claim, chunk)
        assert await world.jobs.segments(job_id) == segments

    async def test_a_later_attempt_replaces_what_an_earlier_one_said_from_there_on(self, world: World) -> None:
        job_id = await _add(world)
        first = await _claim(world, lease_seconds=0.0)
        old = [make_segment(number, text="old") for number in range(6)]
        assert await world.jobs.record(first, make_chunk(*old))
        second = await _claim(world)
        new = [make_segment(number, text="new") for number in (2, 3)]
        assert await world.jobs.record(second, make_chunk(*new))
        assert await world.jobs.segments(job_id) == old[:2] + new

    async def test_a_completed_job_has_its_result(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment()))
        assert await world.jobs.complete(claim, COMPLETED)
        job = await world.jobs.get(job_id)
        assert (job.status, job.progress, job.result_text) == (JobStatus.completed, 100.0, "Hello.")
        assert (job.duration, job.duration_after_vad) == (10.0, 8.0)
        assert (job.processing_time_seconds, job.real_time_factor) == (2.5, 0.25)
        assert (job.language, job.language_probability) == ("en", 0.9)
        assert job.finished_at is not None
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert len(await world.jobs.segments(job_id)) == 1

    async def test_silence_is_a_success_without_text(self, world: World) -> None:
        job_id = await _add(world)
        silence = replace(COMPLETED, result_text="", duration=0.0, language=None, language_probability=None)
        assert await world.jobs.complete(await _claim(world), silence)
        job = await world.jobs.get(job_id)
        assert (job.status, job.result_text, job.real_time_factor) == (JobStatus.completed, "", None)

    async def test_a_failed_job_keeps_what_was_transcribed(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment(), position=4.0, duration=10.0))
        assert await world.jobs.fail(claim, FAILED)
        job = await world.jobs.get(job_id)
        assert (job.status, job.progress) == (JobStatus.failed, 40.0)
        assert (job.error_code, job.error_message) == ("invalid_audio", "Not an audio file.")
        assert job.processing_time_seconds == 0.5
        assert job.finished_at is not None
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert len(await world.jobs.segments(job_id)) == 1

    @pytest.mark.parametrize(("spend_attempt", "next_attempt"), [(True, 2), (False, 1)])
    async def test_a_released_job_can_be_claimed_again(
        self, world: World, *, spend_attempt: bool, next_attempt: int
    ) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment(), position=4.0, duration=10.0))
        assert await world.jobs.release(claim, delay_seconds=0.0, spend_attempt=spend_attempt)
        job = await world.jobs.get(job_id)
        assert (job.status, job.attempt) == (JobStatus.pending, next_attempt - 1)
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert job.progress == 40.0
        assert await _claim(world) == Claim(job_id=job_id, attempt=next_attempt)
        assert len(await world.jobs.segments(job_id)) == 1

    async def test_a_job_released_for_later_waits(self, world: World) -> None:
        job_id = await _add(world)
        assert await world.jobs.release(await _claim(world), delay_seconds=HOUR_SECONDS, spend_attempt=True)
        assert await world.jobs.claim(TIER, owner="w", lease_seconds=1) is None
        available_at = (await world.jobs.get(job_id)).available_at
        assert available_at is not None
        assert available_at > datetime.now(UTC) + timedelta(minutes=59)

    @pytest.mark.parametrize("move", MOVES)
    @pytest.mark.parametrize("meanwhile", [status for status in JobStatus if status is not JobStatus.processing])
    async def test_a_worker_changes_nothing_in_a_job_that_is_no_longer_processing(
        self, world: World, move: str, meanwhile: JobStatus
    ) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        await world.overwrite(job_id, status=meanwhile)
        await _assert_refused(world, move, claim)

    @pytest.mark.parametrize("move", MOVES)
    @pytest.mark.parametrize("other", [-1, 1])
    async def test_a_worker_changes_nothing_in_a_job_that_is_at_another_attempt(
        self, world: World, move: str, other: int
    ) -> None:
        await _add(world)
        claim = await _claim(world)
        await _assert_refused(world, move, replace(claim, attempt=claim.attempt + other))

    @pytest.mark.parametrize("move", MOVES)
    async def test_an_unknown_job_cannot_be_moved(self, world: World, move: str) -> None:
        assert not await _move(world, move, Claim(job_id="nobody", attempt=1))

    async def test_of_many_ends_of_one_job_one_counts(self, world: World) -> None:
        await _add(world)
        claim = await _claim(world)
        ends = await asyncio.gather(*(_move(world, move, claim) for move in ("complete", "fail", "release") * 3))
        assert sum(ends) == 1

    async def test_an_object_is_needed_while_another_job_wants_it(self, world: World) -> None:
        first, second = await _add(world, object_key="k"), await _add(world, object_key="k", tier="audio_large")
        await _add(world, object_key="other")
        assert await world.jobs.is_object_needed("k", besides=first)
        await world.jobs.claim("audio_large", owner="w", lease_seconds=1)
        assert await world.jobs.is_object_needed("k", besides=first)
        for status in (JobStatus.completed, JobStatus.failed, JobStatus.cancelled):
            await world.overwrite(second, status=status)
            assert not await world.jobs.is_object_needed("k", besides=first)
        assert await world.jobs.is_object_needed("k", besides="somebody else")
        assert not await world.jobs.is_object_needed("unknown", besides=first)

    async def test_a_repository_that_answers_passes_its_check(self, world: World) -> None:
        await world.jobs.check()


class TestFakeJobRepository(JobRepositoryContract):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


class TestPiccoloJobRepository(JobRepositoryContract):
    @pytest.fixture
    async def world(self, database: Database) -> AsyncGenerator[World]:
        async with open_database(database.settings, database.password, application_name="test") as engine:
            yield PiccoloWorld(engine)


async def _add(world: World, **fields: object) -> str:
    job = make_job(**({"tier": TIER} | fields))
    await world.jobs.add(job)
    return job.id


async def _claim(world: World, *, lease_seconds: float = HOUR_SECONDS) -> Claim:
    job = await world.jobs.claim(TIER, owner="worker", lease_seconds=lease_seconds)
    assert job is not None
    return Claim(job_id=job.id, attempt=job.attempt)


async def _move(world: World, move: str, claim: Claim) -> bool:
    match move:
        case "extend_lease":
            return await world.jobs.extend_lease(claim, lease_seconds=HOUR_SECONDS)
        case "record":
            return await world.jobs.record(claim, make_chunk(make_segment()))
        case "complete":
            return await world.jobs.complete(claim, COMPLETED)
        case "fail":
            return await world.jobs.fail(claim, FAILED)
        case _:
            return await world.jobs.release(claim, delay_seconds=0.0, spend_attempt=False)


async def _assert_refused(world: World, move: str, claim: Claim) -> None:
    before = await world.jobs.get(claim.job_id)
    assert not await _move(world, move, claim)
    assert await world.jobs.get(claim.job_id) == before
    assert await world.jobs.segments(claim.job_id) == []
