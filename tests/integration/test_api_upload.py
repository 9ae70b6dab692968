"""Uploads over a real network: large ones, refused ones, and those that stop on the way."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from audio_text.settings import Settings
from services.api import ApiProcess, api_process, in_one_task, running
from services.waiting import until

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(shared_api_settings, tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture
async def client(server: ApiProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{server.address}", timeout=60) as client:
        yield client


def stored(server: ApiProcess) -> list[Path]:
    return [path for path in Path(server.settings.disk.folder).rglob("*") if path.is_file()]


async def presigned(client: httpx.AsyncClient, size: int, **fields: Any) -> str:
    answer = await client.post("/api/v1/audio/presigned-url", json={"filename": "a.wav", "file_size": size} | fields)
    return answer.raise_for_status().json()["url"]


async def pieces(count: int, size: int = MEGABYTE) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


async def test_a_large_upload_does_not_pass_through_memory(server: ApiProcess, client: httpx.AsyncClient) -> None:
    (process,) = server.workers()
    url = await presigned(client, 150 * MEGABYTE)
    before, peak = process.memory_info().rss, 0

    async def watched() -> AsyncIterator[bytes]:
        nonlocal peak
        async for piece in pieces(150):
            peak = max(peak, process.memory_info().rss)
            yield piece

    answer = await client.put(url, content=watched(), headers={"Content-Length": str(150 * MEGABYTE)})
    assert answer.status_code == 200
    assert peak - before < 30 * MEGABYTE


@pytest.mark.parametrize(("declared", "sent", "status"), [(MEGABYTE, 40, 413), (40 * MEGABYTE, 20, 400)])
async def test_the_reason_of_a_refusal_arrives_also_while_much_is_still_to_be_sent(
    server: ApiProcess, client: httpx.AsyncClient, declared: int, sent: int, status: int
) -> None:
    before = stored(server)
    for _ in range(5):
        url = await presigned(client, declared)
        answer = await client.put(url, content=pieces(sent), headers={"Content-Length": str(sent * MEGABYTE)})
        assert answer.status_code == status
        assert "declared" in answer.json()["detail"]
    assert stored(server) == before


async def test_an_upload_for_which_the_disk_has_no_room_is_answered_with_507(api_settings: Settings) -> None:
    reserve = shutil.disk_usage(api_settings.disk.folder).total
    full = msgspec.structs.replace(api_settings.store, reserve_bytes=reserve)
    async with in_one_task(running(msgspec.structs.replace(api_settings, store=full))) as api:
        answer = await api.client.put(await presigned(api.client, 4), content=b"data")
    assert answer.status_code == 507
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], "disk" in answer.json()["detail"]) == ("disk_full", True)
    assert answer.headers["retry-after"]


async def test_an_altered_link_is_refused_whatever_is_sent_to_it(client: httpx.AsyncClient) -> None:
    url = await presigned(client, 40 * MEGABYTE)
    answer = await client.put(url[:-1] + "x", content=pieces(40), headers={"Content-Length": str(40 * MEGABYTE)})
    assert answer.status_code == 403


async def test_a_file_with_another_sha256_than_was_declared_is_refused_and_not_kept(
    server: ApiProcess, client: httpx.AsyncClient
) -> None:
    before, data = stored(server), bytes(MEGABYTE)
    url = await presigned(client, MEGABYTE, sha256=hashlib.sha256(data).hexdigest().upper())
    answer = await client.put(url, content=data[1:] + b"x")
    assert (answer.status_code, answer.json()["code"]) == (400, "checksum_mismatch")
    assert stored(server) == before
    assert (await client.put(url, content=data)).status_code == 200


async def test_nothing_is_kept_of_an_upload_that_was_broken_off(server: ApiProcess, client: httpx.AsyncClient) -> None:
    before = stored(server)
    url = httpx.URL(await presigned(client, 40 * MEGABYTE))
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"PUT {url.raw_path.decode()} HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {40 * MEGABYTE}\r\n\r\n"
    writer.write(head.encode() + bytes(MEGABYTE))
    await writer.drain()
    await until(lambda: stored(server) != before)
    writer.transport.abort()
    await until(lambda: stored(server) == before)
    assert not server.logged("request_failed")


async def test_a_chunked_upload_without_a_length_is_taken(server: ApiProcess, client: httpx.AsyncClient) -> None:
    url = await presigned(client, 3 * MEGABYTE)
    assert (await client.put(url, content=pieces(3))).status_code == 200
