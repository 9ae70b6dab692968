"""Classes of priority, from the submission to the claims of two workers that know nothing of each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

import media
from audio_text.adapters.database import open_database
from audio_text.adapters.repository import PiccoloJobRepository
from services.api import Api

TIER = "audio_small"


@pytest.fixture
async def workers(api: Api) -> AsyncIterator[list[PiccoloJobRepository]]:
    """Two repositories that share nothing but the database, as those of two processes do."""
    password = api.settings.secrets.database_password
    async with AsyncExitStack() as stack:
        yield [
            PiccoloJobRepository(
                await stack.enter_async_context(
                    open_database(api.settings.database, password, application_name=f"worker {number}")
                )
            )
            for number in range(2)
        ]


async def claim_at_once(workers: list[PiccoloJobRepository]) -> set[str | None]:
    claims = [worker.claim(TIER, owner=f"worker {number}", lease_seconds=60) for number, worker in enumerate(workers)]
    return {job and job.id for job in await asyncio.gather(*claims)}


async def test_jobs_that_are_urgent_are_begun_before_those_that_came_earlier(
    api: Api, workers: list[PiccoloJobRepository]
) -> None:
    submitted = [
        (priority, (await api.submit("talk.wav", media.wav(), model="demo", priority=priority))["id"])
        for priority in ("low", "normal", None, "high", "normal", "high", "low")
    ]
    low, normal, high = (
        [job_id for asked, job_id in submitted if (asked or "normal") == priority]
        for priority in ("low", "normal", "high")
    )
    assert await claim_at_once(workers) == set(high)
    assert await claim_at_once(workers) == set(normal[:2])
    assert await claim_at_once(workers) == {normal[2], low[0]}
    assert await claim_at_once(workers) == {low[1], None}


async def test_a_job_tells_its_priority_and_is_a_normal_one_unless_it_says_otherwise(api: Api) -> None:
    assert (await api.submit("talk.wav", media.wav(), model="demo"))["priority"] == "normal"
    job = await api.submit("talk.wav", media.wav(), model="demo", priority="low")
    assert (await api.client.get(f"/api/v1/job/status/{job['id']}")).json()["priority"] == job["priority"] == "low"


@pytest.mark.parametrize("priority", ["urgent", "", 1, True])
async def test_a_priority_that_does_not_exist_is_a_bad_request(api: Api, priority: object) -> None:
    url = await api.upload("talk.wav", media.wav())
    body = {"filename": "talk.wav", "url": url, "priority": priority}
    answer = await api.client.post("/api/v1/job/transcribe", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["errors"][0]["field"] == "priority"
    assert (await api.client.get("/api/v1/job/read")).json() == []


async def test_who_submitted_a_job_is_not_shown(api: Api) -> None:
    assert "owner" not in await api.submit("talk.wav", media.wav(), model="demo")
