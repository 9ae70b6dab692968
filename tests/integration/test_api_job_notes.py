"""Metadata, descriptions and deadlines over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import media
from audio_text.domain.job import JobStatus
from services.api import Api

NOW = datetime.now(UTC)


async def _patched(api: Api, job_id: str, patch: Any, **headers: str) -> dict[str, Any]:
    answer = await api.client.patch(f"/api/v1/job/{job_id}", json=patch, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_job_is_submitted_with_metadata_and_shows_it(shared_api: Api) -> None:
    job = await shared_api.submit("talk.wav", media.wav(), metadata={"project": "budget", "ä": ""})
    assert job["metadata"] == {"project": "budget", "ä": ""}
    assert (await shared_api.submit("talk.wav", media.wav()))["metadata"] == {}
    assert (await shared_api.submit("talk.wav", media.wav(), metadata=None))["metadata"] == {}


async def test_notes_are_changed_by_a_merge_patch(shared_api: Api) -> None:
    job = await shared_api.submit("talk.wav", media.wav(), description="old", metadata={"a": "1", "b": "2"})
    patch = {"description": "new", "metadata": {"a": None, "c": "3"}}
    patched = await _patched(shared_api, job["id"], patch, **{"Content-Type": "application/merge-patch+json"})
    assert (patched["description"], patched["metadata"]) == ("new", {"b": "2", "c": "3"})
    assert (await _patched(shared_api, job["id"], {}))["description"] == "new"
    assert (await _patched(shared_api, job["id"], {"description": None}))["description"] is None
    assert (await _patched(shared_api, job["id"], {"metadata": None}))["metadata"] == {}
    shown = (await shared_api.client.get(f"/api/v1/job/status/{job['id']}")).json()
    assert (shown["description"], shown["metadata"]) == (None, {})


async def test_notes_on_a_running_job_are_shown_at_once(shared_api: Api) -> None:
    job = await shared_api.submit("talk.wav", media.wav(), model="large-v3")
    claimed = await shared_api.services.resources.jobs.claim("audio_large", owner="w", lease_seconds=60)
    assert claimed is not None
    assert claimed.id == job["id"]
    patched = await _patched(shared_api, job["id"], {"metadata": {"seen": "yes"}})
    assert (patched["status"], patched["metadata"]) == ("processing", {"seen": "yes"})


@pytest.mark.parametrize(
    "metadata",
    [
        {"": "x"},
        {"k" * 65: "x"},
        {"k": "v" * 513},
        {"a=b": "x"},
        {"a\nb": "x"},
        {"a": "\x00"},
        {str(number): "" for number in range(17)},
        {"a": 1},
        {"a": {"b": "c"}},
        ["a"],
        "a",
    ],
)
async def test_metadata_beyond_its_limits_is_refused(shared_api: Api, metadata: object) -> None:
    url = await shared_api.upload("talk.wav", media.wav())
    body = {"filename": "talk.wav", "url": url, "metadata": metadata}
    refused = await shared_api.client.post("/api/v1/job/transcribe", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert "metadata" in refused.text
    job = await shared_api.submit("talk.wav", media.wav())
    refused = await shared_api.client.patch(f"/api/v1/job/{job['id']}", json={"metadata": metadata})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


async def test_the_longest_metadata_is_taken(shared_api: Api) -> None:
    metadata = {f"{number:064}": "ä" * 512 for number in range(16)}
    assert (await shared_api.submit("talk.wav", media.wav(), metadata=metadata))["metadata"] == metadata


@pytest.mark.parametrize("patch", [[], "x", None, {"status": "completed"}, {"description": 3}, {"description": "\x00"}])
async def test_a_patch_of_anything_else_is_refused(shared_api: Api, patch: object) -> None:
    job = await shared_api.submit("talk.wav", media.wav())
    refused = await shared_api.client.patch(f"/api/v1/job/{job['id']}", json=patch)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


async def test_notes_on_an_unknown_job_are_not_found(shared_api: Api) -> None:
    refused = await shared_api.client.patch("/api/v1/job/nobody", json={})
    assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")


async def test_a_deadline_counts_from_the_submission(shared_api: Api) -> None:
    job = await shared_api.submit("talk.wav", media.wav(), deadline_in=3_600)
    created, deadline = (datetime.fromisoformat(job[name]) for name in ("creation_date", "deadline"))
    assert deadline - created == timedelta(hours=1)
    assert (await shared_api.submit("talk.wav", media.wav()))["deadline"] is None


@pytest.mark.parametrize("seconds", [0, -1, 2**31, 1.5, "soon"])
async def test_a_deadline_that_is_none_is_refused(shared_api: Api, seconds: object) -> None:
    url = await shared_api.upload("talk.wav", media.wav())
    body = {"filename": "talk.wav", "url": url, "deadline_in": seconds}
    refused = await shared_api.client.post("/api/v1/job/transcribe", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


async def test_how_a_job_was_submitted_is_shown(shared_api: Api) -> None:
    job = await shared_api.submit("talk.wav", media.wav(), priority="high", expires_in=60)
    assert (job["priority"], job["expires_in"], job["expires_at"]) == ("high", 60, None)
    assert job["status"] == JobStatus.pending
