"""A large file in parts through both stores: how much memory that takes, and how fast it is. Run with `just bench`.

Prints for each store: the rate at which the parts arrived, what completing took, the peak memory of the API, and that
of the worker that fetches the file and compares its SHA-256. The file is a wave of noise that nobody ever stores but
the store: `just bench uploads --gigabytes 5`.
"""

import argparse
import asyncio
import hashlib
import os
import random
import shutil
import struct
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from audio_text import logs
from audio_text.local.child import Output
from audio_text.local.process import free_port
from audio_text.local.stack import Stack, embedded_stack
from services.s3 import s3_server

MIB = 1024 * 1024
UPLOADS = "/api/v1/audio/uploads"
SENDERS = 3
"""Parts on their way at once."""

LOOK_SECONDS = 0.05
UNKNOWN_SIZE = 0xFFFF_FFFF
"""What a wave file says whose size its header cannot hold."""

BROKEN_MODEL = "tiny"
"""Its source is a folder that does not exist: the job ends once the worker has the file, and decodes nothing."""


class Recording:
    """A wave file of noise, made again whenever a piece of it is wanted."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._noise = random.Random(7).randbytes(MIB)
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
        data = struct.pack("<4sI", b"data", UNKNOWN_SIZE)
        self._head = struct.pack("<4sI4s", b"RIFF", UNKNOWN_SIZE, b"WAVE") + form + data

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """That much from there, which is at a whole MiB; no two MiB are alike."""
        for place in range(start, start + length, MIB):
            turn = place // MIB * 2 % MIB
            piece = self._noise[turn:] + self._noise[:turn]
            if not place:
                piece = self._head + piece[len(self._head) :]
            yield piece[: start + length - place]

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces(0, self.size_bytes):
            digest.update(piece)
        return digest.hexdigest()


class Memory:
    """The peak of a process's resident memory since this was made, as the looks at it find it."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.before = self.peak = self._now()

    async def watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._now())
            await asyncio.sleep(LOOK_SECONDS)

    def _now(self) -> int:
        processes = [self._process, *self._process.children(recursive=True)]
        sizes = [0]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss)
        return max(sizes)

    def __str__(self) -> str:
        return f"{self.before / MIB:.0f} MiB before, peak {self.peak / MIB:.0f} MiB"


@asynccontextmanager
async def watched(memory: Memory) -> AsyncGenerator[None, None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(memory.watch())
        yield
        task.cancel()


async def measure(name: str, stack: Stack, recording: Recording, sha256: str) -> None:
    api, worker = Memory(_process(stack, "api")), Memory(_process(stack, "worker"))
    async with (
        httpx.AsyncClient(base_url=stack.url, timeout=300, trust_env=False) as http,
        watched(api),
        watched(worker),
    ):
        body = {"filename": "noise.wav", "file_size": recording.size_bytes, "sha256": sha256}
        upload = (await http.post(UPLOADS, json=body)).raise_for_status().json()
        began = time.perf_counter()
        numbers = iter(range(1, upload["part_count"] + 1))
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(send(http, upload, recording, numbers))
        sent = time.perf_counter()
        await until_complete(http, upload)
        completed = time.perf_counter()
        job = await transcribed(http, upload["url"])
    assert job["error_code"] == "model_unavailable", job
    rate = recording.size_bytes / MIB / (sent - began)
    print(f"{name:4} {recording.size_bytes / 1024**3:.2f} GiB in {upload['part_count']} parts, {SENDERS} at once")
    print(f"  sent in {sent - began:.1f} s, {rate:.0f} MiB/s; completed in {completed - sent:.2f} s")
    print(f"  API     {api}")
    print(f"  worker  {worker} (fetch and compare)", flush=True)


async def send(http: httpx.AsyncClient, upload: Mapping, recording: Recording, numbers: Iterator[int]) -> None:
    size = upload["part_size"]
    for number in numbers:
        body = {"numbers": [number]}
        answer = (await http.post(f"{UPLOADS}/{upload['id']}/parts", json=body)).raise_for_status().json()
        (link,) = answer["parts"]
        start = (number - 1) * size
        length = min(size, recording.size_bytes - start)

        async def content(start: int = start, length: int = length) -> AsyncIterator[bytes]:
            for piece in recording.pieces(start, length):
                yield piece

        headers = link["headers"] | {"Content-Length": str(length)}
        (await http.put(link["url"], content=content(), headers=headers)).raise_for_status()


async def until_complete(http: httpx.AsyncClient, upload: Mapping) -> None:
    answer = (await http.post(f"{UPLOADS}/{upload['id']}/complete")).raise_for_status()
    assert answer.json()["is_complete"]


async def transcribed(http: httpx.AsyncClient, url: str) -> Mapping:
    """A job of the file, at its end."""
    body = {"filename": "noise.wav", "url": url, "model": BROKEN_MODEL}
    job = (await http.post("/api/v1/job/transcribe", json=body)).raise_for_status().json()
    while job["finished_at"] is None:
        await asyncio.sleep(0.5)
        job = (await http.get(f"/api/v1/job/status/{job['id']}")).raise_for_status().json()
    return job


@contextmanager
def s3_environment(size_bytes: int) -> Iterator[dict[str, str]]:
    """An S3 server with room for the file, on the disk."""
    with s3_server(disk_bytes=2 * size_bytes + 4 * 1024**3) as server:
        yield {
            "AUDIO_TEXT_STORE_KIND": "s3",
            "AUDIO_TEXT_S3_ENDPOINT": server.settings.endpoint,
            "AUDIO_TEXT_S3_BUCKET": server.settings.bucket,
            "AUDIO_TEXT_S3_ACCESS_KEY": server.access_key,
            "AUDIO_TEXT_S3_SECRET_KEY": server.secret_key,
        }


async def run(name: str, more: Mapping[str, str], recording: Recording, sha256: str) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, (Path(folder) / "log").open("wb") as log:
        Path(folder).chmod(0o755)
        temp = Path(folder) / "downloads"
        temp.mkdir()
        environ = os.environ | {
            "AUDIO_TEXT_API_PORT": str(free_port()),
            "AUDIO_TEXT_UPLOAD_MAX_BYTES": str(recording.size_bytes),
            "AUDIO_TEXT_WORKER_TEMP_FOLDER": str(temp),
            f"AUDIO_TEXT_MODELS_{BROKEN_MODEL.upper()}_SOURCE": "/nowhere/at/all",
            **more,
        }
        async with embedded_stack(Path(folder) / "data", environ, Output(log)) as stack:
            await measure(name, stack, recording, sha256)


def _process(stack: Stack, role: str) -> psutil.Process:
    """The API or the worker, of which there is one."""
    port = str(stack.settings.api.port)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            if role in words and process.environ().get("AUDIO_TEXT_API_PORT") == port:
                return process
    raise LookupError(role)


def main(arguments: argparse.Namespace) -> None:
    logs.configure("error", "console")
    size_bytes = int(arguments.gigabytes * 1024**3)
    needed = 4 * size_bytes + 8 * 1024**3
    if shutil.disk_usage(tempfile.gettempdir()).free < needed:
        print(f"skipped: {needed / 1024**3:.0f} GiB of {tempfile.gettempdir()} have to be free")
        return
    recording = Recording(size_bytes)
    sha256 = recording.sha256()
    if arguments.store in {"disk", None}:
        asyncio.run(run("disk", {}, recording, sha256))
    if arguments.store in {"s3", None}:
        try:
            with s3_environment(size_bytes) as more:
                asyncio.run(run("s3", more, recording, sha256))
        except pytest.skip.Exception as missing:
            print(f"skipped: {missing.msg}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=0.25, help="GiB to send through each store")
    parser.add_argument("--store", choices=["disk", "s3"], help="only this one")
    main(parser.parse_args())
