"""Cancel, retry, delete and attempts over HTTP, against a real database, queue and store."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import media
from audio_text.domain.job import Completed, Failed
from audio_text.ports import Claim
from factories import make_chunk, make_segment
from services.api import Api

UNKNOWN = "6d8b1f6e-0000-4000-8000-000000000000"


async def claim(api: Api) -> Claim:
    """Take the job that waits, as a worker does, and store its first segment."""
    jobs = api.services.resources.jobs
    claimed = await jobs.claim("audio_small", owner="a worker", lease_seconds=60)
    assert claimed is not None
    held = Claim(claimed.id, claimed.claims)
    assert await jobs.record(held, make_chunk(make_segment(0)))
    return held


async def fail(api: Api) -> str:
    job_id = (await api.submit("talk.wav", media.wav(), model="demo"))["id"]
    failure = Failed(
        error_code="out_of_memory", error_message="Full.", processing_time_seconds=0.1, is_dead_letter=True
    )
    assert await api.services.resources.jobs.fail(await claim(api), failure)
    return job_id


async def complete(api: Api) -> str:
    job_id = (await api.submit("talk.wav", media.wav(), model="demo"))["id"]
    outcome = Completed(
        result_text="good morning",
        duration=1.0,
        duration_after_vad=0.9,
        processing_time_seconds=0.5,
        language="en",
        language_probability=0.98,
    )
    assert await api.services.resources.jobs.complete(await claim(api), outcome)
    return job_id


async def read(api: Api, job_id: str) -> dict[str, Any]:
    return (await api.client.get(f"/api/v1/job/status/{job_id}")).raise_for_status().json()


async def test_a_running_job_is_cancelled_and_that_may_be_said_twice(api: Api) -> None:
    job_id = (await api.submit("talk.wav", media.wav(), model="demo"))["id"]
    held = await claim(api)
    answers = [await api.client.post(f"/api/v1/job/{job_id}/cancel") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json() == await read(api, job_id)
    assert (answers[0].json()["status"], answers[0].json()["progress"]) == ("cancelled", 20)
    assert not await api.services.resources.jobs.extend_lease(held, lease_seconds=60)


async def test_a_failed_job_is_retried_without_a_body_and_goes_on_where_it_was(api: Api) -> None:
    job_id = await fail(api)
    before = await read(api, job_id)
    assert (before["status"], before["is_dead_letter"], before["recomputed_seconds"]) == ("failed", True, 0)
    answer = await api.client.post(f"/api/v1/job/{job_id}/retry")
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["status"], job["attempt"], job["error_code"], job["is_dead_letter"]) == ("pending", 0, None, False)
    assert (job["whisper_model"], job["options"], job["progress"]) == ("demo", before["options"], 20)
    assert await api.services.resources.queue.depth("audio_small") > 0


async def test_a_job_is_retried_with_another_model_and_other_options(api: Api) -> None:
    job_id = await fail(api)
    body = {"model": "large-v3", "beam_size": 2, "vad": {"speech_pad_ms": 0}, "language": None}
    answer = await api.client.post(f"/api/v1/job/{job_id}/retry", json=body)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["whisper_model"], job["tier"], job["progress"]) == ("large-v3", "audio_large", 0)
    assert (job["options"]["beam_size"], job["options"]["vad"]["speech_pad_ms"]) == (2, 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [({"model": "huge"}, "unknown_model"), ({"beam_size": 0}, "invalid_request"), ({"url": "x"}, "invalid_request")],
)
async def test_a_retry_with_what_cannot_be_changes_nothing(api: Api, body: dict[str, object], code: str) -> None:
    job_id = await fail(api)
    before = await read(api, job_id)
    answer = await api.client.post(f"/api/v1/job/{job_id}/retry", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert await read(api, job_id) == before


async def test_a_retry_of_a_job_whose_recording_is_gone_says_what_to_do(api: Api) -> None:
    job_id = await fail(api)
    job = await api.services.resources.jobs.get(job_id)
    await api.services.resources.store.delete(job.object_key)
    answer = await api.client.post(f"/api/v1/job/{job_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_missing")
    assert "upload it again" in answer.json()["detail"]


async def test_a_completed_job_can_neither_be_cancelled_nor_retried(api: Api) -> None:
    job_id = await complete(api)
    for act in ("cancel", "retry"):
        answer = await api.client.post(f"/api/v1/job/{job_id}/{act}")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_state")
        assert "completed" in answer.json()["detail"]


async def test_a_deleted_job_is_gone_with_its_recording(api: Api) -> None:
    job_id = await complete(api)
    key = (await api.services.resources.jobs.get(job_id)).object_key
    answer = await api.client.delete(f"/api/v1/job/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await api.client.get(f"/api/v1/job/status/{job_id}")).status_code == 404
    assert await api.services.resources.jobs.segments(job_id) == []
    assert not [path for path in Path(api.settings.disk.folder).rglob("*") if path.name == key.rpartition("/")[2]]


async def test_the_attempts_at_a_job_tell_how_each_ended(api: Api) -> None:
    job_id = await fail(api)
    (await api.client.post(f"/api/v1/job/{job_id}/retry")).raise_for_status()
    await claim(api)
    answer = await api.client.get(f"/api/v1/job/{job_id}/attempts")
    assert answer.status_code == 200
    first, second = answer.json()
    assert (first["claim"], first["end"], first["error_code"], first["position"]) == (1, "failed", "out_of_memory", 0)
    assert datetime.fromisoformat(first["started_at"]) <= datetime.fromisoformat(first["ended_at"])
    assert (second["claim"], second["end"], second["ended_at"], second["position"]) == (2, None, None, 2)
    assert "owner" not in first


async def test_nothing_can_be_done_with_a_job_that_is_not_there(api: Api) -> None:
    for method, path in (
        ("POST", f"/api/v1/job/{UNKNOWN}/cancel"),
        ("POST", f"/api/v1/job/{UNKNOWN}/retry"),
        ("DELETE", f"/api/v1/job/{UNKNOWN}"),
        ("GET", f"/api/v1/job/{UNKNOWN}/attempts"),
        ("POST", "/api/v1/job/%00/cancel"),
    ):
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found"), (method, path)
