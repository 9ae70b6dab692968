"""PostgreSQL, Redis and S3 come late, go, freeze and forget, under real processes: none of these ever needs a hand."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from audio_text.adapters.redis_client import open_client
from audio_text.settings import Settings, StoreKind
from recordings import DATA
from services.api import ApiProcess, api_process
from services.live import following, receive, segment_ids, to_the_end, updates
from services.postgres import PostgresServer
from services.redis import RedisServer
from services.s3 import S3Server
from services.up import Up, clean_environment
from services.waiting import until
from services.worker import WorkerProcess, worker_process

pytestmark = pytest.mark.s3

SHORT, LONG = DATA / "one_a.flac", DATA / "memo_100s.flac"
TOO_LONG_SECONDS = 6.0
"""Longer than anybody's patience with Redis: that of the worker's threads is the longest, with 5 seconds."""


@dataclass
class World:
    """The three things that everything stands on, and how a test takes them away."""

    settings: Settings
    postgres: PostgresServer
    redis: RedisServer
    s3: S3Server

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """For as long as the block runs, the part is not there; it went without a word."""
        server = {"database": self.postgres.server, "redis": self.redis, "store": self.s3}[name]
        if server is None:
            pytest.skip("the server of AUDIO_TEXT_TEST_POSTGRES is not ours to stop")
        server.kill()
        try:
            yield
        finally:
            server.start()


@dataclass
class System:
    """An API and a worker that run."""

    world: World
    api: ApiProcess
    worker: WorkerProcess

    async def missing(self) -> set[str]:
        """What /health/ready calls down."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(f"http://{self.api.address}/health/ready")
        return {name for name, state in answer.json()["dependencies"].items() if state["status"] == "down"}

    async def until_missing(self, names: set[str]) -> None:
        async with asyncio.timeout(60):
            while await self.missing() != names:
                await asyncio.sleep(0.05)

    async def submit(self, recording: Path = SHORT, **options: Any) -> str:
        """Upload and submit; the id of the job."""
        data = await asyncio.to_thread(recording.read_bytes)
        async with httpx.AsyncClient(base_url=f"http://{self.api.address}", trust_env=False, timeout=30) as client:
            declared = {"filename": recording.name, "content_type": "audio/flac", "file_size": len(data)}
            answer = await client.post("/api/v1/audio/presigned-url", json=declared)
            url = answer.raise_for_status().json()["url"]
            (await client.put(url, content=data, headers={"Content-Type": "audio/flac"})).raise_for_status()
            body = {"filename": recording.name, "url": url, "mode": "demo"} | options
            return (await client.post("/api/v1/job/transcribe", json=body)).raise_for_status().json()["id"]

    async def job(self, job_id: str) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return (await client.get(f"http://{self.api.address}/api/v1/job/status/{job_id}")).json()

    async def until_over(self, job_id: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while (job := await self.job(job_id)).get("status") not in {"completed", "failed", "cancelled"}:
                await asyncio.sleep(0.05)
        return job


@pytest.fixture
def world(
    api_settings: Settings, postgres_server: PostgresServer, redis_server: RedisServer, s3_server: S3Server
) -> World:
    settings = msgspec.structs.replace(
        api_settings,
        engine=msgspec.structs.replace(api_settings.engine, preload=("demo",), cpu_threads=1),
        store=msgspec.structs.replace(api_settings.store, kind=StoreKind.s3),
        s3=s3_server.settings,
        secrets=msgspec.structs.replace(
            api_settings.secrets, s3_access_key=s3_server.access_key, s3_secret_key=s3_server.secret_key
        ),
    )
    return World(settings, postgres_server, redis_server, s3_server)


@contextmanager
def running(world: World, folder: Path) -> Iterator[System]:
    with ExitStack() as stack:
        api = stack.enter_context(api_process(world.settings, folder))
        worker = stack.enter_context(worker_process(world.settings, folder, "audio_small"))
        yield System(world, api, worker)


@pytest.fixture
def system(world: World, tmp_path: Path) -> Iterator[System]:
    with running(world, tmp_path) as system:
        yield system


def waits_for(process: ApiProcess | WorkerProcess, dependency: str, address: str) -> bool:
    """Whether the process has said in its log what it waits for, where, and what to do."""
    lines = [line for line in process.logged("dependency_missing") if line["dependency"] == dependency]
    return any(address in line["message"] and "AUDIO_TEXT_" in line["message"] for line in lines)


@pytest.mark.parametrize(
    ("away", "named"), [("database", {"database"}), ("redis", {"queue", "events"}), ("store", {"store"})]
)
async def test_api_and_worker_start_without_it_say_so_and_work_when_it_comes(
    world: World, tmp_path: Path, away: str, named: set[str]
) -> None:
    settings = world.settings
    address = {
        "database": f"{settings.database.host}:{settings.database.port}",
        "redis": f"{settings.redis.host}:{settings.redis.port}",
        "store": settings.s3.endpoint,
    }[away]
    with ExitStack() as stack:
        with world.without(away):
            system = stack.enter_context(running(world, tmp_path))
            await system.until_missing(named)
            for process in (system.api, system.worker):
                await until(lambda process=process: all(waits_for(process, name, address) for name in named))
        await system.until_missing(set())
        assert (await system.until_over(await system.submit()))["status"] == "completed"
        for process in (system.api, system.worker):
            await until(lambda process=process: {x["dependency"] for x in process.logged("dependency_back")} == named)
        assert system.worker.process.poll() is None


async def test_migrating_waits_for_the_database_and_says_so(world: World) -> None:
    database = world.settings.database
    environment = clean_environment(**in_environment(world.settings))
    with world.without("database"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "audio_text", "migrate"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        line = json.loads(await process.stderr.readline())
        assert f"Waiting for PostgreSQL at {database.host}:{database.port}: start it" in line["message"]
    output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"The database is up to date.\n")


async def test_the_whole_service_waits_for_a_database_and_a_redis_of_the_users_own(
    world: World, tmp_path: Path
) -> None:
    with world.without("redis"):
        with world.without("database"):
            environment = clean_environment(**in_environment(world.settings), AUDIO_TEXT_LOG_FORMAT="console")
            up = Up(tmp_path / "up", "--port", str(world.settings.api.port), environment=environment)
            await asyncio.to_thread(up.wait_for, "Waiting for PostgreSQL at")
        await asyncio.to_thread(up.wait_for, "Waiting for Redis at")
        assert not up.url
    await asyncio.to_thread(up.until_running)
    assert await asyncio.to_thread(up.stop) == 0


def in_environment(settings: Settings) -> dict[str, str]:
    database, redis = settings.database, settings.redis
    return {
        "AUDIO_TEXT_DATABASE_HOST": database.host,
        "AUDIO_TEXT_DATABASE_PORT": str(database.port),
        "AUDIO_TEXT_DATABASE_NAME": database.name,
        "AUDIO_TEXT_DATABASE_USER": database.user,
        "AUDIO_TEXT_DATABASE_PASSWORD": settings.secrets.database_password,
        "AUDIO_TEXT_REDIS_HOST": redis.host,
        "AUDIO_TEXT_REDIS_PORT": str(redis.port),
        "AUDIO_TEXT_REDIS_PASSWORD": settings.secrets.redis_password,
    }


async def test_outages_one_after_the_other_need_no_hand(system: System) -> None:
    world = system.world
    outages: dict[str, Callable[[], Awaitable[None]]] = {
        "PostgreSQL is killed and comes back": lambda: absence(system, "database", {"database"}),
        "Redis is killed and comes back": lambda: absence(system, "redis", {"queue", "events"}),
        "Redis forgets everything": lambda: asyncio.to_thread(world.redis.lose_everything),
        "Redis is emptied": lambda: flush(world),
        "Redis is frozen": lambda: frost(system),
        "the gateway is away": lambda: absence(system, "store", {"store"}),
    }
    for name, outage in outages.items():
        before = await system.submit(LONG)
        await outage()
        await system.until_missing(set())
        after = await system.submit()
        ended = [(await system.until_over(job))["status"] for job in (before, after)]
        assert ended == ["completed", "completed"], name
    assert system.worker.process.poll() is None
    assert len(system.worker.logged("worker_ready")) == 1


async def absence(system: System, name: str, named: set[str]) -> None:
    with system.world.without(name):
        await system.until_missing(named)


async def frost(system: System) -> None:
    with system.world.redis.frozen():
        await system.until_missing({"queue", "events"})
        await asyncio.sleep(TOO_LONG_SECONDS)


@asynccontextmanager
async def client_of(world: World) -> AsyncIterator[Redis]:
    redis = world.redis
    async with open_client(redis.settings, redis.password, db=0, client_name="test", connections=1) as client:
        yield client


async def flush(world: World) -> None:
    async with client_of(world) as client:
        await client.flushall()


@pytest.mark.parametrize("loss", ["restarted without its log", "emptied", "restarted with its log"])
async def test_a_socket_outlives_a_redis_that_forgets_and_its_text_is_the_stored_one(
    system: System, tmp_path: Path, loss: str
) -> None:
    world = system.world
    job_id = await system.submit(LONG)
    async with following(system.api, job_id) as socket:
        messages = [await receive(socket)]
        while not segment_ids(messages):
            messages.append(await receive(socket))
        if loss == "emptied":
            await flush(world)
        elif loss == "restarted with its log":
            with world.without("redis"):
                pass
        else:
            await asyncio.to_thread(world.redis.lose_everything)
        assert (await system.job(job_id))["status"] == "processing", "the loss must come in the middle of the job"
        rest, code = await to_the_end(socket)
    messages += rest
    stored = await system.until_over(job_id)
    assert code == 1000
    segments = [segment for message in updates(messages) for segment in message["segments"]]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert "".join(segment["text"] for segment in segments).strip() == stored["result_text"]
    ends = [message for message in updates(messages) if message["status"] == "completed"]
    assert [end["result"] for end in ends] == [stored["result_text"]]
