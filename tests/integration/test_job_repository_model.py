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
from audio_text.domain.job import LEGAL_TRANSITIONS, Completed, Failed, Job, JobStatus
from audio_text.ports import Claim, JobRepository
from factories import make_chunk, make_job, make_segment
from fakes.repository import FakeJobRepository
from services.database import Database

TIERS = ("audio_small", "audio_large")
START = datetime(2026, 1, 1, tzinfo=UTC)
SOON_SECONDS = 3_600.0
CLOCK_FIELDS = ("update_date", "available_at", "lease_expires_at", "started_at", "finished_at")

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

    @rule(tier=st.sampled_from(TIERS), is_early=st.booleans())
    def add(self, tier: str, is_early: bool) -> None:  # noqa: FBT001 -- drawn by name
        number = next(self._numbers)
        available_at = datetime.now(UTC) + timedelta(seconds=SOON_SECONDS) if is_early else None
        date = START + timedelta(seconds=number)
        job = make_job(id=f"job-{number}", tier=tier, available_at=available_at, creation_date=date)
        self._both(lambda jobs: jobs.add(job))

    @rule(tier=st.sampled_from(TIERS), lease_seconds=st.sampled_from([0.0, SOON_SECONDS]))
    def claim(self, tier: str, lease_seconds: float) -> None:
        job = self._both(lambda jobs: jobs.claim(tier, owner="w", lease_seconds=lease_seconds))
        if job is not None:
            self._claims.append(Claim(job_id=job.id, attempt=job.attempt))

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
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        claim = self._a_claim(data)
        outcome = Failed(error_code="c", error_message="m", processing_time_seconds=1.0)
        self._both(lambda jobs: jobs.fail(claim, outcome))

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), delay_seconds=st.sampled_from([0.0, SOON_SECONDS]), spend_attempt=st.booleans())
    def release(self, data: st.DataObject, delay_seconds: float, spend_attempt: bool) -> None:  # noqa: FBT001 -- drawn
        claim = self._a_claim(data)
        self._both(lambda jobs: jobs.release(claim, delay_seconds=delay_seconds, spend_attempt=spend_attempt))

    @precondition(lambda self: self._fake.jobs)
    @rule(data=st.data())
    def ask_for_the_object(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self._fake.jobs.values())))
        self._both(lambda jobs: jobs.is_object_needed(job.object_key, besides="nobody"))

    @invariant()
    def both_tell_the_same(self) -> None:
        for job in self._both(lambda jobs: jobs.recent(limit=1_000)):
            self._both(lambda jobs, job_id=job.id: jobs.segments(job_id))

    @invariant()
    def every_move_is_legal(self) -> None:
        for job in self._fake.jobs.values():
            before = self._seen.get(job.id, JobStatus.pending)
            assert job.status is before or job.status in LEGAL_TRANSITIONS[before]
            self._seen[job.id] = job.status

    def _a_claim(self, data: st.DataObject) -> Claim:
        return data.draw(st.sampled_from(self._claims))

    def _both(self, use: Callable[[JobRepository], Coroutine[Any, Any, Any]]) -> Any:
        real, fake = self._run(use(self._real)), self._run(use(self._fake))
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


def _timeless(value: object) -> object:
    """Each side has its own clock: only whether a time is set must agree."""
    if isinstance(value, Job):
        return replace(value, **{name: getattr(value, name) is not None for name in CLOCK_FIELDS})
    return [_timeless(item) for item in value] if isinstance(value, list) else value
