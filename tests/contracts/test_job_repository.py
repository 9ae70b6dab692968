"""What every table of jobs does: the one in PostgreSQL, and the fake that stands in for it elsewhere.

Long, because the port is one and so is its contract.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from msgspec.structs import replace

from audio_text.adapters.database import PooledEngine, open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.job import AttemptEnd, Completed, Failed, JobStatus, Priority, Retention
from audio_text.domain.listing import JobQuery
from audio_text.domain.options import Task, TranscriptionOptions, VadOptions
from audio_text.domain.transcript import ChannelProgress, NextWindow, Word
from audio_text.errors import JobNotFoundError, JobStateError
from audio_text.ports import Again, Claim, JobRepository, Released
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
RETRIED = Released(end=AttemptEnd.retried, error_code="store_unavailable", error_message="Not just now.")
HANDED_BACK = Released(end=AttemptEnd.handed_back)
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
            owner="somebody",
            metadata={"Projekt": 'Ä "b" {c}', "": ""},
            deadline=datetime(2030, 1, 1, tzinfo=UTC),
            priority=Priority.low,
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

    async def test_each_channel_keeps_its_segments_and_its_place_until_the_job_begins_anew(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        segments = [make_segment(0, channel=2), make_segment(1, channel=1)]
        window = NextWindow(seek=200, spoken_until=1.5, position=2.0)
        ahead = ChannelProgress(
            channel=1,
            position=4.0,
            block_start=0.0,
            next_window=window,
            segments_ahead=1,
            language="en",
            language_probability=0.9,
        )
        behind = ChannelProgress(channel=2, position=2.0, duration_after_vad=1.5)
        assert await world.jobs.record(claim, make_chunk(*segments, position=2.0, channel_progress=(ahead, behind)))
        assert [segment.channel for segment in await world.jobs.segments(job_id)] == [2, 1]
        assert (await world.jobs.get(job_id)).channel_progress == (ahead, behind)
        await world.overwrite(job_id, lease_expires_at=datetime(2026, 1, 1, tzinfo=UTC))
        await _claim(world)
        assert (await world.jobs.attempts(job_id))[-1].position == 2.0
        await world.jobs.cancel(job_id)
        again = Again(options=TranscriptionOptions(language="de"))
        assert (await world.jobs.retry(job_id, again=again)).channel_progress is None

    async def test_the_next_window_is_kept_until_the_job_begins_anew(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        window = NextWindow(seek=200, spoken_until=1.23, position=2.0)
        assert await world.jobs.record(claim, make_chunk(make_segment(0), next_window=window))
        assert (await world.jobs.get(job_id)).next_window == window
        await world.jobs.cancel(job_id)
        assert (await world.jobs.retry(job_id, again=Again())).next_window == window
        await world.jobs.cancel(job_id)
        again = Again(options=TranscriptionOptions(language="de"))
        assert (await world.jobs.retry(job_id, again=again)).next_window is None

    async def test_a_job_is_its_owners_or_nobodys(self, world: World) -> None:
        for owner in ("ada", None):
            job = make_job(owner=owner)
            await world.jobs.add(job)
            assert await world.jobs.owner_of(job.id) == owner

    async def test_an_unknown_job_is_not_found(self, world: World) -> None:
        for job_id in ("nobody", "", "\0", "\udcff"):
            with pytest.raises(JobNotFoundError):
                await world.jobs.get(job_id)
            with pytest.raises(JobNotFoundError):
                await world.jobs.owner_of(job_id)
            assert await world.jobs.segments(job_id) == []
            assert await world.jobs.last_segment(job_id) is None

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

    async def test_a_claim_takes_the_oldest_job_of_its_tier(self, world: World) -> None:
        now = datetime.now(UTC)
        await _add(world, creation_date=now - timedelta(hours=2), tier="audio_large")
        younger = await _add(world, creation_date=now - timedelta(minutes=1))
        older = await _add(world, creation_date=now - timedelta(hours=1))
        claims = [await world.jobs.claim(TIER, owner="w", lease_seconds=HOUR_SECONDS) for _ in range(3)]
        assert [job and job.id for job in claims] == [older, younger, None]

    async def test_a_claim_takes_the_highest_priority_first_and_then_the_oldest(self, world: World) -> None:
        now = datetime.now(UTC)
        ages = [(Priority.low, 9), (Priority.normal, 5), (Priority.normal, 4), (Priority.high, 1), (Priority.high, 3)]
        jobs = [
            await _add(world, priority=priority, creation_date=now - timedelta(hours=hours)) for priority, hours in ages
        ]
        assert await _claimed_in_turn(world, 6) == [jobs[4], jobs[3], jobs[1], jobs[2], jobs[0], None]

    async def test_owners_are_served_in_turn_however_much_one_of_them_has_waiting(self, world: World) -> None:
        old = datetime.now(UTC) - timedelta(hours=1)
        much = [await _add(world, owner="much", creation_date=old + timedelta(seconds=number)) for number in range(4)]
        little = [await _add(world, owner=None), await _add(world, owner="little")]
        assert await _claimed_in_turn(world, 6) == [much[0], *little, *much[1:]]

    async def test_an_owner_waits_for_its_turn_only_behind_what_runs_now_and_on_the_same_tier(
        self, world: World
    ) -> None:
        for tier in ("audio_large", TIER):
            await _add(world, owner="first", tier=tier)
            await world.jobs.claim(tier, owner="w", lease_seconds=0.0 if tier is TIER else HOUR_SECONDS)
        lost = (await world.jobs.find(JobQuery(), limit=1))[0].id
        second = await _add(world, owner="second")
        assert await _claimed_in_turn(world, 3) == [lost, second, None]

    async def test_an_urgent_job_goes_before_those_of_owners_who_have_less_running(self, world: World) -> None:
        running = await _add(world, owner="first")
        await _claim_of(world, running)
        patient = await _add(world, owner="second")
        urgent = await _add(world, owner="first", priority=Priority.high)
        assert await _claimed_in_turn(world, 2) == [urgent, patient]

    async def test_claims_at_the_same_time_go_round_the_owners(self, world: World) -> None:
        old = datetime.now(UTC) - timedelta(hours=1)
        for number in range(20):
            await _add(world, owner="much", creation_date=old + timedelta(seconds=number))
        for number in range(3):
            await _add(world, owner=f"little {number}")
        async with asyncio.TaskGroup() as group:
            claims = [
                group.create_task(world.jobs.claim(TIER, owner="w", lease_seconds=HOUR_SECONDS)) for _ in range(6)
            ]
        owners = [job.owner for job in (claim.result() for claim in claims) if job]
        assert Counter(owners) == {"much": 3, "little 0": 1, "little 1": 1, "little 2": 1}

    async def test_a_burst_of_claims_empties_the_tier_and_no_job_goes_to_two(self, world: World) -> None:
        classes = [(owner, priority) for owner in (None, "a", "b") for priority in Priority]
        added = {await _add(world, owner=owner, priority=priority) for owner, priority in classes * 4}
        async with asyncio.TaskGroup() as group:
            claims = [
                group.create_task(world.jobs.claim(TIER, owner="w", lease_seconds=HOUR_SECONDS)) for _ in range(36)
            ]
        taken = [job.id for job in (claim.result() for claim in claims) if job]
        assert len(taken) == 36
        assert set(taken) == added

    async def test_a_claimed_job_is_processing_leased_and_started(self, world: World) -> None:
        job_id = await _add(world)
        before = await world.jobs.get(job_id)
        job = await world.jobs.claim(TIER, owner="worker-7", lease_seconds=HOUR_SECONDS)
        assert job is not None
        assert job == await world.jobs.get(job_id)
        assert (job.status, job.attempt, job.claims) == (JobStatus.processing, 1, 1)
        assert job.lease_owner == "worker-7"
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

    async def test_overdue_counts_what_waits_for_long_and_what_lost_its_worker(self, world: World) -> None:
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
        assert await world.jobs.overdue(seconds=90) == {"audio_medium": 1}

    async def test_the_next_lease_to_run_out_is_known(self, world: World) -> None:
        assert await world.jobs.next_lease_end() is None
        await _add(world)
        await _claim(world, lease_seconds=0.0)
        assert await world.jobs.next_lease_end() is None
        for minutes in (30, 20, 40):
            await _add(world, tier="audio_large")
            assert await world.jobs.claim("audio_large", owner="w", lease_seconds=minutes * 60)
        seconds = await world.jobs.next_lease_end()
        assert seconds is not None
        assert 19 * 60 < seconds <= 20 * 60

    async def test_the_jobs_of_a_dead_owner_can_be_claimed_at_once(self, world: World) -> None:
        first, second = await _add(world), await _add(world)
        for owner in ("dead", "alive"):
            assert await world.jobs.claim(TIER, owner=owner, lease_seconds=HOUR_SECONDS)
        assert [job.id for job in await world.jobs.end_leases("dead")] == [first]
        assert await world.jobs.end_leases("nobody") == []
        assert await world.jobs.overdue(seconds=HOUR_SECONDS) == {TIER: 1}
        again = await world.jobs.claim(TIER, owner="other", lease_seconds=HOUR_SECONDS)
        assert again is not None
        assert (again.id, again.attempt, again.claims) == (first, 2, 2)
        assert await world.jobs.claim(TIER, owner="other", lease_seconds=HOUR_SECONDS) is None
        assert [record.end for record in await world.jobs.attempts(first)] == [AttemptEnd.lost, None]
        assert (await world.jobs.get(second)).lease_owner == "alive"

    async def test_an_owner_that_was_alive_after_all_keeps_its_job_by_a_heartbeat(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        owner = (await world.jobs.get(job_id)).lease_owner
        assert owner is not None
        assert await world.jobs.end_leases(owner)
        assert await world.jobs.extend_lease(claim, lease_seconds=HOUR_SECONDS)
        assert await world.jobs.claim(TIER, owner="other", lease_seconds=1) is None

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
        assert await world.jobs.segments(job_id, first=2, limit=3) == segments[2:5]
        assert await world.jobs.segments(job_id, first=10, limit=3) == segments[10:]
        assert await world.jobs.last_segment(job_id) == 11

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

    @pytest.mark.parametrize(("reason", "next_attempt"), [(RETRIED, 2), (HANDED_BACK, 1)], ids=["retried", "handed"])
    async def test_a_released_job_can_be_claimed_again(self, world: World, reason: Released, next_attempt: int) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment(), position=4.0, duration=10.0))
        assert await world.jobs.release(claim, delay_seconds=0.0, reason=reason)
        job = await world.jobs.get(job_id)
        assert (job.status, job.attempt, job.claims) == (JobStatus.pending, next_attempt - 1, 1)
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert job.progress == 40.0
        assert await _claim(world) == Claim(job_id=job_id, token=2)
        assert (await world.jobs.get(job_id)).attempt == next_attempt
        assert len(await world.jobs.segments(job_id)) == 1

    @pytest.mark.parametrize("move", MOVES)
    async def test_a_claim_that_was_given_back_cannot_write_on_the_next_one(self, world: World, move: str) -> None:
        await _add(world)
        first = await _claim(world)
        assert await world.jobs.release(first, delay_seconds=0.0, reason=HANDED_BACK)
        second = await world.jobs.claim(TIER, owner="other", lease_seconds=HOUR_SECONDS)
        assert second is not None
        assert second.attempt == 1
        await _assert_refused(world, move, first)

    async def test_a_job_released_for_later_waits(self, world: World) -> None:
        job_id = await _add(world)
        assert await world.jobs.release(await _claim(world), delay_seconds=HOUR_SECONDS, reason=RETRIED)
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
    async def test_a_worker_changes_nothing_in_a_job_that_is_at_another_claim(
        self, world: World, move: str, other: int
    ) -> None:
        await _add(world)
        claim = await _claim(world)
        await _assert_refused(world, move, replace(claim, token=claim.token + other))

    @pytest.mark.parametrize("move", MOVES)
    async def test_an_unknown_job_cannot_be_moved(self, world: World, move: str) -> None:
        assert not await _move(world, move, Claim(job_id="nobody", token=1))

    async def test_of_many_ends_of_one_job_one_counts(self, world: World) -> None:
        await _add(world)
        claim = await _claim(world)
        ends = await asyncio.gather(*(_move(world, move, claim) for move in ("complete", "fail", "release") * 3))
        assert sum(ends) == 1
        [record] = await world.jobs.attempts(claim.job_id)
        assert record.end in {AttemptEnd.completed, AttemptEnd.failed, AttemptEnd.handed_back}

    async def test_every_claim_is_on_record_with_its_end(self, world: World) -> None:
        job_id = await _add(world)
        assert await world.jobs.attempts(job_id) == []
        first = await _claim(world)
        [running] = await world.jobs.attempts(job_id)
        assert (running.claim, running.attempt, running.owner, running.position) == (1, 1, "worker", 0.0)
        assert (running.ended_at, running.end) == (None, None)
        assert await world.jobs.record(first, make_chunk(make_segment(end=2.5)))
        assert await world.jobs.release(first, delay_seconds=0.0, reason=HANDED_BACK)
        assert await world.jobs.release(await _claim(world), delay_seconds=0.0, reason=RETRIED)
        await _claim(world, lease_seconds=0.0)
        assert await world.jobs.fail(await _claim(world), FAILED)
        records = await world.jobs.attempts(job_id)
        assert [(record.claim, record.attempt, record.end) for record in records] == [
            (1, 1, AttemptEnd.handed_back),
            (2, 1, AttemptEnd.retried),
            (3, 2, AttemptEnd.lost),
            (4, 3, AttemptEnd.failed),
        ]
        assert [record.position for record in records] == [0.0, 2.5, 2.5, 2.5]
        assert [(record.error_code, record.error_message) for record in records] == [
            (None, None),
            ("store_unavailable", "Not just now."),
            (None, None),
            ("invalid_audio", "Not an audio file."),
        ]
        assert all(record.ended_at and record.ended_at >= record.started_at for record in records)

    async def test_a_completed_attempt_is_on_record(self, world: World) -> None:
        job_id = await _add(world)
        assert await world.jobs.complete(await _claim(world), COMPLETED)
        assert await _ends(world, job_id) == [AttemptEnd.completed]

    async def test_a_lost_worker_costs_at_most_the_window_after_what_it_stored(self, world: World) -> None:
        job_id = await _add(world, duration=100.0)
        first = await _claim(world, lease_seconds=0.0)
        assert await world.jobs.record(first, make_chunk(make_segment(end=2.0), position=50.0, duration=100.0))
        second = await _claim(world)
        assert (await world.jobs.get(job_id)).recomputed_seconds == 30.0
        assert await world.jobs.record(second, make_chunk(make_segment(1, end=90.0), position=95.0, duration=100.0))
        assert await world.jobs.release(second, delay_seconds=0.0, reason=HANDED_BACK)
        await _claim(world, lease_seconds=0.0)
        assert (await world.jobs.get(job_id)).recomputed_seconds == 30.0
        await _claim(world)
        assert (await world.jobs.get(job_id)).recomputed_seconds == 35.0
        assert [record.position for record in await world.jobs.attempts(job_id)] == [0.0, 50.0, 95.0, 95.0]

    async def test_an_attempt_begins_where_the_last_one_had_come_also_in_silence_and_in_a_clip(
        self, world: World
    ) -> None:
        job_id = await _add(world, options=TranscriptionOptions(clip_start_seconds=100.0), duration=500.0)
        assert await world.jobs.record(
            await _claim(world, lease_seconds=0.0), make_chunk(make_segment(end=102.0), position=60.0, duration=80.0)
        )
        await _claim(world)
        assert [record.position for record in await world.jobs.attempts(job_id)] == [100.0, 160.0]
        assert (await world.jobs.get(job_id)).recomputed_seconds == 20.0

    async def test_a_job_tells_what_its_newest_segments_were_made_with(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        job = await world.jobs.get(job_id)
        assert (job.device, job.compute_type) == (None, None)
        for compute_type in ("float16", "int8_float16"):
            assert await world.jobs.record(claim, make_chunk(device="cuda", compute_type=compute_type))
        job = await world.jobs.get(job_id)
        assert (job.device, job.compute_type) == ("cuda", "int8_float16")

    async def test_a_worker_that_was_lost_before_it_said_anything_costs_no_audio(self, world: World) -> None:
        job_id = await _add(world)
        await _claim(world, lease_seconds=0.0)
        await _claim(world)
        assert (await world.jobs.get(job_id)).recomputed_seconds == 0.0

    async def test_a_waiting_job_is_cancelled_at_once(self, world: World) -> None:
        job_id = await _add(world)
        job = await world.jobs.cancel(job_id)
        assert job == await world.jobs.get(job_id)
        assert job.status is JobStatus.cancelled
        assert job.finished_at is not None
        assert await world.jobs.claim(TIER, owner="w", lease_seconds=1) is None
        assert await world.jobs.attempts(job_id) == []

    @pytest.mark.parametrize("move", MOVES)
    async def test_a_running_job_is_cancelled_under_its_worker_and_keeps_what_was_transcribed(
        self, world: World, move: str
    ) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment(), position=4.0, duration=10.0))
        job = await world.jobs.cancel(job_id)
        assert (job.status, job.progress) == (JobStatus.cancelled, 40.0)
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert not await _move(world, move, claim)
        assert await world.jobs.get(job_id) == job
        assert await world.jobs.segments(job_id) == [make_segment()]
        assert await _ends(world, job_id) == [AttemptEnd.cancelled]

    async def test_a_job_that_waits_for_another_attempt_is_cancelled_with_its_record_as_it_was(
        self, world: World
    ) -> None:
        claim = await _claim_of(world, await _add(world))
        assert await world.jobs.release(claim, delay_seconds=HOUR_SECONDS, reason=RETRIED)
        records = await world.jobs.attempts(claim.job_id)
        assert (await world.jobs.cancel(claim.job_id)).status is JobStatus.cancelled
        assert await world.jobs.attempts(claim.job_id) == records

    async def test_cancelling_again_changes_nothing(self, world: World) -> None:
        job_id = await _add(world)
        job = await world.jobs.cancel(job_id)
        assert await world.jobs.cancel(job_id) == job

    @pytest.mark.parametrize(("move", "state"), [("complete", "completed"), ("fail", "failed")])
    async def test_a_job_that_is_over_cannot_be_cancelled(self, world: World, move: str, state: str) -> None:
        claim = await _claim_of(world, await _add(world))
        assert await _move(world, move, claim)
        before = await world.jobs.get(claim.job_id)
        with pytest.raises(JobStateError, match=state):
            await world.jobs.cancel(claim.job_id)
        assert await world.jobs.get(claim.job_id) == before

    async def test_a_job_that_is_not_there_cannot_be_cancelled_or_retried(self, world: World) -> None:
        for job_id in ("nobody", "\0"):
            with pytest.raises(JobNotFoundError):
                await world.jobs.cancel(job_id)
            with pytest.raises(JobNotFoundError):
                await world.jobs.retry(job_id, again=Again())

    async def test_a_job_that_is_cancelled_while_it_is_claimed_has_one_end(self, world: World) -> None:
        for _ in range(12):
            job_id = await _add(world)
            claimed, *cancelled = await asyncio.gather(
                world.jobs.claim(TIER, owner="w", lease_seconds=HOUR_SECONDS),
                *(world.jobs.cancel(job_id) for _ in range(4)),
            )
            assert {job.status for job in cancelled} == {JobStatus.cancelled}
            assert (await world.jobs.get(job_id)).status is JobStatus.cancelled
            assert await _ends(world, job_id) == ([] if claimed is None else [AttemptEnd.cancelled])

    @pytest.mark.parametrize("end", ["fail", "cancel"])
    async def test_a_retried_job_waits_again_and_continues_behind_its_last_segment(
        self, world: World, end: str
    ) -> None:
        job_id = await _add(world, creation_date=datetime.now(UTC) - timedelta(hours=1))
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment(end=2.0), position=4.0, duration=10.0))
        before = await world.jobs.get(job_id)
        assert await _end(world, end, claim)
        job = await world.jobs.retry(job_id, again=Again())
        assert job == await world.jobs.get(job_id)
        kept = ("creation_date", "progress", "duration", "language", "options", "whisper_model", "tier")
        assert [getattr(job, name) for name in kept] == [getattr(before, name) for name in kept]
        assert (job.status, job.attempt, job.claims) == (JobStatus.pending, 0, 1)
        forgotten = ("error_code", "error_message", "finished_at", "started_at", "processing_time_seconds")
        assert [getattr(job, name) for name in forgotten] == [None] * 5
        assert await world.jobs.overdue(seconds=60) == {}
        assert await _claim(world) == Claim(job_id, 2)
        assert not await world.jobs.record(claim, make_chunk(make_segment()))
        assert [record.position for record in await world.jobs.attempts(job_id)] == [0.0, 4.0]

    @pytest.mark.parametrize(
        ("again", "is_new"),
        [
            (Again(whisper_model="large-v3", tier="audio_large"), True),
            (Again(options=TranscriptionOptions(language="de")), True),
            (Again(whisper_model="demo", options=TranscriptionOptions()), False),
            (Again(tier="audio_large"), False),
        ],
        ids=["model", "options", "same", "tier"],
    )
    async def test_a_retry_with_another_model_or_options_begins_anew(
        self, world: World, again: Again, *, is_new: bool
    ) -> None:
        job_id = await _add(world)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment(), position=4.0, duration=10.0))
        assert await world.jobs.fail(claim, FAILED)
        job = await world.jobs.retry(job_id, again=again)
        assert job.whisper_model == (again.whisper_model or "demo")
        assert (job.tier, job.options) == (again.tier or TIER, again.options or TranscriptionOptions())
        news = (job.progress, job.duration, job.duration_after_vad, job.language, job.language_probability)
        assert news == ((0.0, None, None, None, None) if is_new else (40.0, 10.0, 10.0, "en", 0.99))
        assert len(await world.jobs.segments(job_id)) == (0 if is_new else 1)

    async def test_retrying_again_changes_nothing(self, world: World) -> None:
        job_id = await _add(world)
        await world.jobs.cancel(job_id)
        job = await world.jobs.retry(job_id, again=Again())
        assert await world.jobs.retry(job_id, again=Again(whisper_model="other")) == job
        await _claim(world)
        assert (await world.jobs.retry(job_id, again=Again())).status is JobStatus.processing

    async def test_of_many_retries_at_once_one_counts(self, world: World) -> None:
        job_id = await _add(world)
        await world.jobs.cancel(job_id)
        jobs = await asyncio.gather(*(world.jobs.retry(job_id, again=Again()) for _ in range(5)))
        assert {(job.status, job.available_at) for job in jobs} == {(JobStatus.pending, jobs[0].available_at)}

    async def test_a_completed_job_cannot_be_retried(self, world: World) -> None:
        job_id = await _add(world)
        assert await world.jobs.complete(await _claim(world), COMPLETED)
        before = await world.jobs.get(job_id)
        with pytest.raises(JobStateError, match="completed"):
            await world.jobs.retry(job_id, again=Again(options=TranscriptionOptions(language="de")))
        assert await world.jobs.get(job_id) == before

    async def test_a_deleted_job_is_gone_with_all_it_had(self, world: World) -> None:
        job_id, other = await _add(world), await _add(world, tier="audio_large")
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment()))
        before = await world.jobs.get(job_id)
        assert await world.jobs.delete(job_id) == before
        assert await world.jobs.delete(job_id) is None
        with pytest.raises(JobNotFoundError):
            await world.jobs.get(job_id)
        assert await world.jobs.segments(job_id) == []
        assert await world.jobs.attempts(job_id) == []
        for move in MOVES:
            assert not await _move(world, move, claim)
        assert [job.id for job in await world.jobs.find(JobQuery(), limit=9)] == [other]

    async def test_dead_letters_are_listed_newest_first_until_they_are_dropped_or_retried(self, world: World) -> None:
        dead = []
        for _ in range(3):
            dead.append(await _add(world))
            assert await world.jobs.fail(await _claim(world), replace(FAILED, is_dead_letter=True))
        await _add(world)
        assert await world.jobs.fail(await _claim(world), FAILED)
        assert [job.id for job in await world.jobs.dead_letters(limit=9)] == dead[::-1]
        assert [job.id for job in await world.jobs.dead_letters(limit=2)] == dead[:0:-1]
        newest = await world.jobs.get(dead[2])
        assert newest.finished_at is not None
        before = (newest.finished_at, newest.id)
        assert [job.id for job in await world.jobs.dead_letters(limit=1, before=before)] == [dead[1]]
        assert await world.jobs.drop_dead_letter(dead[0])
        assert not await world.jobs.drop_dead_letter(dead[0])
        assert (await world.jobs.get(dead[0])).status is JobStatus.failed
        assert not (await world.jobs.retry(dead[1], again=Again())).is_dead_letter
        assert [job.id for job in await world.jobs.dead_letters(limit=9)] == [dead[2]]
        assert not await world.jobs.drop_dead_letter("nobody")

    async def test_a_job_whose_last_worker_was_lost_is_a_dead_letter(self, world: World) -> None:
        job_id = await _add(world)
        claim = await _claim(world, lease_seconds=0.0)
        assert await world.jobs.end_exhausted({TIER: 1}) == []
        assert await world.jobs.end_exhausted({"audio_large": 0}) == []
        [job] = await world.jobs.end_exhausted({TIER: 0, "audio_large": 5})
        assert job == await world.jobs.get(job_id)
        assert (job.status, job.error_code, job.is_dead_letter) == (JobStatus.failed, "worker_lost", True)
        assert job.error_message
        assert job.finished_at is not None
        assert (job.lease_owner, job.lease_expires_at) == (None, None)
        assert await world.jobs.end_exhausted({TIER: 0}) == []
        assert not await world.jobs.complete(claim, COMPLETED)
        assert await _ends(world, job_id) == [AttemptEnd.lost]

    async def test_a_job_whose_worker_still_beats_or_that_waits_is_not_ended(self, world: World) -> None:
        await _add(world)
        claim = await _claim(world)
        assert await world.jobs.end_exhausted({TIER: 0}) == []
        assert await world.jobs.release(claim, delay_seconds=0.0, reason=RETRIED)
        assert await world.jobs.end_exhausted({TIER: 0}) == []

    async def test_of_many_sweeps_at_once_one_ends_a_job(self, world: World) -> None:
        added = {await _add(world) for _ in range(6)}
        for _ in added:
            await _claim(world)
        for job_id in added:
            await world.overwrite(job_id, lease_expires_at=datetime.now(UTC) - timedelta(seconds=1))
        swept = await asyncio.gather(*(world.jobs.end_exhausted({TIER: 0}) for _ in range(4)))
        assert sorted(job.id for jobs in swept for job in jobs) == sorted(added)

    async def test_an_end_is_unannounced_until_somebody_says_it_is_not(self, world: World) -> None:
        ended = []
        for end in ("complete", "fail", "cancel"):
            claim = await _claim_of(world, await _add(world))
            assert await _end(world, end, claim)
            ended.append(claim.job_id)
        ended.append(await _add(world))
        await _claim(world, lease_seconds=0.0)
        await world.jobs.end_exhausted({TIER: 0})
        await _add(world)
        assert [job.id for job in await world.jobs.unannounced(seconds=0.0, limit=9)] == ended
        assert [job.id for job in await world.jobs.unannounced(seconds=0.0, limit=2)] == ended[:2]
        assert await world.jobs.unannounced(seconds=60.0, limit=9) == []
        before = [await world.jobs.get(job_id) for job_id in ended]
        await world.jobs.mark_announced([*ended[1:], "nobody"])
        await world.jobs.mark_announced([])
        assert [job.id for job in await world.jobs.unannounced(seconds=0.0, limit=9)] == ended[:1]
        assert [await world.jobs.get(job_id) for job_id in ended] == before

    async def test_a_retry_forgets_that_the_end_was_announced(self, world: World) -> None:
        job_id = await _add(world)
        await world.jobs.cancel(job_id)
        await world.jobs.mark_announced([job_id])
        await world.jobs.retry(job_id, again=Again())
        assert await world.jobs.unannounced(seconds=0.0, limit=9) == []
        await world.jobs.mark_announced([job_id])  # late news of the first end
        await world.jobs.cancel(job_id)
        assert [job.id for job in await world.jobs.unannounced(seconds=0.0, limit=9)] == [job_id]

    @pytest.mark.parametrize("end", ["complete", "fail", "cancel", "lost"])
    async def test_a_job_expires_so_long_after_its_end(self, world: World, end: str) -> None:
        job_id = await _add(world, expires_in_seconds=60)
        claim = await _claim(world, lease_seconds=0.0)
        assert (await world.jobs.get(job_id)).expires_at is None
        if end == "lost":
            assert await world.jobs.end_exhausted({TIER: 0})
        else:
            assert await _end(world, end, claim)
        job = await world.jobs.get(job_id)
        assert job.finished_at is not None
        assert job.expires_at == job.finished_at + timedelta(seconds=60)

    async def test_a_job_that_nobody_gave_a_time_never_expires(self, world: World) -> None:
        job_id = await _add(world)
        assert (await world.jobs.cancel(job_id)).expires_at is None

    async def test_a_retried_job_expires_after_its_next_end(self, world: World) -> None:
        job_id = await _add(world, expires_in_seconds=60)
        await world.jobs.cancel(job_id)
        assert (await world.jobs.retry(job_id, again=Again())).expires_at is None
        job = await world.jobs.cancel(job_id)
        assert job.finished_at is not None
        assert job.expires_at == job.finished_at + timedelta(seconds=60)

    async def test_jobs_that_are_over_expire(self, world: World) -> None:
        past, soon = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
        expiring = [await _add(world, object_key=f"k{number}") for number in range(3)]
        staying = [await _add(world) for _ in range(2)]
        for job_id in (*expiring, *staying):
            await world.jobs.cancel(job_id)
        for job_id, minutes in zip(expiring, (0, -2, -1), strict=True):
            await world.overwrite(job_id, expires_at=past + timedelta(minutes=minutes))
        await world.overwrite(staying[0], expires_at=soon)
        staying.append(await _add(world))
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment()))
        await world.overwrite(staying[-1], expires_at=past)  # which nothing does to a job that is at work

        assert await world.jobs.delete_expired(limit=1) == {expiring[1]: "k1"}
        assert await world.jobs.delete_expired(limit=9) == {expiring[2]: "k2", expiring[0]: "k0"}
        assert await world.jobs.delete_expired(limit=9) == {}
        assert {job.id for job in await world.jobs.find(JobQuery(), limit=9)} == set(staying)

    async def test_an_expired_job_is_gone_with_all_it_had(self, world: World) -> None:
        job_id = await _add(world, expires_in_seconds=0)
        claim = await _claim(world)
        assert await world.jobs.record(claim, make_chunk(make_segment()))
        assert await world.jobs.complete(claim, COMPLETED)
        assert list(await world.jobs.delete_expired(limit=9)) == [job_id]
        with pytest.raises(JobNotFoundError):
            await world.jobs.get(job_id)
        assert (await world.jobs.segments(job_id), await world.jobs.attempts(job_id)) == ([], [])
        assert await world.jobs.unannounced(seconds=0.0, limit=9) == []

    async def test_a_job_is_retried_or_expires_and_never_both(self, world: World) -> None:
        for _ in range(12):
            job_id = await _add(world, expires_in_seconds=0)
            await world.jobs.cancel(job_id)
            retried, *deleted = await asyncio.gather(
                world.jobs.retry(job_id, again=Again()),
                *(world.jobs.delete_expired(limit=9) for _ in range(3)),
                return_exceptions=True,
            )
            is_deleted = [job_id in found for found in deleted if isinstance(found, dict)]
            assert len(is_deleted) == 3
            if isinstance(retried, JobNotFoundError):
                assert sorted(is_deleted) == [False, False, True]
            else:
                assert not any(is_deleted)
                assert (await world.jobs.get(job_id)).status is JobStatus.pending

    @pytest.mark.parametrize(
        ("completed_seconds", "retryable_seconds", "kept"),
        [
            (0.0, None, {"failed", "cancelled"}),
            (None, 0.0, {"completed"}),
            (None, None, {"completed", "failed", "cancelled"}),
            (0.0, 3_000.0, set[str]()),
            (4_000.0, 4_000.0, {"completed", "failed", "cancelled"}),
        ],
    )
    async def test_objects_are_needed_by_jobs_that_are_not_over_and_by_others_as_long_as_is_said(
        self, world: World, completed_seconds: float | None, retryable_seconds: float | None, kept: set[str]
    ) -> None:
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        for status in JobStatus:
            job_id = await _add(world, object_key=status.value)
            await world.overwrite(job_id, status=status, finished_at=hour_ago if status.is_terminal else None)
            expired_id = await _add(world, object_key=f"expired {status.value}")
            await world.overwrite(expired_id, status=status, finished_at=hour_ago, expires_at=hour_ago)
        unfinished = {"pending", "processing", "expired pending", "expired processing"}
        asked = [*JobStatus, *(f"expired {status.value}" for status in JobStatus), "nobody's", "\0"]
        retention = Retention(completed_seconds=completed_seconds, retryable_seconds=retryable_seconds)
        assert await world.jobs.needed_objects(asked, retention=retention) == unfinished | kept
        assert await world.jobs.needed_objects([], retention=retention) == set()

    async def test_an_object_is_needed_as_long_as_the_last_of_its_jobs_needs_it(self, world: World) -> None:
        retention = Retention(completed_seconds=0.0, retryable_seconds=None)
        first, second = await _add(world, object_key="k"), await _add(world, object_key="k", tier="audio_large")
        assert await world.jobs.complete(await _claim_of(world, first), COMPLETED)
        assert await world.jobs.needed_objects(["k"], retention=retention) == {"k"}
        await world.jobs.delete(second)
        assert await world.jobs.needed_objects(["k"], retention=retention) == set()

    async def test_there_are_ends_to_bring_about_or_to_tell_until_somebody_did_so(self, world: World) -> None:
        retries = {TIER: 0}
        assert not await world.jobs.has_ends(retries, seconds=-1)
        await _add(world, deadline=datetime.now(UTC) - timedelta(seconds=1))
        assert await world.jobs.has_ends(retries, seconds=60)
        [late] = await world.jobs.end_late(limit=1)
        assert not await world.jobs.has_ends(retries, seconds=60)
        assert await world.jobs.has_ends(retries, seconds=-1)
        await world.jobs.mark_announced([late.id])
        assert not await world.jobs.has_ends(retries, seconds=-1)
        await _add(world)
        assert await world.jobs.claim(TIER, owner="lost", lease_seconds=-1)
        assert await world.jobs.has_ends(retries, seconds=60)
        assert not await world.jobs.has_ends({TIER: 1}, seconds=60)

    async def test_one_at_a_time_works_exclusively(self, world: World) -> None:
        async with world.jobs.exclusively("sweep") as first, world.jobs.exclusively("sweep") as second:
            assert (first, second) == (True, False)
            async with world.jobs.exclusively("other") as other:
                assert other
            async with world.jobs.exclusively("sweep") as third:
                assert not third
        with pytest.raises(ZeroDivisionError):
            await _fail_exclusively(world)
        async with world.jobs.exclusively("sweep") as afterwards:
            assert afterwards

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
    return Claim(job_id=job.id, token=job.claims)


async def _claim_of(world: World, job_id: str) -> Claim:
    claim = await _claim(world)
    assert claim.job_id == job_id
    return claim


async def _claimed_in_turn(world: World, count: int) -> list[str | None]:
    claims = [await world.jobs.claim(TIER, owner="w", lease_seconds=HOUR_SECONDS) for _ in range(count)]
    return [job and job.id for job in claims]


async def _ends(world: World, job_id: str) -> list[AttemptEnd | None]:
    return [record.end for record in await world.jobs.attempts(job_id)]


async def _end(world: World, end: str, claim: Claim) -> bool:
    if end == "cancel":
        return (await world.jobs.cancel(claim.job_id)).status is JobStatus.cancelled
    return await _move(world, end, claim)


async def _fail_exclusively(world: World) -> None:
    async with world.jobs.exclusively("sweep") as is_ours:
        assert is_ours
        _ = 1 / 0


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
            return await world.jobs.release(claim, delay_seconds=0.0, reason=HANDED_BACK)


async def _assert_refused(world: World, move: str, claim: Claim) -> None:
    before = await world.jobs.get(claim.job_id)
    assert not await _move(world, move, claim)
    assert await world.jobs.get(claim.job_id) == before
    assert await world.jobs.segments(claim.job_id) == []
