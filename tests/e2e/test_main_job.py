"""The main job with real processes: two APIs, one worker, a real store; from an upload to two live transcripts."""

import asyncio
import json
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jiwer
import msgspec
import numpy as np
import pytest
from faster_whisper import decode_audio
from websockets.asyncio.client import connect

from audio_text.settings import Settings, StoreKind
from services.api import ApiProcess, api_process
from services.database import Database
from services.s3 import S3Server
from services.worker import WorkerProcess, worker_process

DATA = Path(__file__).parents[1] / "data"
WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.ReduceToListOfListOfWords()])


@dataclass
class System:
    """Everything that takes part, and a client's way in."""

    settings: Settings
    apis: list[ApiProcess]
    worker: WorkerProcess
    database: Database

    async def upload(self, client: httpx.AsyncClient, audio: Path) -> str:
        data = await asyncio.to_thread(audio.read_bytes)
        declared = {"filename": audio.name, "content_type": "audio/flac", "file_size": len(data)}
        target = (await client.post("/api/v1/audio/presigned-url", json=declared)).raise_for_status().json()
        (await client.put(target["url"], content=data, headers={"Content-Type": "audio/flac"})).raise_for_status()
        return target["url"]

    async def row(self, job_id: str) -> asyncpg.Record:
        connection = await self.database.connect()
        try:
            row = await connection.fetchrow("SELECT * FROM transcription_job WHERE id = $1", job_id)
        finally:
            await connection.close()
        assert row is not None
        return row


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def settings(request: pytest.FixtureRequest, api_settings: Settings) -> Settings:
    settings = msgspec.structs.replace(
        api_settings, engine=msgspec.structs.replace(api_settings.engine, preload=("demo",), cpu_threads=1)
    )
    if request.param == "disk":
        return settings
    server: S3Server = request.getfixturevalue("s3_server")
    return msgspec.structs.replace(
        settings,
        store=msgspec.structs.replace(settings.store, kind=StoreKind.s3),
        s3=server.settings,
        secrets=msgspec.structs.replace(
            settings.secrets, s3_access_key=server.access_key, s3_secret_key=server.secret_key
        ),
    )


@pytest.fixture
def system(settings: Settings, database: Database, tmp_path: Path) -> Iterator[System]:
    with ExitStack() as stack:
        first = stack.enter_context(api_process(settings, tmp_path))
        # The links of the disk store lead to the first API, whichever hands them out.
        shared = msgspec.structs.replace(
            settings, api=msgspec.structs.replace(settings.api, public_url=f"http://{first.address}")
        )
        second = stack.enter_context(api_process(shared, tmp_path))
        worker = stack.enter_context(worker_process(settings, tmp_path, "audio_small"))
        yield System(settings, [first, second], worker, database)


@pytest.fixture
async def client(system: System) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{system.apis[0].address}", timeout=30) as client:
        yield client


async def watch(api: ApiProcess, job_id: str) -> list[dict[str, Any]]:
    """Everything the live socket says until the server closes it, which it must do with 1000."""
    async with asyncio.timeout(60), connect(f"ws://{api.address}/api/v1/job/ws/{job_id}", max_size=None) as socket:
        messages = [json.loads(message) async for message in socket]
        assert socket.close_code == 1000
    return messages


async def test_a_recording_becomes_text_while_two_clients_watch_on_two_apis(
    system: System, client: httpx.AsyncClient
) -> None:
    reference = json.loads((DATA / "memo_100s.json").read_text())["text"]
    url = await system.upload(client, DATA / "memo_100s.flac")
    body = {"filename": "memo.flac", "url": url, "mode": "demo", "condition_on_previous_text": False}
    job = (await client.post("/api/v1/job/transcribe", json=body)).raise_for_status().json()
    assert job["status"] == "pending"

    told = await asyncio.gather(*(watch(api, job["id"]) for api in system.apis))

    for messages in told:
        assert messages[0]["type"] == "connected"
        updates = [message for message in messages if message["type"] == "job_update"]
        progress = [update["progress"] for update in updates]
        assert progress == sorted(progress)
        assert len({update["progress"] for update in updates}) > 3
        segments = [segment for update in updates for segment in update["segments"]]
        assert [segment["id"] for segment in segments] == list(range(len(segments)))
        assert all(a["start"] <= b["start"] for a, b in pairwise(segments))
        last = updates[-1]
        assert (last["status"], last["progress"], last["language"]) == ("completed", 100, "en")
        assert last["result"] == "".join(segment["text"] for segment in segments).strip()
        assert jiwer.wer(reference, last["result"], reference_transform=WORDS, hypothesis_transform=WORDS) < 0.25

    row = await system.row(job["id"])
    assert (row["status"], row["result_text"], row["attempt"]) == ("completed", told[0][-1]["result"], 1)
    assert row["duration"] == pytest.approx(99.2, abs=1.0)
    assert row["error_message"] is None
    assert (await client.get(f"/api/v1/job/status/{job['id']}")).json()["result_text"] == row["result_text"]
    assert await is_gone(system, client, url)


async def is_gone(system: System, client: httpx.AsyncClient, url: str) -> bool:
    """Whether the stored recording is deleted: the same upload can then not be submitted again."""
    system.worker.wait_for("job_completed")
    async with asyncio.timeout(20):
        while True:
            again = await client.post("/api/v1/job/transcribe", json={"filename": "a.flac", "url": url, "mode": "demo"})
            if again.status_code == 404:
                return again.json()["code"] == "upload_missing"
            await asyncio.sleep(0.1)


async def test_a_worker_that_is_stopped_hands_its_job_to_the_next_one_which_goes_on_where_it_was(
    system: System, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    job = await submit_long(system, client, tmp_path)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(system.apis[1], job["id"]))
        await asyncio.to_thread(system.worker.wait_for, "job_claimed")
        while not await stored_segments(system, job["id"]):
            await asyncio.sleep(0.01)
        status = await asyncio.to_thread(system.worker.terminate)
        with worker_process(system.settings, tmp_path, "audio_small", name="second") as second:
            messages = await watching
            resumed = await asyncio.to_thread(second.wait_for, "job_claimed")

    assert status == 0
    assert resumed["job_id"] == job["id"]
    updates = [message for message in messages if message["type"] == "job_update"]
    segments = [segment for update in updates for segment in update["segments"]]
    assert "pending" in [update["status"] for update in updates]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert updates[-1]["status"] == "completed"
    assert (await system.row(job["id"]))["attempt"] == 1


async def test_a_cancelled_job_frees_its_worker_and_goes_on_where_it_was_when_it_is_retried(
    system: System, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    job = await submit_long(system, client, tmp_path)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(system.apis[1], job["id"]))
        while not await stored_segments(system, job["id"]):
            await asyncio.sleep(0.01)
        cancelled = (await client.post(f"/api/v1/job/{job['id']}/cancel")).raise_for_status().json()
    await asyncio.to_thread(system.worker.wait_for, "job_left")
    stored = await stored_segments(system, job["id"])

    assert (cancelled["status"], watching.result()[-1]["status"]) == ("cancelled", "cancelled")
    assert stored > 0
    (await client.post(f"/api/v1/job/{job['id']}/retry")).raise_for_status()
    messages = await watch(system.apis[1], job["id"])
    attempts = (await client.get(f"/api/v1/job/{job['id']}/attempts")).json()
    assert messages[-1]["status"] == "completed"
    assert [attempt["end"] for attempt in attempts] == ["cancelled", "completed"]
    assert attempts[1]["position"] > 0
    assert (await system.row(job["id"]))["recomputed_seconds"] == 0


async def submit_long(system: System, client: httpx.AsyncClient, folder: Path) -> dict[str, Any]:
    """A job that is at work for long enough to be interrupted."""
    long = await asyncio.to_thread(repeated, DATA / "memo_100s.flac", folder / "long.wav", times=4)
    url = await system.upload(client, long)
    body = {"filename": "long.wav", "url": url, "mode": "demo"}
    return (await client.post("/api/v1/job/transcribe", json=body)).raise_for_status().json()


def repeated(recording: Path, target: Path, *, times: int) -> Path:
    samples = np.tile(decode_audio(str(recording)), times)
    with wave.open(str(target), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return target


async def stored_segments(system: System, job_id: str) -> int:
    connection = await system.database.connect()
    try:
        return await connection.fetchval("SELECT count(*) FROM transcription_segment WHERE job_id = $1", job_id)
    finally:
        await connection.close()
