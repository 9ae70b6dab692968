"""Dead letters over HTTP: who may look, and what an operator can do, against a real database, queue and store."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

import media
from audio_text.domain.job import AttemptEnd, Failed, JobStatus
from audio_text.ports import Claim, Released
from audio_text.settings import Settings
from factories import make_job
from services.api import Api, in_one_task, running

TOKEN = "the operator's token, ü"
PATH = "/api/v1/dead-letters"
UNKNOWN = f"{PATH}/6d8b1f6e-0000-4000-8000-000000000000"
FULL = Failed(error_code="out_of_memory", error_message="Full.", processing_time_seconds=0.1, is_dead_letter=True)


@pytest.fixture
async def api(api_settings: Settings) -> AsyncIterator[Api]:
    settings = replace(api_settings, secrets=replace(api_settings.secrets, operator_token=TOKEN))
    async with in_one_task(running(settings)) as api:
        yield api


async def ask(api: Api, method: str, path: str, authorization: bytes | None = None) -> Any:
    given = f"Bearer {TOKEN}".encode() if authorization is None else authorization
    return await api.client.request(method, path, headers={b"Authorization": given})


async def die(api: Api) -> str:
    """A job whose first attempt was retried, and whose second was its last."""
    job_id = (await api.submit("talk.wav", media.wav(), model="demo"))["id"]
    jobs = api.services.resources.jobs
    for number in (1, 2):
        claimed = await jobs.claim("audio_small", owner=f"worker {number}", lease_seconds=60)
        assert claimed is not None
        claim = Claim(claimed.id, claimed.claims)
        if number == 1:
            reason = Released(end=AttemptEnd.retried, error_code="store_unavailable", error_message="Not just now.")
            assert await jobs.release(claim, delay_seconds=0.0, reason=reason)
    assert await jobs.fail(claim, FULL)
    return job_id


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"Basic " + TOKEN.encode(), TOKEN.encode(), b"Bearer \xff\xfe"],
)
async def test_whoever_has_not_the_token_is_told_how_to_send_it_and_nothing_else(
    api: Api, authorization: bytes
) -> None:
    job_id = await die(api)
    for method, path in (
        ("GET", PATH),
        ("GET", f"{PATH}?limit=0"),
        ("GET", f"{PATH}/{job_id}"),
        ("POST", f"{PATH}/{job_id}/requeue"),
        ("DELETE", f"{PATH}/{job_id}"),
        ("GET", UNKNOWN),
    ):
        answer = await ask(api, method, path, authorization)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert job_id not in answer.json()["detail"]
    assert (await api.services.resources.jobs.get(job_id)).is_dead_letter


async def test_without_a_token_in_the_settings_nobody_is_an_operator(api_settings: Settings) -> None:
    async with running(api_settings) as api:
        for authorization in (b"", b"Bearer ", f"Bearer {TOKEN}".encode()):
            answer = await ask(api, "GET", PATH, authorization)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_an_operator_sees_why_each_attempt_failed_and_on_which_worker(api: Api) -> None:
    job_id = await die(api)
    [listed] = (await ask(api, "GET", PATH)).raise_for_status().json()
    shown = (await ask(api, "GET", f"{PATH}/{job_id}", f"bearer  {TOKEN}".encode())).raise_for_status().json()
    assert shown["job"] == listed == (await api.client.get(f"/api/v1/job/status/{job_id}")).json()
    assert (listed["id"], listed["error_code"], listed["is_dead_letter"]) == (job_id, "out_of_memory", True)
    told = [(attempt["owner"], attempt["end"], attempt["error_code"]) for attempt in shown["attempts"]]
    assert told == [("worker 1", "retried", "store_unavailable"), ("worker 2", "failed", "out_of_memory")]


async def test_a_requeued_dead_letter_waits_again_and_is_off_the_list(api: Api) -> None:
    job_id = await die(api)
    answer = await ask(api, "POST", f"{PATH}/{job_id}/requeue")
    assert (answer.status_code, answer.json()["status"], answer.json()["attempt"]) == (200, "pending", 0)
    assert (await ask(api, "GET", PATH)).json() == []
    assert await api.services.resources.queue.depth("audio_small") > 0


async def test_a_dropped_dead_letter_is_off_the_list_and_stays_failed(api: Api) -> None:
    job_id = await die(api)
    answer = await ask(api, "DELETE", f"{PATH}/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await ask(api, "GET", PATH)).json() == []
    job = await api.services.resources.jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.failed, "out_of_memory")


async def test_what_is_no_dead_letter_is_left_alone(api: Api) -> None:
    job_id = (await api.submit("talk.wav", media.wav(), model="demo"))["id"]
    for method, path in (("GET", ""), ("POST", "/requeue"), ("DELETE", "")):
        answer = await ask(api, method, f"{PATH}/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_state")
        assert "pending" in answer.json()["detail"]
        for unknown in (UNKNOWN, f"{PATH}/%00"):
            answer = await ask(api, method, f"{unknown}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_a_dead_letter_whose_recording_is_gone_stays_on_the_list(api: Api) -> None:
    job_id = await die(api)
    job = await api.services.resources.jobs.get(job_id)
    await api.services.resources.store.delete(job.object_key)
    answer = await ask(api, "POST", f"{PATH}/{job_id}/requeue")
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_missing")
    assert [job["id"] for job in (await ask(api, "GET", PATH)).json()] == [job_id]


async def test_the_list_is_read_a_page_at_a_time_without_gap_or_repeat(api: Api) -> None:
    now = datetime.now(UTC)
    ids = []
    for number in range(5):  # two of them ended at the same moment
        ended = now - timedelta(seconds=max(number, 1))
        job = make_job(id=f"job-{9 - number}", status=JobStatus.failed, is_dead_letter=True, finished_at=ended)
        await api.services.resources.jobs.add(job)
        ids.append(job.id)
    found, path, pages = [], f"{PATH}?limit=2", 0
    while path:
        answer = await ask(api, "GET", path)
        found += [job["id"] for job in answer.raise_for_status().json()]
        path = answer.links.get("next", {}).get("url")
        pages += 1
    assert (found, pages) == (ids, 3)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "cursor=MjAzMC0wMS0wMSAx"])
async def test_a_page_that_cannot_be_is_a_bad_request(api: Api, query: str) -> None:
    answer = await ask(api, "GET", f"{PATH}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_a_page_is_never_longer_than_the_service_allows(api_settings: Settings) -> None:
    settings = replace(
        api_settings,
        secrets=replace(api_settings.secrets, operator_token=TOKEN),
        job=replace(api_settings.job, list_limit=2),
    )
    async with running(settings) as api:
        for _ in range(3):
            job = make_job(status=JobStatus.failed, is_dead_letter=True, finished_at=datetime.now(UTC))
            await api.services.resources.jobs.add(job)
        assert len((await ask(api, "GET", f"{PATH}?limit=1000")).json()) == 2


async def test_the_document_says_that_these_routes_take_a_token(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    guarded = {path: methods for path, methods in document["paths"].items() if path.startswith(PATH)}
    assert len(guarded) == 3
    for methods in guarded.values():
        for operation in methods.values():
            assert operation["security"] == [{"key": ["admin"]}]
            assert {"401", "403", "503"} <= operation["responses"].keys()
