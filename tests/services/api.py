"""The API under test: inside this process for what is said, as a process of its own for sockets and signals."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import psutil
import pytest
from litestar import Litestar

from audio_text.api.app import create_app
from audio_text.bootstrap import ApiServices
from audio_text.domain.job import Job
from audio_text.settings import Settings
from factories import make_settings
from services.database import Database, temporary_database
from services.postgres import PostgresServer
from services.redis import RedisServer

T = TypeVar("T")

START_SECONDS = 60.0
ENDED_SECONDS = 60.0
WITH_SETTINGS = Path(__file__).with_name("api_process.py")
SIGNING_KEY = "a signing key that only tests know!"


@dataclass(frozen=True)
class Api:
    """An application that runs in this loop, and a client that is connected to it without a network."""

    settings: Settings
    app: Litestar
    client: httpx.AsyncClient

    @property
    def services(self) -> ApiServices:
        return self.app.state.services

    async def upload(self, name: str, data: bytes, content_type: str = "audio/wav") -> str:
        """Do what a client does before it submits; the url to submit."""
        answer = await self.client.post(
            "/api/v1/audio/presigned-url",
            json={"filename": name, "content_type": content_type, "file_size": len(data)},
        )
        target = answer.raise_for_status().json()
        (await self.client.put(target["url"], content=data, headers=target["headers"])).raise_for_status()
        return target["url"]

    async def submit(self, name: str, data: bytes, **options: Any) -> dict[str, Any]:
        """Upload and submit; the job as it was answered."""
        url = await self.upload(name, data)
        answer = await self.client.post("/api/v1/job/transcribe", json={"filename": name, "url": url, **options})
        return answer.raise_for_status().json()

    async def ended(self, job_id: str, *, seconds: float = ENDED_SECONDS) -> Job:
        """The job, once it is over. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not (job := await self.services.resources.jobs.get(job_id)).status.is_terminal:
                await asyncio.sleep(0.02)
        return job


@asynccontextmanager
async def running(settings: Settings, **arguments: Any) -> AsyncIterator[Api]:
    app = create_app(settings, **arguments)
    base_url = f"http://{settings.api.host}:{settings.api.port}"
    async with app.lifespan(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url) as client:
        yield Api(settings, app, client)


@dataclass
class ApiProcess:
    """`audio-text api` as a process; its answers come over a real network."""

    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        return f"{self.settings.api.host}:{self.settings.api.port}"

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def terminate(self) -> int:
        """Send SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event that the process has logged so far."""
        lines = self.log.read_bytes().splitlines()
        return [line for text in lines if (line := msgspec.json.decode(text)).get("event") == event]


@contextmanager
def api_process(settings: Settings, folder: Path, *, wait: bool = True) -> Iterator[ApiProcess]:
    """Start the API on a free port, and wait until it answers; whatever is left of it at the end is killed."""
    settings = msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, port=free_port()))
    number = settings.api.port
    config, log = folder / f"api-{number}.json", folder / f"api-{number}.log"
    config.write_bytes(msgspec.json.encode(settings))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", str(WITH_SETTINGS), str(config)], stdout=output, stderr=output, process_group=0
        )
    try:
        api = ApiProcess(settings, process, log)
        if wait:
            _wait(api)
        yield api
    finally:
        if process.poll() is None:
            api.terminate()
        for leftover in [other for other in psutil.process_iter() if _group(other) == process.pid]:
            leftover.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def api_settings(database: Database, redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Real PostgreSQL, Redis and disk, the database and the disk new for each test."""
    return settings_of(database, redis_server, tmp_path)


@pytest.fixture(scope="module")
async def shared_api_settings(
    postgres_server: PostgresServer,
    redis_server: RedisServer,
    migrated_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Settings]:
    """The same for all tests of a module."""
    async with temporary_database(postgres_server, template=migrated_database) as database:
        yield settings_of(database, redis_server, tmp_path_factory.mktemp("store"))


def settings_of(database: Database, redis: RedisServer, folder: Path) -> Settings:
    (folder / "audio").mkdir()
    return make_settings(
        {
            "store.kind": "disk",
            "disk.folder": str(folder / "audio"),
            "database": database.settings,
            "redis": redis.settings,
            "secrets.database_password": database.password,
            "secrets.redis_password": redis.password,
            "secrets.disk_signing_key": SIGNING_KEY,
        }
    )


@pytest.fixture
async def api(api_settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(api_settings)) as api:
        yield api


@pytest.fixture(scope="module")
async def shared_api(shared_api_settings: Settings) -> AsyncIterator[Api]:
    """The same for all tests of a module, for those that do not mind what the others have left."""
    async with in_one_task(running(shared_api_settings)) as api:
        yield api


@asynccontextmanager
async def in_one_task(context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in the same task, as task groups demand and async fixtures do not."""
    loop = asyncio.get_running_loop()
    entered, leave = loop.create_future(), asyncio.Event()

    async def hold() -> None:
        try:
            async with context as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    task = loop.create_task(hold())
    try:
        yield await entered
    finally:
        leave.set()
        await task


def _wait(api: ApiProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and api.process.poll() is None:
        try:
            httpx.get(f"http://{api.address}/health/live").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(api.log.read_text(errors="replace")[-4_000:])


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0
