"""Recordings that lie elsewhere, over HTTP and with a worker of its own: real database, queue, store and model."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audio_text.settings import Settings
from recordings import DATA
from services.api import Api, in_one_task, running
from services.outside import Outside, answer, certificate_for, head, serve_outside
from services.waiting import until
from services.worker import worker_process

NAME = "localhost"
"""A name that every machine resolves: its addresses are allowed here."""


@pytest.fixture
async def recording() -> bytes:
    return await asyncio.to_thread((DATA / "one_a.flac").read_bytes)


@pytest.fixture
async def outside(tmp_path: Path, recording: bytes) -> AsyncIterator[Outside]:
    context, _ = await asyncio.to_thread(certificate_for, NAME, tmp_path)
    async with serve_outside(context) as server:
        server.pages["/talk.flac?token=hush"] = answer(200, recording, "Content-Type: audio/flac")
        yield server


@pytest.fixture
def settings(api_settings: Settings, outside: Outside, tmp_path: Path) -> Settings:
    remote = msgspec.structs.replace(
        api_settings.remote,
        enabled=True,
        ports=(outside.port,),
        allowed_networks=("127.0.0.0/8", "::1/128"),
        ca_file=str(tmp_path / f"{NAME}.pem"),
    )
    return msgspec.structs.replace(api_settings, remote=remote)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(settings)) as api:
        yield api


async def submit(api: Api, url: str, **fields: Any) -> dict[str, Any]:
    body = {"filename": "talk.flac", "url": url, "model": "demo", **fields}
    answer = await api.client.post("/api/v1/job/transcribe", json=body)
    return answer.raise_for_status().json()


async def test_a_recording_elsewhere_is_fetched_and_transcribed_like_an_upload(
    api: Api, outside: Outside, tmp_path: Path, recording: bytes
) -> None:
    url = f"https://{NAME}:{outside.port}/talk.flac?token=hush"
    job = await submit(api, url)
    assert job["status"] == "pending"
    assert job["source"] == f"https://{NAME}:{outside.port}/talk.flac"
    assert outside.requests == []

    with worker_process(api.settings, tmp_path, "audio_small") as worker:
        done = await api.ended(job["id"])
        upload = await api.ended((await api.submit("talk.flac", recording, mode="demo"))["id"])
        [brought] = worker.logged("recording_brought")
        assert "hush" not in await asyncio.to_thread(worker.log.read_text)

    assert (done.status.value, done.result_text) == ("completed", upload.result_text)
    assert (done.file_size_bytes, done.audio_sha256) == (len(recording), upload.audio_sha256)
    assert brought["size_bytes"] == len(recording)
    assert outside.paths == ["/talk.flac?token=hush"]
    shown = await api.client.get(f"/api/v1/job/status/{done.id}")
    assert "hush" not in shown.text
    assert list(Path(api.settings.disk.folder).rglob("*.flac")) == []  # kept no longer than an upload


async def test_a_worker_that_dies_on_the_way_leaves_nothing_and_another_fetches_it(
    api: Api, outside: Outside, tmp_path: Path, recording: bytes
) -> None:
    whole = outside.pages["/talk.flac?token=hush"]

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, f"Content-Length: {len(recording)}") + recording[: len(recording) // 2])
        await writer.drain()
        await asyncio.sleep(60)

    outside.pages["/talk.flac?token=hush"] = half
    short = msgspec.structs.replace(api.settings.worker, lease_seconds=11.0)
    settings = msgspec.structs.replace(api.settings, worker=short)
    job = await submit(api, f"https://{NAME}:{outside.port}/talk.flac?token=hush")
    with worker_process(settings, tmp_path, "audio_small", name="first") as first:
        await until(lambda: bool(outside.requests))
        await asyncio.to_thread(first.kill)
    outside.pages["/talk.flac?token=hush"] = whole
    with worker_process(settings, tmp_path, "audio_small", name="second"):
        done = await api.ended(job["id"])

    assert (done.status.value, done.attempt) == ("completed", 2)
    assert len(outside.requests) == 2
    assert [path for path in Path(api.settings.disk.folder).rglob("*") if path.is_file()] == []


async def test_a_service_that_fetches_nothing_says_so(api_settings: Settings) -> None:
    async with in_one_task(running(api_settings)) as api:
        body = {"filename": "talk.flac", "url": "https://media.example/talk.flac"}
        refused = await api.client.post("/api/v1/job/transcribe", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "foreign_url")
    assert "remote.enabled" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://10.0.0.1:{port}/a.wav", "private_address"),
        ("https://169.254.169.254:{port}/latest/", "private_address"),
        ("https://media.example:22/a.wav", "remote_url"),
        ("http://media.example/a.wav", "remote_url"),
        ("https://user:pw@media.example:{port}/a.wav", "remote_url"),
        ("s3://somebody/a.wav", "remote_url"),
        ("ftp://media.example/a.wav", "foreign_url"),
    ],
)
async def test_an_address_that_nobody_goes_to_is_refused_when_it_is_submitted(
    api: Api, outside: Outside, url: str, code: str
) -> None:
    body = {"filename": "talk.flac", "url": url.format(port=outside.port)}
    refused = await api.client.post("/api/v1/job/transcribe", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)


async def test_a_failed_fetch_may_be_retried_over_http(api: Api, outside: Outside, tmp_path: Path) -> None:
    job = await submit(api, f"https://{NAME}:{outside.port}/late.flac")
    with worker_process(api.settings, tmp_path, "audio_small"):
        failed = await api.ended(job["id"])
        assert failed.error_code == "remote_refused"
        outside.pages["/late.flac"] = outside.pages["/talk.flac?token=hush"]
        retried = await api.client.post(f"/api/v1/job/{job['id']}/retry")
        assert retried.status_code == 200
        done = await api.ended(job["id"])
    assert done.status.value == "completed"
