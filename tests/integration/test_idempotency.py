"""A submission that is sent several times under one Idempotency-Key is one job."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

import media
from audio_text.settings import Settings
from services.api import Api, api_process, running

PATH = "/api/v1/job/transcribe"


async def _sent(api: Api, key: str, body: dict[str, Any]) -> httpx.Response:
    return await api.client.post(PATH, json=body, headers={"Idempotency-Key": key})


async def _body(api: Api, **more: Any) -> dict[str, Any]:
    return {"filename": "talk.wav", "url": await api.upload("talk.wav", media.wav()), "model": "demo"} | more


async def test_the_same_request_again_gets_the_same_answer_whatever_became_of_the_job(shared_api: Api) -> None:
    body = await _body(shared_api, metadata={"a": "1", "b": "2"})
    first = await _sent(shared_api, "again", body)
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    job_id = first.json()["id"]
    await shared_api.client.post(f"/api/v1/job/{job_id}/cancel")
    await shared_api.services.resources.store.delete((await shared_api.services.resources.jobs.get(job_id)).object_key)
    reordered = dict(reversed(body.items())) | {"metadata": {"b": "2", "a": "1"}}
    for again in (body, reordered, body | {"language": None}):
        replayed = await _sent(shared_api, "again", again)
        assert (replayed.status_code, replayed.headers["Idempotent-Replayed"]) == (201, "true")
        assert replayed.json() == first.json()
        assert replayed.headers["Location"] == first.headers["Location"]


async def test_another_request_under_the_same_key_is_refused(shared_api: Api) -> None:
    body = await _body(shared_api)
    assert (await _sent(shared_api, "taken", body)).status_code == 201
    for other in (body | {"language": "de"}, body | {"metadata": {"a": "b"}}, await _body(shared_api)):
        refused = await _sent(shared_api, "taken", other)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")


async def test_without_a_key_or_under_another_each_request_is_a_job(shared_api: Api) -> None:
    body = await _body(shared_api)
    answers = [await shared_api.client.post(PATH, json=body) for _ in range(2)]
    answers += [await _sent(shared_api, key, body) for key in ("one", "two")]
    assert len({answer.json()["id"] for answer in answers}) == 4


async def test_a_request_that_failed_leaves_its_key_free(shared_api: Api) -> None:
    body = await _body(shared_api)
    assert (await _sent(shared_api, "failed", body | {"model": "none"})).status_code == 400
    assert (await _sent(shared_api, "failed", body)).status_code == 201


async def test_a_deleted_job_takes_its_key_along(shared_api: Api) -> None:
    body = await _body(shared_api)
    job = (await _sent(shared_api, "deleted", body)).json()
    await shared_api.client.delete(f"/api/v1/job/{job['id']}")
    body = await _body(shared_api)
    assert (await _sent(shared_api, "deleted", body)).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
async def test_a_key_that_is_none_is_refused(shared_api: Api, key: str) -> None:
    body = await _body(shared_api)
    refused = await shared_api.client.post(PATH, json=body, headers={"Idempotency-Key": key.encode()})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert "idempotency_key" in refused.json()["detail"]


async def test_expired_keys_are_forgotten_by_the_reconciliation(api_settings: Settings) -> None:
    short = replace(api_settings, job=replace(api_settings.job, idempotency_seconds=1))
    async with running(short) as api:
        body = await _body(api)
        first = await _sent(api, "short", body)
        await asyncio.sleep(1.1)
        second = await _sent(api, "short", body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_twins_that_reach_two_processes_at_once_are_one_job(api_settings: Settings, tmp_path: Any) -> None:
    settings = replace(api_settings, api=replace(api_settings.api, public_url="http://audio.test"))
    with api_process(settings, tmp_path) as one, api_process(settings, tmp_path) as other:
        async with running(settings) as api, httpx.AsyncClient() as client:
            body = await _body(api)
            answers = await asyncio.gather(
                *(
                    client.post(f"http://{process.address}{PATH}", json=body, headers={"Idempotency-Key": "twins"})
                    for process in (one, other) * 5
                )
            )
            listed = (await api.client.get("/api/v1/job/read")).json()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(listed) == 1
