"""Requests that wait for their jobs: who leaves, who comes back, and who waits for too long."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from audio_text.settings import Settings
from recordings import path_of
from services.openai_service import Service, openai_service
from services.waiting import until
from services.worker import worker_process

SPEECH = path_of("two").read_bytes()
OTHER_SPEECH = path_of("one_a").read_bytes()
ADDRESS = "/audio/transcriptions"
RETRY = {"x-stainless-retry-count": "1"}


@pytest.fixture(scope="module")
def idle(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Nobody takes the jobs."""
    with openai_service(shared_api_settings, tmp_path_factory.mktemp("service"), works=False) as service:
        yield service


@pytest.fixture
async def client(idle: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=idle.base_url, timeout=60) as client:
        yield client


def form(**fields: str) -> dict[str, Any]:
    return {"files": {"file": ("two.flac", SPEECH)}, "data": {"model": "whisper-1"} | fields}


@asynccontextmanager
async def waiting(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, **fields: str
) -> AsyncIterator[Any]:
    """A request that goes on, as a task; the client leaves at the end."""
    async with asyncio.TaskGroup() as group:
        request = group.create_task(client.post(ADDRESS, headers=headers, **form(**fields)))
        yield request
        request.cancel()


async def job_of(idle: Service, request: "asyncio.Task[Any]", *, known: set[str]) -> str:
    """The id of the job that the request has led to."""
    found: set[str] = set()

    def is_there() -> bool:
        assert not request.done(), request
        found.update(ids(idle) - known)
        return bool(found)

    await until(is_there)
    return found.pop()


def ids(idle: Service) -> set[str]:
    return {str(job["id"]) for job in idle.jobs()}


def logged(idle: Service, event: str, job_id: str) -> bool:
    return any(line["job_id"] == job_id for line in idle.api.logged(event))


@pytest.mark.parametrize("fields", [{}, {"stream": "true"}], ids=["waiting", "streaming"])
async def test_the_job_of_a_client_that_leaves_is_cancelled(
    idle: Service, client: httpx.AsyncClient, fields: dict[str, str]
) -> None:
    known = ids(idle)
    async with waiting(client, **fields) as request:
        job_id = await job_of(idle, request, known=known)
    await until(lambda: idle.job(job_id)["status"] == "cancelled")
    await until(lambda: logged(idle, "job_abandoned", job_id))


async def test_a_job_goes_on_while_anybody_waits_for_it(idle: Service, client: httpx.AsyncClient) -> None:
    known = ids(idle)
    async with waiting(client) as first:
        job_id = await job_of(idle, first, known=known)
        async with waiting(client, RETRY):
            await until(lambda: logged(idle, "request_joined", job_id))
            first.cancel()
            await until(lambda: logged(idle, "job_still_awaited", job_id))
            assert idle.job(job_id)["status"] == "pending"
    await until(lambda: idle.job(job_id)["status"] == "cancelled")


async def test_a_client_that_tries_again_finds_its_job_and_nothing_is_stored_twice(
    idle: Service, client: httpx.AsyncClient
) -> None:
    known, stored = ids(idle), len(idle.stored())
    async with waiting(client, prompt="again") as first:
        job_id = await job_of(idle, first, known=known)
    async with waiting(client, RETRY, prompt="again"):
        await until(lambda: logged(idle, "request_joined", job_id))
        await until(lambda: len(idle.stored()) == stored + 1)
    assert ids(idle) == known | {job_id}


async def test_a_client_that_comes_back_late_has_its_cancelled_job_go_on(
    idle: Service, client: httpx.AsyncClient
) -> None:
    known = ids(idle)
    async with waiting(client, prompt="late") as first:
        job_id = await job_of(idle, first, known=known)
    await until(lambda: idle.job(job_id)["status"] == "cancelled")
    async with waiting(client, RETRY, prompt="late"):
        await until(lambda: idle.job(job_id)["status"] == "pending")


@pytest.mark.parametrize(
    ("headers", "fields", "speech"),
    [
        ({}, {}, SPEECH),
        (RETRY, {"prompt": "other words"}, SPEECH),
        (RETRY, {"model": "base"}, SPEECH),
        (RETRY | {"Authorization": "Bearer somebody else"}, {}, SPEECH),
        (RETRY, {}, OTHER_SPEECH),
    ],
    ids=["no retry", "other options", "other model", "somebody else", "other recording"],
)
async def test_whatever_is_not_the_same_request_again_is_a_job_of_its_own(
    idle: Service, client: httpx.AsyncClient, headers: dict[str, str], fields: dict[str, str], speech: bytes
) -> None:
    asynchronous = {"Prefer": "respond-async"}
    first = await client.post(ADDRESS, headers=asynchronous, **form())
    again = await client.post(ADDRESS, headers=asynchronous | RETRY, **form())
    assert again.json()["id"] == first.json()["id"]
    other = await client.post(
        ADDRESS,
        headers=asynchronous | headers,
        files={"file": ("two.flac", speech)},
        data={"model": "whisper-1"} | fields,
    )
    assert other.json()["id"] != first.json()["id"]


async def test_who_prefers_it_gets_the_job_at_once(idle: Service, client: httpx.AsyncClient) -> None:
    answer = await client.post(ADDRESS, headers={"Prefer": "wait=5, respond-async"}, **form())
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    job = answer.json()
    assert job["status"] == "pending"
    assert answer.headers["Location"] == f"/api/v1/job/status/{job['id']}"


async def test_a_stream_is_kept_alive_by_comments(idle: Service, client: httpx.AsyncClient) -> None:
    async with client.stream("POST", ADDRESS, **form(stream="true")) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["X-Job-ID"]
        assert await anext(answer.aiter_lines()) == ": ping"


async def test_cancelling_the_job_ends_the_request_that_waits_for_it(idle: Service, client: httpx.AsyncClient) -> None:
    known = ids(idle)
    async with waiting(client) as request:
        job_id = await job_of(idle, request, known=known)
        await client.post(f"http://{idle.api.address}/api/v1/job/{job_id}/cancel")
        answer = await request
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "job_cancelled"
    assert answer.headers["x-should-retry"] == "false"


def test_a_recording_that_is_too_long_is_refused_with_the_way_to_go(
    shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("service")
    with (
        openai_service(shared_api_settings, folder, works=False, longest_audio_seconds=7.0) as service,
        OpenAI(base_url=service.base_url, api_key="any", max_retries=0) as client,
    ):
        stored, jobs = service.stored(), ids(service)
        with pytest.raises(openai.BadRequestError, match="/api/v1/job/transcribe") as refused:
            client.audio.transcriptions.create(model="whisper-1", file=("two.flac", SPEECH))
        assert refused.value.code == "recording_too_long"
        assert (service.stored(), ids(service)) == (stored, jobs)
        answer = client.audio.transcriptions.with_raw_response.create(
            model="whisper-1", file=("two.flac", SPEECH), extra_headers={"Prefer": "respond-async"}
        )
        assert answer.status_code == 202


def test_a_request_that_has_waited_for_long_ends_and_its_job_goes_on(
    shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("service")
    with (
        openai_service(shared_api_settings, folder, works=False, longest_wait_seconds=0.5) as service,
        OpenAI(base_url=service.base_url, api_key="any") as client,
    ):
        known = ids(service)
        with pytest.raises(openai.InternalServerError) as ended:
            client.audio.transcriptions.create(model="whisper-1", file=("two.flac", SPEECH))
        assert (ended.value.status_code, ended.value.code) == (504, "wait_too_long")
        (job_id,) = ids(service) - known  # the client did not try again
        assert job_id in ended.value.message
        with pytest.raises(openai.APIError, match="goes on"):
            list(client.audio.transcriptions.create(model="whisper-1", file=("two.flac", SPEECH), stream=True))
        assert service.job(job_id)["status"] == "pending"


async def test_a_call_outlives_the_process_that_was_to_answer_it(
    shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("service")
    with openai_service(shared_api_settings, folder, works=False) as service:
        known = ids(service)
        async with (
            AsyncOpenAI(base_url=service.base_url, api_key="any", max_retries=10) as client,
            asyncio.TaskGroup() as group,
        ):
            call = group.create_task(
                client.audio.transcriptions.create(model="whisper-1", file=("two.flac", SPEECH), prompt="killed")
            )
            job_id = await job_of(service, call, known=known)
            for process in service.api.workers():
                process.kill()
            await until(lambda: logged(service, "request_joined", job_id))
            with worker_process(service.api.settings, folder):
                assert (await call).text
        assert service.job(job_id)["status"] == "completed"
        assert ids(service) == known | {job_id}
