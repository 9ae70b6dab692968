"""The same recording once more: answered from the earlier job where that is asked for. A real worker and model."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import media
from recordings import DATA
from services.api import Api
from services.waiting import until
from services.worker import worker_process


async def transcript(api: Api, job_id: str) -> list[dict[str, Any]]:
    answer = await api.client.get(f"/api/v1/job/{job_id}/transcript", params={"format": "verbose_json"})
    return answer.raise_for_status().json()["segments"]


async def test_the_same_bytes_are_answered_from_the_earlier_job_only_where_that_is_asked_for(
    api: Api, tmp_path: Path
) -> None:
    recording = await asyncio.to_thread((DATA / "one_a.flac").read_bytes)
    with worker_process(api.settings, tmp_path, "audio_small") as worker:
        submitted = [await api.submit("talk.flac", recording, mode="demo") for _ in range(2)]
        first, decoded = [await api.ended(job["id"]) for job in submitted]
        reused = await api.ended((await api.submit("again.flac", recording, mode="demo", reuse=True))["id"])
        await until(lambda: len(worker.logged("job_completed")) == 3)
        completions = worker.logged("job_completed")

    shown = (await api.client.get(f"/api/v1/job/status/{reused.id}")).json()
    assert shown["reuse"]
    assert shown["reused_from"] in {first.id, decoded.id}
    assert (shown["status"], shown["result_text"]) == ("completed", first.result_text)
    assert (decoded.reused_from, decoded.real_time_factor is not None) == (None, True)
    assert await transcript(api, reused.id) == await transcript(api, first.id) != []
    assert [line.get("reused_from") for line in completions] == [None, None, reused.reused_from]


@pytest.mark.parametrize(("asked", "told"), [(True, True), (False, False), (None, False)])
async def test_a_job_tells_whether_it_may_be_reused_from_another(api: Api, *, asked: bool | None, told: bool) -> None:
    job = await api.submit("talk.wav", media.wav(), reuse=asked)
    assert (job["reuse"], job["reused_from"]) == (told, None)


async def test_reuse_is_yes_or_no(api: Api) -> None:
    url = await api.upload("talk.wav", media.wav())
    body = {"filename": "talk.wav", "url": url, "reuse": "always"}
    refused = await api.client.post("/api/v1/job/transcribe", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
