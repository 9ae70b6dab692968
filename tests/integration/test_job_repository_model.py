"""Any sequence of moves, by workers that may be late or gone, ends alike in PostgreSQL and in the fake."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from audio_text.adapters.database import PooledEngine, open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.adapters.rows import RANKS
from audio_text.domain.job import (
    LEGAL_TRANSITIONS,
    AttemptEnd,
    AttemptRecord,
    Completed,
    Failed,
    Job,
    JobStatus,
    Priority,
    Retention,
)
from audio_text.domain.listing import JobQuery
from audio_text.domain.options import TranscriptionOptions
from audio_text.errors import AudioTextError
from audio_text.ports import Again, Claim, JobRepository, Released
from factories import make_chunk, make_job, make_segment
from fakes.repository import FakeJobRepository
from services.database import Database

TIERS = ("audio_small", "audio_large")
START = datetime(2026, 1, 1, tzinfo=UTC)
SOON_SECONDS = 3_600.0
OWNERS = (None, "a", "b")
MOST_JOBS = 5
"""Few, so that most moves meet a job that has a past."""

RETENTIONS = [
    Retention(completed_seconds=None, retryable_seconds=0),
    Retention(completed_seconds=0, retryable_seconds=None),
]
CLOCK_FIELDS = (
    "expires_at",
    "update_date",
    "available_at",
    "lease_expires_at",
    "started_at",
    "finished_at",
    "ended_at",
)
RELEASED = [
    Released(end=AttemptEnd.handed_back),
    Released(end=AttemptEnd.retried, error_code="c", error_message="m"),
]
AGAIN = [
    Again(),
    Again(tier=TIERS[1]),
    Again(whisper_model="large-v3"),
    Again(options=TranscriptionOptions(language="de")),
]

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class JobMachine(RuleBasedStateMachine):
    """Every rule is done to both; claims are kept for ever, so that most of them are stale."""

    def __init__(self, engine: PooledEngine, run: Run) -> None:
        super().__init__()
        self._engine = engine
        self._run = run
        self._fake = FakeJobRepository()
        self._real = PiccoloJobRepository(engine)
        self._claims: list[Claim] = []
        self._numbers = count()
        self._seen: dict[str, JobStatus] = {}
        run(engine.pool.execute("TRUNCATE transcription_job CASCADE"))

    @precondition(lambda self: len(self._fake.jobs) < MOST_JOBS)
    @rule(
        tier=st.sampled_from(TIERS),
        is_early=st.booleans(),
        owner=st.sampled_from(OWNERS),
        priority=st.sampled_from(Priority),
        expires_in_seconds=st.sampled_from([None, 0, 3_600]),
    )
    def add(self, *, tier: str, is_early: bool, owner: str | None, priority: Priority, **fields: Any) -> None:
        number = next(self._numbers)
        job = make_job(
            id=f"job-{number}",
            tier=tier,
            available_at=datetime.now(UTC) + timedelta(seconds=SOON_SECONDS) if is_early else None,
            creation_date=START + timedelta(seconds=number),
            owner=owner,
            priority=priority,
            **fields,
        )
        self._both(lambda jobs: jobs.add(job))

    @rule(tier=st.sampled_from(TIERS), lease_seconds=st.sampled_from([0.0, SOON_SECONDS]))
    def claim(self, tier: str, lease_seconds: float) -> None:
        job = self._both(lambda jobs: jobs.claim(tier, owner="w", lease_seconds=lease_seconds))
        if job is not None:
            self._claims.append(Claim(job_id=job.id, token=job.claims))

    @rule(tier=st.sampled_from(TIERS), workers=st.integers(2, 5))
    def claim_at_once(self, tier: str, workers: int) -> None:
        waiting = {job.id for job in self._fake.waiting(tier)}
        claims = [self._real.claim(tier, owner="w", lease_seconds=SOON_SECONDS) for _ in range(workers)]
        taken = [job for job in self._run(_together(claims)) if job]
        assert len({job.id for job in taken} & waiting) == len(taken) == min(workers, len(waiting))
        # In what order owners are served depends on what each sees of the others' claims: the fake follows.
        followed = [self._fake.take(self._fake.jobs[job.id], owner="w", lease_seconds=SOON_SECONDS) for job in taken]
        assert _timeless(followed) == _timeless(taken)
        left = [RANKS[job.priority] for job in self._fake.waiting(tier)]
        assert max(left, default=-1) <= min((RANKS[job.priority] for job in taken), default=1)
        self._claims += [Claim(job_id=job.id, token=job.claims) for job in taken]

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), lease_seconds=st.sampled_from([0.0, SOON_SECONDS]))
    def extend_lease(self, data: st.DataObject, lease_seconds: float) -> None:
        claim = self._a_claim(data)
        self._both(lambda jobs: jobs.extend_lease(claim, lease_seconds=lease_seconds))

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), first=st.integers(0, 4), length=st.integers(0, 3))
    def record(self, data: st.DataObject, first: int, length: int) -> None:
        claim = self._a_claim(data)
        text = f"{next(self._numbers)}"
        chunk = make_chunk(*(make_segment(number, text=text) for number in range(first, first + length)))
        self._both(lambda jobs: jobs.record(claim, chunk))

    @precondition(lambda self: self._claims)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        claim = self._a_claim(data)
        outcome = Completed(
            result_text="x",
            duration=4.0,
            duration_after_vad=3.0,
            processing_time_seconds=1.0,
            language="en",
            language_probability=0.5,
        )
        self._both(lambda jobs: jobs.complete(claim, outcome))

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), is_dead_letter=st.booleans())
    def fail(self, data: st.DataObject, is_dead_letter: bool) -> None:  # noqa: FBT001 -- drawn by name
        claim = self._a_claim(data)
        outcome = Failed(error_code="c", error_message="m", processing_time_seconds=1.0, is_dead_letter=is_dead_letter)
        self._both(lambda jobs: jobs.fail(claim, outcome))

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), delay_seconds=st.sampled_from([0.0, SOON_SECONDS]), reason=st.sampled_from(RELEASED))
    def release(self, data: st.DataObject, delay_seconds: float, reason: Released) -> None:
        claim = self._a_claim(data)
        self._both(lambda jobs: jobs.release(claim, delay_seconds=delay_seconds, reason=reason))

    @precondition(lambda self: self._fake.jobs)
    @rule(data=st.data(), callers=st.integers(1, 3))
    def cancel(self, data: st.DataObject, callers: int) -> None:
        job_id = self._a_job(data)
        real = self._run(_together([_outcome(self._real.cancel(job_id)) for _ in range(callers)]))
        fake = [self._run(_outcome(self._fake.cancel(job_id))) for _ in range(callers)]
        assert _timeless(real) == _timeless(fake)

    @precondition(lambda self: self._fake.jobs)
    @rule(data=st.data(), again=st.sampled_from(AGAIN))
    def retry(self, data: st.DataObject, again: Again) -> None:
        job_id = self._a_job(data)
        before = self._fake.jobs[job_id].status
        self._both(lambda jobs: jobs.retry(job_id, again=again))
        if before in {JobStatus.failed, JobStatus.cancelled}:
            self._seen[job_id] = JobStatus.pending

    @precondition(lambda self: self._fake.jobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = self._a_job(data)
        self._both(lambda jobs: jobs.delete(job_id))

    @precondition(lambda self: any(job.expires_at for job in self._fake.jobs.values()))
    @rule(limit=st.integers(1, 2))
    def delete_expired(self, limit: int) -> None:
        self._both(lambda jobs: jobs.delete_expired(limit=limit))

    @precondition(lambda self: self._fake.jobs)
    @rule(data=st.data())
    def drop_dead_letter(self, data: st.DataObject) -> None:
        job_id = self._a_job(data)
        self._both(lambda jobs: jobs.drop_dead_letter(job_id))

    @rule(retries=st.dictionaries(st.sampled_from(TIERS), st.integers(0, 2)))
    def end_exhausted(self, retries: dict[str, int]) -> None:
        self._both(lambda jobs: jobs.end_exhausted(retries))

    @precondition(lambda self: self._fake.jobs)
    @rule(data=st.data())
    def mark_announced(self, data: st.DataObject) -> None:
        job_ids = data.draw(st.lists(st.sampled_from(list(self._fake.jobs)), unique=True))
        self._both(lambda jobs: jobs.mark_announced(job_ids))

    @invariant()
    def both_tell_the_same(self) -> None:
        jobs = self._both(lambda jobs: jobs.find(JobQuery(), limit=1_000))
        for job in jobs:
            self._both(lambda jobs, job_id=job.id: jobs.segments(job_id))
            self._both(lambda jobs, job_id=job.id: jobs.attempts(job_id))
        self._both(lambda jobs: jobs.dead_letters(limit=1_000))
        self._both(lambda jobs: jobs.unannounced(seconds=0.0, limit=1_000))
        keys = [job.object_key for job in jobs]
        for retention in RETENTIONS:
            self._both(lambda jobs, retention=retention: jobs.needed_objects(keys, retention=retention))

    @invariant()
    def every_move_is_legal(self) -> None:
        for job in self._fake.jobs.values():
            before = self._seen.get(job.id, JobStatus.pending)
            assert job.status is before or job.status in LEGAL_TRANSITIONS[before]
            self._seen[job.id] = job.status

    @invariant()
    def a_token_never_comes_back_and_the_records_tell_who_is_at_work(self) -> None:
        assert len(set(self._claims)) == len(self._claims)
        for job in self._fake.jobs.values():
            records = self._run(self._real.attempts(job.id))
            assert [record.claim for record in records] == list(range(1, job.claims + 1))
            is_running = job.status is JobStatus.processing
            assert [record.claim for record in records if record.end is None] == [job.claims] * is_running
            assert job.claims >= job.attempt
            assert (job.lease_owner is not None) == (job.lease_expires_at is not None) == is_running

    def _a_claim(self, data: st.DataObject) -> Claim:
        return data.draw(st.sampled_from(self._claims[::-1]))  # the newest first: what is tried most

    def _a_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self._fake.jobs)))

    def _both(self, use: Callable[[JobRepository], Coroutine[Any, Any, Any]]) -> Any:
        real, fake = (self._run(_outcome(use(jobs))) for jobs in (self._real, self._fake))
        assert _timeless(real) == _timeless(fake)
        return fake


@pytest.fixture
async def engine(database: Database) -> Any:
    async with open_database(database.settings, database.password, application_name="test") as opened:
        yield opened


async def test_the_fake_and_the_table_never_disagree(engine: PooledEngine) -> None:
    loop = asyncio.get_running_loop()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=30)

    thorough = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    await asyncio.to_thread(run_state_machine_as_test, lambda: JobMachine(engine, run), settings=thorough)


async def _together(uses: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    return list(await asyncio.gather(*uses))


async def _outcome(use: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await use
    except AudioTextError as error:
        return type(error), error.detail


def _timeless(value: object) -> object:
    """Each side has its own clock: only whether a time is set must agree."""
    if isinstance(value, Job | AttemptRecord):
        times = [name for name in CLOCK_FIELDS if name in value.__struct_fields__]
        return replace(value, **{name: getattr(value, name) is not None for name in times})
    return [_timeless(item) for item in value] if isinstance(value, list) else value
