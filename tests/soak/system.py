"""A whole service to be ill-treated: real servers, two APIs and two workers, kept alive by the project's supervisor."""

import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import msgspec
import psutil
from botocore.config import Config

from audio_text import bootstrap
from audio_text.local.child import Child, Output
from audio_text.local.postgres import EmbeddedPostgres
from audio_text.local.process import Command, free_port
from audio_text.local.redis import EmbeddedRedis
from audio_text.local.supervisor import Backoff, Supervisor, open_supervisor
from audio_text.ports import Resources
from audio_text.settings import Settings, load
from services.commands import COMMAND
from services.s3 import S3Server, s3_server
from services.server import Server
from services.up import clean_environment
from services.waiting import until

MODEL, TIER = "demo", "audio_small"
PASSWORD = "a password for nobody"
BACKOFF = Backoff(max_seconds=2.0, steady_seconds=3.0, tries=1_000)
"""Dying every few seconds is what chaos does here; elsewhere it is a crash loop, and the supervisor waits longer."""

RETRY = {"retries": 20, "first_delay_seconds": 0.5, "step_seconds": 0.5, "max_delay_seconds": 3.0}
"""A job that is hit by a dozen faults in a minute has done nothing wrong: it has attempts enough, close together."""


class System(msgspec.Struct, frozen=True):
    """What is running, and handles on all of it."""

    folder: Path
    settings: Settings
    resources: Resources
    api_urls: list[str]
    worker_names: list[str]
    postgres: Server
    redis: Server
    s3: S3Server
    supervisor: Supervisor

    @property
    def temp_folder(self) -> Path:
        return self.folder / "temp"

    def worker(self, name: str) -> psutil.Process | None:
        """The process that bears this name now; None between two lives."""
        return next((child for child in self._children() if name in _arguments(child)), None)

    def workers(self) -> list[psutil.Process]:
        return [process for name in self.worker_names if (process := self.worker(name))]

    def apis(self) -> list[psutil.Process]:
        """The main process of each API."""
        return [child for child in self._children() if _arguments(child)[-1:] == ["api"]]

    def bucket(self) -> Any:
        """The bucket, for a look at what is in it."""
        options = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}
        store = boto3.resource(
            "s3",
            endpoint_url=self.settings.s3.endpoint,
            region_name=self.settings.s3.region,
            aws_access_key_id=self.s3.access_key,
            aws_secret_access_key=self.s3.secret_key,
            config=Config(**options),
        )
        return store.Bucket(self.settings.s3.bucket)

    def object_keys(self) -> set[str]:
        return {found.key for found in self.bucket().objects.all()}

    def _children(self) -> list[psutil.Process]:
        return psutil.Process().children()


@asynccontextmanager
async def running_system(
    folder: Path, *, lease_seconds: float = 15.0, workers: int = 2, backoff: Backoff = BACKOFF
) -> AsyncGenerator[System, None]:
    """Start everything in `folder`, which others may enter, and wait until all of it is at work."""
    async with AsyncExitStack() as stack:
        s3 = stack.enter_context(s3_server())
        postgres = EmbeddedPostgres(folder / "postgres", password=PASSWORD)
        redis = EmbeddedRedis(folder / "redis", password=PASSWORD)
        servers = [stack.enter_context(_server(embedded, folder)) for embedded in (postgres, redis)]
        (folder / "temp").mkdir()
        environment = _environment(folder, postgres, redis, s3) | {
            "AUDIO_TEXT_WORKER_LEASE_SECONDS": str(lease_seconds),
            "AUDIO_TEXT_DATABASE_TIMEOUT_SECONDS": str(lease_seconds * 0.6),
        }
        settings = load(environment).settings
        await bootstrap.migrate(settings, patience_seconds=30.0)
        resources = await stack.enter_async_context(bootstrap.open_resources(settings, name="soak", live=False))
        await resources.store.prepare()
        output = Output(stack.enter_context((folder / "log").open("wb")))
        supervisor = await stack.enter_async_context(open_supervisor(output, backoff=backoff))
        ports = [free_port(), free_port()]
        names = [f"{socket.gethostname()}/worker-{number}" for number in range(workers)]
        await supervisor.start(*(_api(environment, port) for port in ports), *(_worker(environment, n) for n in names))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        system = System(folder, settings, resources, urls, names, *servers, s3, supervisor)
        await until(lambda: all(map(_is_ready, urls)))
        await until(lambda: (folder / "log").read_bytes().count(b"worker_ready") >= workers)
        yield system


@contextmanager
def _server(embedded: EmbeddedPostgres | EmbeddedRedis, folder: Path) -> Generator[Server, None, None]:
    embedded.prepare()
    server = Server(embedded, folder / f"{embedded.name}.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _environment(folder: Path, postgres: EmbeddedPostgres, redis: EmbeddedRedis, s3: S3Server) -> dict[str, str]:
    return clean_environment(
        AUDIO_TEXT_DATABASE_HOST=postgres.host,
        AUDIO_TEXT_DATABASE_PORT=str(postgres.port),
        AUDIO_TEXT_DATABASE_PASSWORD=postgres.password,
        AUDIO_TEXT_REDIS_HOST=redis.host,
        AUDIO_TEXT_REDIS_PORT=str(redis.port),
        AUDIO_TEXT_REDIS_PASSWORD=redis.password,
        AUDIO_TEXT_ACCESS_OPEN="true",
        AUDIO_TEXT_STORE_KIND="s3",
        AUDIO_TEXT_S3_ENDPOINT=s3.settings.endpoint,
        AUDIO_TEXT_S3_BUCKET="soak",
        AUDIO_TEXT_S3_ACCESS_KEY=s3.access_key,
        AUDIO_TEXT_S3_SECRET_KEY=s3.secret_key,
        AUDIO_TEXT_WORKER_TEMP_FOLDER=str(folder / "temp"),
        AUDIO_TEXT_TIERS_AUDIO_SMALL_RETRY=msgspec.json.encode(RETRY).decode(),
        AUDIO_TEXT_TIERS_AUDIO_SMALL_CONCURRENCY="2",
        AUDIO_TEXT_ENGINE_PRELOAD=MODEL,
        AUDIO_TEXT_ENGINE_CPU_THREADS="1",
        # every client has the same address, and asks as often as it takes
        AUDIO_TEXT_LIMITS_REQUESTS_PER_MINUTE="0",
        AUDIO_TEXT_LIMITS_REQUESTS_PER_HOUR="0",
    )


def _api(environment: dict[str, str], port: int) -> Child:
    command = Command(arguments=(*COMMAND, "api"), environment=environment | {"AUDIO_TEXT_API_PORT": str(port)})
    return Child(name=f"api-{port}", command=command)


def _worker(environment: dict[str, str], name: str) -> Child:
    command = Command(arguments=(*COMMAND, "worker", "--name", name, TIER), environment=environment)
    return Child(name=name.rpartition("/")[2], command=command, grace_seconds=40.0)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []
