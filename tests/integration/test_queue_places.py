"""How many jobs are ahead of one that waits, as clients are told over HTTP and live."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

import media
from audio_text.bootstrap import open_resources
from audio_text.domain.job import JobStatus
from audio_text.settings import Settings
from factories import make_job
from services.api import Api, api_process, in_one_task
from services.live import Worker, streaming

SECONDS = 2.0


@pytest.fixture
async def worker(api_settings: Settings) -> AsyncIterator[Worker]:
    async with in_one_task(open_resources(api_settings, name="test", live=False)) as resources:
        yield Worker(resources)


async def submitted(api: Api, **options: object) -> str:
    return (await api.submit("talk.wav", media.wav(SECONDS), model="demo", **options))["id"]


async def place(api: Api, job_id: str) -> tuple[int | None, float | None]:
    job = (await api.client.get(f"/api/v1/job/status/{job_id}")).raise_for_status().json()
    return job["queue_position"], job["eta_seconds"]


async def test_a_job_that_waits_is_told_its_place_where_it_is_read_and_in_lists(api: Api) -> None:
    api.services.backlog.refresh_seconds = 0.0
    first, second, urgent = await submitted(api), await submitted(api), await submitted(api, priority="high")
    assert [await place(api, job_id) for job_id in (urgent, first, second)] == [(0, None), (1, None), (2, None)]
    await api.client.post(f"/api/v1/job/{urgent}/cancel")
    listed = (await api.client.get("/api/v1/job/read")).json()
    assert {job["id"]: job["queue_position"] for job in listed} == {first: 0, second: 1, urgent: None}


async def test_a_job_is_told_its_place_at_once_even_if_others_have_just_asked(api: Api) -> None:
    for number in range(5):
        assert await place(api, await submitted(api)) == (number, None)


async def test_the_time_until_a_job_is_begun_is_estimated_from_the_audio_ahead(api: Api) -> None:
    api.services.backlog.refresh_seconds = 0.0
    now = datetime.now(UTC)
    jobs = api.services.resources.jobs
    await jobs.add(make_job(status=JobStatus.completed, finished_at=now, duration=100.0, processing_time_seconds=50.0))
    await jobs.add(
        make_job(status=JobStatus.processing, lease_expires_at=now + timedelta(hours=1), duration=60.0, position=20.0)
    )
    first, second = await submitted(api), await submitted(api)
    assert await place(api, first) == (0, 20.0)
    assert await place(api, second) == (1, 20.0 + SECONDS / 2)


async def test_followers_are_told_when_a_job_moves_up(api_settings: Settings, tmp_path: Path, worker: Worker) -> None:
    settings = replace(api_settings, events=replace(api_settings.events, position_seconds=0.1))
    first = await worker.submitted()
    second = make_job(tier=first.tier)
    await worker.jobs.add(second)
    with api_process(settings, tmp_path) as server:
        async with streaming(server, second.id) as one, streaming(server, first.id, second.id) as both:
            assert (await one.next())["queue_position"] == 1
            assert {(await both.next())["queue_position"] for _ in range(2)} == {0, 1}
            claim = await worker.claim(first)
            moved = await one.next()
            assert (moved["status"], moved["queue_position"]) == ("pending", 0)
            events = [await both.next() for _ in range(2)]
            assert {(event["job_id"], event.get("queue_position")) for event in events} == {
                (first.id, None),
                (second.id, 0),
            }
            assert await worker.jobs.get(claim.job_id)
            async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
                (await client.post(f"/api/v1/job/{second.id}/cancel")).raise_for_status()
            assert "queue_position" not in (await one.rest())[-1]
