"""Transcripts and archives on their way to readers that take them slowly, or who may have them no more."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from uuid import uuid4

import httpx
import pytest
from msgspec.structs import replace

import media
from audio_text.bootstrap import open_keys, open_resources
from audio_text.domain.access import Scope
from audio_text.ports import Claim, Resources
from audio_text.settings import Settings
from factories import make_chunk, make_job, make_segment
from services.api import ApiProcess, api_process, in_one_task
from services.live import OUTCOME
from services.tenants import without_open_mode
from services.waiting import until

MEGABYTE = 1024 * 1024
SEGMENTS = 250
LETTERS = 100_000
"""In each segment: 25 MB in all, which no socket has room for."""


def slow_to_wait_for(settings: Settings) -> Settings:
    """Half a second for a reader to take a piece, and two downloads for each caller."""
    return replace(
        settings,
        events=replace(settings.events, send_timeout_seconds=0.5),
        limits=replace(settings.limits, connections_per_key=2),
        access=replace(settings.access, cache_seconds=0.5),
    )


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(slow_to_wait_for(shared_api_settings), tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
async def resources(shared_api_settings: Settings) -> AsyncIterator[Resources]:
    async with in_one_task(open_resources(shared_api_settings, name="test", live=False)) as resources:
        yield resources


async def long_transcript(resources: Resources, tier: str, count: int = SEGMENTS) -> Claim:
    """Decode a recording in which more is said than a connection can hold."""
    random = Random(7)
    claimed = await resources.jobs.claim(tier, owner="test", lease_seconds=600)
    assert claimed is not None
    claim = Claim(claimed.id, claimed.claims)
    for first in range(0, count, 50):
        said = (
            make_segment(number, text=f" {random.randbytes(LETTERS // 2).hex()}")
            for number in range(first, min(first + 50, count))
        )
        assert await resources.jobs.record(claim, make_chunk(*said))
    return claim


async def long_job(resources: Resources, owner: str | None = None) -> str:
    job = make_job(tier=f"tier_{uuid4().hex}", owner=owner)
    await resources.jobs.add(job)
    return (await long_transcript(resources, job.tier)).job_id


@asynccontextmanager
async def asked(
    server: ApiProcess, path: str, headers: str = ""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Ask, read the head of the answer, and take nothing more than what is read."""
    reader, writer = await asyncio.open_connection(*server.address.split(":"), limit=1_024)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        yield reader, writer
    finally:
        writer.transport.abort()


def dropped(server: ApiProcess, path: str) -> list[str]:
    return [line["reason"] for line in server.logged("stream_dropped") if line["path"] == path]


async def test_a_reader_that_takes_a_byte_now_and_then_is_dropped_and_holds_nothing(
    server: ApiProcess, resources: Resources
) -> None:
    path = f"/api/v1/job/{await long_job(resources)}/transcript"
    (process,) = server.workers()
    before = process.memory_info().rss
    async with asked(server, path) as (reader, _):
        async with asyncio.timeout(60):
            while not dropped(server, path):
                await reader.read(1)
                await asyncio.sleep(0.1)
        growth = process.memory_info().rss - before
    assert dropped(server, path) == ["TimeoutError"]
    assert growth < 60 * MEGABYTE, "a part of it, and never all"


async def test_an_archive_of_a_batch_waits_for_no_reader_either(server: ApiProcess, resources: Resources) -> None:
    async with httpx.AsyncClient(base_url=f"http://{server.address}", timeout=60) as client:
        data = media.wav()
        wanted = {"filename": "a.wav", "content_type": "audio/wav", "file_size": len(data)}
        target = (await client.post("/api/v1/audio/presigned-url", json=wanted)).raise_for_status().json()
        (await client.put(target["url"], content=data, headers=target["headers"])).raise_for_status()
        jobs = {"jobs": [{"filename": "a.wav", "url": target["url"], "model": "demo"}]}
        batch = (await client.post("/api/v1/batches", json=jobs)).raise_for_status().json()["id"]
    assert await resources.jobs.complete(await long_transcript(resources, "audio_small"), OUTCOME)
    path = f"/api/v1/batches/{batch}/transcripts"
    async with asked(server, path):
        await until(lambda: dropped(server, path))
    assert dropped(server, path) == ["TimeoutError"]


async def test_so_many_downloads_are_on_their_way_at_once_and_sockets_have_places_of_their_own(
    shared_api_settings: Settings, resources: Resources, tmp_path: Path
) -> None:
    settings = replace(slow_to_wait_for(shared_api_settings), events=shared_api_settings.events)
    job_id = await long_job(resources)
    path = f"/api/v1/job/{job_id}/transcript"
    with api_process(settings, tmp_path) as server:
        async with httpx.AsyncClient(base_url=f"http://{server.address}", timeout=60) as client:
            async with asked(server, path), asked(server, path):
                refused = await client.get(path)
                assert (refused.status_code, refused.json()["code"]) == (429, "too_many_connections")
                async with client.stream("GET", f"/api/v1/job/{job_id}/events") as stream:
                    assert stream.status_code == 200
            await until(lambda: len(dropped(server, path)) == 2)
            whole = (await client.get(path)).raise_for_status()
    assert len(whole.json()["segments"]) == SEGMENTS


async def test_a_download_breaks_off_when_its_key_is_revoked(
    shared_api_settings: Settings, resources: Resources, tmp_path: Path
) -> None:
    settings = replace(without_open_mode(slow_to_wait_for(shared_api_settings)), events=shared_api_settings.events)
    owner = uuid4().hex
    path = f"/api/v1/job/{await long_job(resources, owner)}/transcript"
    async with open_keys(settings) as access:
        key, secret = await access.create(owner=owner, name="n", scopes=frozenset({Scope.read}))
        with api_process(settings, tmp_path) as server:
            async with asked(server, path, f"Authorization: Bearer {secret}\r\n") as (reader, _):
                await access.revoke(key.id)
                await until(lambda: server.logged("stream_broken_off"))
                rest = bytearray()
                async with asyncio.timeout(60):
                    while data := await reader.read(MEGABYTE):
                        rest += data
    assert [line["code"] for line in server.logged("stream_broken_off")] == ["unauthorized"]
    assert not rest.endswith(b"0\r\n\r\n"), "whoever reads it notices that it is not whole"
