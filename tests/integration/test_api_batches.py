"""Batches over HTTP: all or none, counted, cancelled, and taken as one archive."""

import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import msgspec
import pytest

import media
from audio_text.domain.job import Completed, Job
from audio_text.domain.transcript import TranscriptChunk
from audio_text.domain.webhooks import WebhookEndpoint
from audio_text.ports import Claim, OpenResources
from factories import make_segment
from services.api import Api

PATH = "/api/v1/batches"


async def _batch(api: Api, count: int = 3, **fields: Any) -> dict[str, Any]:
    url = await api.upload("talk.wav", media.wav())
    jobs = [{"filename": f"talk {number}.wav", "url": url, "model": "demo"} for number in range(count)]
    return {"jobs": jobs, **fields}


async def _submitted(api: Api, count: int = 3, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post(PATH, json=await _batch(api, count, **fields))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _members(api: Api, batch: dict[str, Any]) -> list[dict[str, Any]]:
    query = {"batch": batch["id"], "order": "asc"}
    return (await api.client.get("/api/v1/job/read", params=query)).raise_for_status().json()


async def _complete(api: Api, text: str) -> Job:
    jobs = api.services.resources.jobs
    job = await jobs.claim("audio_small", owner="w", lease_seconds=60)
    assert job
    claim = Claim(job_id=job.id, token=job.claims)
    segment = make_segment(0, text=f" {text}")
    chunk = TranscriptChunk(
        segments=(segment,), position=2.0, duration=2.0, duration_after_vad=2.0, language="en", language_probability=1.0
    )
    assert await jobs.record(claim, chunk)
    outcome = Completed(
        result_text=text,
        duration=2.0,
        duration_after_vad=2.0,
        processing_time_seconds=1.0,
        language="en",
        language_probability=1.0,
    )
    assert await jobs.complete(claim, outcome)
    return job


async def test_a_batch_is_accepted_whole_and_its_jobs_are_jobs_like_any_others(api: Api) -> None:
    answer = await api.client.post(PATH, json=await _batch(api, description="May", metadata={"project": "budget"}))
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    assert answer.headers["Location"] == f"{PATH}/{batch['id']}"
    assert batch["counts"] == {"pending": 3, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert (batch["size"], batch["is_finished"], batch["description"]) == (3, False, "May")
    assert [job["filename"] for job in await _members(api, batch)] == ["talk 0.wav", "talk 1.wav", "talk 2.wav"]
    for _ in range(3):
        assert await api.services.resources.jobs.claim("audio_small", owner="w", lease_seconds=60)


async def test_where_one_job_cannot_be_accepted_none_is_and_each_of_them_is_named(api: Api) -> None:
    batch = await _batch(api)
    batch["jobs"][0]["model"] = "no such model"
    batch["jobs"][2]["url"] = "https://elsewhere.example/talk.wav"
    answer = await api.client.post(PATH, json=batch)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "batch_refused"
    assert [error["field"] for error in problem["errors"]] == ["jobs[0]", "jobs[2]"]
    assert problem["errors"][0]["message"].startswith("unknown_model: ")
    assert (await api.client.get("/api/v1/job/read")).json() == []
    assert (await api.client.get(PATH)).json() == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"jobs": []}, "`jobs` is not usable"),
        ({"jobs": [{"filename": "a.wav", "url": "x"}] * 1_001}, "`jobs` is not usable"),
        ({}, "`jobs` is missing"),
        ({"jobs": [{"filename": "a.wav"}]}, "`jobs[0].url` is missing"),
    ],
    ids=["none", "too many", "no list", "no url"],
)
async def test_what_is_no_batch_is_refused_with_a_sentence(api: Api, body: dict[str, Any], sentence: str) -> None:
    answer = await api.client.post(PATH, json=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["detail"]


async def test_a_body_that_is_far_too_large_is_not_read(api: Api) -> None:
    answer = await api.client.post(PATH, content=b'{"jobs": "' + b"x" * 9_000_000 + b'"}')
    assert answer.status_code == 413


async def test_a_batch_that_is_sent_again_under_its_key_is_the_same_batch(api: Api) -> None:
    batch = await _batch(api)

    async def send(body: dict[str, Any]) -> httpx.Response:
        return await api.client.post(PATH, json=body, headers={"Idempotency-Key": "batch-1"})

    first, second = await send(batch), await send(batch)
    assert first.json()["id"] == second.json()["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len((await api.client.get("/api/v1/job/read")).json()) == 3
    other = await send(batch | {"description": "another"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_cancelling_a_batch_ends_what_is_not_over_and_may_be_repeated(api: Api) -> None:
    batch = await _submitted(api, 12)
    done = await _complete(api, "Good morning.")
    for _ in range(2):
        answer = await api.client.post(f"{PATH}/{batch['id']}/cancel")
        assert answer.status_code == 200
        assert answer.json()["counts"] == {
            "pending": 0,
            "processing": 0,
            "completed": 1,
            "failed": 0,
            "cancelled": 11,
        }
    assert answer.json()["is_finished"]
    assert answer.json()["progress"] == 100
    assert (await api.services.resources.jobs.get(done.id)).status == "completed"
    updates = [job["status"] for job in await _members(api, batch)]
    assert updates.count("cancelled") == 11


async def test_all_transcripts_come_as_one_archive_with_a_manifest(api: Api) -> None:
    batch = await _submitted(api)
    await _complete(api, "Good morning.")
    await _complete(api, "Good evening.")
    answer = await api.client.get(f"{PATH}/{batch['id']}/transcripts", params={"format": "srt"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert archive.namelist() == ["0001-talk_0.srt", "0002-talk_1.srt", "manifest.json"]
    assert "Good evening." in archive.read("0002-talk_1.srt").decode()
    manifest = json.loads(archive.read("manifest.json"))
    assert [(entry["status"], entry.get("file")) for entry in manifest] == [
        ("completed", "0001-talk_0.srt"),
        ("completed", "0002-talk_1.srt"),
        ("pending", None),
    ]


@pytest.mark.parametrize("name", ["..", "a:b*c?.wav", "x" * 250 + ".wav", "CON.wav", "\N{SNOWMAN} ü.wav"])
async def test_names_in_the_archive_lead_nowhere_else(api: Api, name: str) -> None:
    url = await api.upload("talk.wav", media.wav())
    job = {"filename": name, "url": url, "model": "demo"}
    batch = (await api.client.post(PATH, json={"jobs": [job]})).raise_for_status().json()
    await _complete(api, "Good morning.")
    answer = await api.client.get(f"{PATH}/{batch['id']}/transcripts")
    [file, _] = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert file.startswith("0001-")
    assert file.endswith(".txt")
    assert len(file) < 120
    assert not set(file) & set('/\\:*?"<>|')


async def test_batches_are_listed_newest_first_page_by_page(api: Api) -> None:
    ids = [(await _submitted(api, 1))["id"] for _ in range(3)]
    answer = await api.client.get(PATH, params={"limit": 2})
    assert [batch["id"] for batch in answer.json()] == ids[:0:-1]
    rest = await api.client.get(answer.links["next"]["url"])
    assert [batch["id"] for batch in rest.json()] == ids[:1]
    assert "next" not in rest.links


@pytest.mark.parametrize("way", ["GET ", "GET /transcripts", "POST /cancel"])
@pytest.mark.parametrize("batch_id", ["b6b2a1d8-6a43-4c87-8d2a-8f6f4c0f1c11", "no%20id"])
async def test_an_unknown_batch_is_not_found(api: Api, way: str, batch_id: str) -> None:
    method, _, rest = way.partition(" ")
    answer = await api.client.request(method, f"{PATH}/{batch_id}{rest}")
    assert (answer.status_code, answer.json()["code"]) == (404, "batch_not_found")


async def test_the_end_of_a_batch_is_stored_for_its_owners_webhooks_once(api: Api) -> None:
    resources = cast("OpenResources", api.services.resources)
    endpoint = WebhookEndpoint(
        id="w1", url="https://receiver.test/hook", events=("batch.completed",), created_at=datetime.now(UTC)
    )
    assert await resources.webhooks.add(endpoint, limit=10)
    batch = await _submitted(api, 2, metadata={"project": "budget"})
    await _complete(api, "Good morning.")
    assert await resources.batches.end_finished() == []
    await api.client.post(f"{PATH}/{batch['id']}/cancel")
    [finished] = await resources.batches.end_finished()
    assert await resources.batches.end_finished() == []

    [delivery] = await resources.deliveries.claim(limit=10, per_lane=10, per_owner=10, under_way={}, lease_seconds=60)
    payload = msgspec.json.decode(delivery.payload)
    assert (payload["type"], delivery.subject) == ("batch.completed", batch["id"])
    assert payload["data"]["counts"] == {"completed": 1, "failed": 0, "cancelled": 1}
    assert (payload["data"]["size"], payload["data"]["metadata"]) == (2, {"project": "budget"})
    assert datetime.fromisoformat(payload["data"]["finished_at"]) == finished.finished_at
