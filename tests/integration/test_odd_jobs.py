"""Jobs that bring their worker down or do not let it go: real processes, database and queue, a model with a temper."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audio_text.domain.job import AttemptEnd, Completed, JobStatus
from audio_text.ports import Claim
from audio_text.settings import Settings
from audio_text.worker import run
from recordings import path_of
from services.api import Api
from services.waiting import until
from services.worker import ODD, WorkerProcess, worker_process

TIER = "audio_small"
AUDIO = path_of("memo_35s")
PLAIN = {"mode": "demo", "temperature": [0.0]}
RETRIES = {"tiers__audio_small__retry__retries": 2}

Start = Callable[..., Any]


def changed(settings: Settings, changes: Mapping[str, object]) -> Settings:
    raw: dict[str, Any] = msgspec.to_builtins(settings)
    for key, value in changes.items():
        *path, leaf = key.split(".")
        node = raw
        for name in path:
            node = node[name]
        node[leaf] = value
    return msgspec.convert(raw, Settings)


@pytest.fixture
def start(api: Api, tmp_path: Path) -> Start:
    """Start an odd worker with some settings changed; a context, for use in this loop."""
    return partial(started, api.settings, tmp_path)


@asynccontextmanager
async def started(settings: Settings, folder: Path, **changes: object) -> AsyncIterator[WorkerProcess]:
    defaults = {
        "engine.preload": ["demo"],
        "engine.cpu_threads": 1,
        "worker.lease_seconds": 3.0,
        f"tiers.{TIER}.concurrency": 1,
        "log.level": "info",
        "log.format": "json",
    }
    tier = {f"tiers.{TIER}.{key}": value for key, value in changes.items() if "__" not in key}
    others = {key.replace("__", "."): value for key, value in changes.items() if "__" in key}
    context = worker_process(changed(settings, defaults | tier | others), folder, TIER, script=ODD)
    worker = await asyncio.to_thread(context.__enter__)
    try:
        yield worker
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def submit(api: Api, **options: Any) -> str:
    data = await asyncio.to_thread(AUDIO.read_bytes)
    return (await api.submit("talk.wav", data, **PLAIN, **options))["id"]


async def stored(api: Api, job_id: str) -> None:
    async with asyncio.timeout(60):
        while not await api.services.resources.jobs.segments(job_id):
            await asyncio.sleep(0.02)


async def test_a_job_that_is_stuck_in_native_code_fails_at_its_limit_and_its_process_ends(
    api: Api, start: Start
) -> None:
    limits = {"soft_limit_seconds": 4.0, "hard_limit_seconds": 60.0, "concurrency": 2, "engine__stuck_seconds": 1.0}
    stuck = await submit(api, hotwords="hang")
    async with start(**limits) as worker:
        await stored(api, stuck)
        other = await submit(api)
        job = await api.ended(stuck)
        assert await asyncio.to_thread(worker.process.wait, 60) == run.STUCK

    assert (job.status, job.error_code) == (JobStatus.failed, "time_limit_exceeded")
    assert await api.services.resources.jobs.segments(stuck)
    assert (await api.ended(other)).status is JobStatus.completed


async def test_a_job_that_its_worker_cannot_stop_fails_at_its_hard_limit_with_the_process(
    api: Api, start: Start
) -> None:
    # a soft limit that never comes stands for an event loop that hangs
    stuck = await submit(api, hotwords="hang")
    async with start(soft_limit_seconds=1_000.0, hard_limit_seconds=5.0) as worker:
        assert await asyncio.to_thread(worker.process.wait, 60) == run.STUCK

    jobs = api.services.resources.jobs
    job = await jobs.get(stuck)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.failed, "time_limit_exceeded", 1)
    assert await jobs.segments(stuck)
    assert await jobs.unannounced(seconds=-1, limit=1) == []


async def test_the_time_of_a_stuck_job_grows_with_its_audio(api: Api, start: Start) -> None:
    limits = {"soft_limit_seconds": 1_000.0, "hard_limit_seconds": 0.1, "limit_per_audio_second": 0.1}
    stuck = await submit(api, hotwords="hang")
    async with start(**limits) as worker:
        assert await asyncio.to_thread(worker.process.wait, 60) == run.STUCK

    assert await api.services.resources.jobs.segments(stuck)


async def test_a_job_that_kills_its_workers_ends_as_a_dead_letter_while_others_are_done(api: Api, start: Start) -> None:
    poison = await submit(api, hotwords="die")
    others = [await submit(api) for _ in range(3)]
    deaths = 0
    while not (await api.services.resources.jobs.get(poison)).status.is_terminal:
        async with start(**RETRIES) as worker:
            await until(lambda: worker.process.poll() is not None or worker.logged("job_failed"))
            deaths += worker.process.poll() is not None

    job = await api.ended(poison)
    attempts = await api.services.resources.jobs.attempts(poison)
    assert (job.status, job.error_code, job.is_dead_letter) == (JobStatus.failed, "worker_lost", True)
    # who finds that the attempts are used up may have claimed the job for that
    assert [attempt.end for attempt in attempts[:3]] == [AttemptEnd.lost] * 3
    assert {attempt.error_code for attempt in attempts[3:]} <= {"worker_lost"}
    assert deaths == 3
    assert await api.services.resources.jobs.segments(poison)
    assert 0.0 < job.recomputed_seconds <= 3 * 30.0
    async with start(**RETRIES):
        for other in others:
            done = await api.ended(other)
            assert (done.status, done.attempt) == (JobStatus.completed, 1)


async def test_a_fault_of_the_gpu_ends_the_process_and_the_job_goes_on_in_another(api: Api, start: Start) -> None:
    job_id = await submit(api, hotwords="break")
    async with start() as worker:
        assert await asyncio.to_thread(worker.process.wait, 60) == run.BROKEN

    jobs = api.services.resources.jobs
    [record] = await jobs.attempts(job_id)
    assert (record.end, record.error_code) == (AttemptEnd.retried, "engine_broken")
    assert "illegal memory access" in str(record.error_message)
    assert (await jobs.get(job_id)).status is JobStatus.pending
    assert await jobs.segments(job_id)


async def test_threads_that_keep_python_busy_do_not_cost_the_lease(api: Api, start: Start) -> None:
    job_id = await submit(api, hotwords="spin")
    jobs = api.services.resources.jobs
    async with start():
        await stored(api, job_id)
        while not (await jobs.get(job_id)).status.is_terminal:
            assert await jobs.claim(TIER, owner="another", lease_seconds=60.0) is None
            await asyncio.sleep(0.05)

    job = await jobs.get(job_id)
    assert (job.status, job.attempt, job.recomputed_seconds) == (JobStatus.completed, 1, 0.0)


async def test_a_worker_that_could_not_run_python_for_longer_than_its_lease_changes_nothing(
    api: Api, start: Start
) -> None:
    job_id = await submit(api, hotwords="hold")
    jobs = api.services.resources.jobs
    async with start() as worker:
        await asyncio.to_thread(worker.wait_for, "job_claimed")
        async with asyncio.timeout(60):
            while not (taken := await jobs.claim(TIER, owner="another", lease_seconds=60.0)):
                await asyncio.sleep(0.05)
        before = await jobs.segments(job_id)
        outcome = Completed(
            result_text="Somebody else's.",
            duration=1.0,
            duration_after_vad=1.0,
            processing_time_seconds=1.0,
            language="en",
            language_probability=1.0,
        )
        assert await jobs.complete(Claim(job_id, taken.claims), outcome)
        await asyncio.to_thread(worker.wait_for, "job_left")

    job = await jobs.get(job_id)
    assert (job.status, job.result_text) == (JobStatus.completed, "Somebody else's.")
    assert await jobs.segments(job_id) == before
