"""Large recordings in forms: they pass through to the store, on the disk and on S3, and never into memory."""

import struct
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from msgspec.structs import replace

from audio_text.settings import Settings, StoreKind
from services.api import ApiProcess, api_process
from services.s3 import S3Server
from services.waiting import until

MEGABYTE = 1024 * 1024
SIZE = 150 * MEGABYTE
B = "boundary"


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
async def server(
    request: pytest.FixtureRequest, shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ApiProcess]:
    settings = shared_api_settings
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3_server")
        secrets = replace(settings.secrets, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key)
        store = replace(settings.store, kind=StoreKind.s3)
        settings = replace(settings, store=store, s3=s3.settings, secrets=secrets)
    with api_process(settings, tmp_path_factory.mktemp("server")) as process:
        # who uploads first waits for the bucket, too
        await until(lambda: httpx.get(f"http://{process.address}/health/ready").is_success)
        yield process


def silence() -> bytes:
    """The header of a wave file of SIZE bytes of samples."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", SIZE + 36, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return head + struct.pack("<4sI", b"data", SIZE)


async def form(size: int, watch: Callable[[], object]) -> AsyncIterator[bytes]:
    """A form whose recording has so many bytes of samples, and ends there."""
    yield f'--{B}\r\nContent-Disposition: form-data; name="file"; filename="long.wav"\r\n\r\n'.encode() + silence()
    for _ in range(size // MEGABYTE):
        watch()
        yield bytes(MEGABYTE)
    yield f'\r\n--{B}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--{B}--\r\n'.encode()


async def test_a_large_recording_does_not_pass_through_memory(server: ApiProcess) -> None:
    (process,) = server.workers()
    peak = 0

    def watch() -> None:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)

    headers = {"Content-Type": f"multipart/form-data; boundary={B}", "Prefer": "respond-async"}
    async with httpx.AsyncClient(base_url=f"http://{server.address}/v1", timeout=100, headers=headers) as client:
        # The first request brings what is only loaded once.
        (await client.post("/audio/transcriptions", content=form(20 * MEGABYTE, lambda: None))).raise_for_status()
        before = process.memory_info().rss
        answer = await client.post("/audio/transcriptions", content=form(SIZE, watch))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["duration"] == pytest.approx(SIZE / 32_000, abs=0.1)
    assert peak - before < 40 * MEGABYTE
