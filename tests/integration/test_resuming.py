"""A job whose workers are killed on the way becomes what it would have been: real processes, kill -9, a real model."""

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from audio_text.domain.blocks import WINDOW_SECONDS
from audio_text.domain.job import AttemptEnd, Job, JobStatus
from recordings import conversation, write
from services.api import Api
from services.worker import worker_process

SEED = 11
KILLS = 3
CHOICES = {"mode": "demo", "language": "en", "temperature": [0.0], "condition_on_previous_text": True}


async def reached(api: Api, job_id: str, segments: int) -> None:
    async with asyncio.timeout(60):
        while len(await api.services.resources.jobs.segments(job_id)) < segments:
            await asyncio.sleep(0.005)


async def test_a_job_whose_workers_are_killed_becomes_what_its_undisturbed_twin_is(api: Api, tmp_path: Path) -> None:
    jobs = api.services.resources.jobs
    chance = random.Random(SEED)
    settings = msgspec.structs.replace(
        api.settings,
        engine=msgspec.structs.replace(api.settings.engine, preload=("demo",), cpu_threads=1),
        worker=msgspec.structs.replace(api.settings.worker, lease_seconds=3.0, default_concurrency=1),
    )
    samples = conversation(240, pauses=(0.5, 1.0)).samples
    recording = (await asyncio.to_thread(write, tmp_path / "talk.wav", samples)).read_bytes()
    twin = (await api.submit("talk.wav", recording, **CHOICES))["id"]
    with worker_process(settings, tmp_path, "audio_small"):
        expected = (await api.ended(twin), await jobs.segments(twin))

    job_id = (await api.submit("talk.wav", recording, **CHOICES))["id"]
    cuts: list[Job] = []
    stored = 0
    for number in range(KILLS):
        stored += chance.randrange(3, 12)
        with worker_process(settings, tmp_path, "audio_small", name=f"killed-{number}") as worker:
            await reached(api, job_id, stored)
            await asyncio.to_thread(worker.kill)
        cuts.append(await jobs.get(job_id))
        stored = len(await jobs.segments(job_id))
    with worker_process(settings, tmp_path, "audio_small", name="stopped") as worker:
        await reached(api, job_id, stored + 3)
        await asyncio.to_thread(worker.terminate)
    cuts.append(await jobs.get(job_id))
    with worker_process(settings, tmp_path, "audio_small", name="last"):
        job = await api.ended(job_id)

    segments = await jobs.segments(job_id)
    ends = [attempt.end for attempt in await jobs.attempts(job_id)]
    assert ends == [*[AttemptEnd.lost] * KILLS, AttemptEnd.handed_back, AttemptEnd.completed]
    assert (job.status, job.attempt) == (JobStatus.completed, KILLS + 1)
    assert 0 < job.recomputed_seconds <= KILLS * WINDOW_SECONDS
    assert cuts[-1].recomputed_seconds == job.recomputed_seconds  # stopping well costs nothing
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert segments == expected[1]
    assert (job.result_text, job.duration) == (expected[0].result_text, expected[0].duration)
    assert job.duration_after_vad == pytest.approx(expected[0].duration_after_vad)
