"""A service of a cell's own: its database, its store, its tier; an API in this process, workers beside it."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from audio_text.adapters.event_log import START, RedisEventLog
from audio_text.adapters.redis_client import open_client
from audio_text.bootstrap import open_resources
from audio_text.domain.events import JobUpdate
from audio_text.errors import EventsUnavailableError
from audio_text.services.storage import StorageService
from audio_text.settings import Settings
from recordings import path_of
from services.api import Api, free_port, in_one_task, running
from services.database import Database
from services.faulty import Fault, FaultyProcess, Kind, Nursery

SECONDS = 60.0
LOOK_SECONDS = 0.05
IMPATIENCE_SECONDS = 2.0
"""How long a client waits for an answer."""

DAYS = 86_400

_numbers = count(1)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the condition is true. Raises TimeoutError."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(LOOK_SECONDS)


class World:
    """What a user and an operator see of the service, and the processes that run in it."""

    def __init__(self, settings: Settings, api: Api, rows: asyncpg.Connection, log: RedisEventLog) -> None:
        self.settings = settings
        self.tier = settings.route("demo")
        self.api = api
        self._rows = rows
        self._log = log

    async def upload(self, recording: str) -> str:
        """The url to submit."""
        data = path_of(recording).read_bytes()
        declared = {"filename": path_of(recording).name, "file_size": len(data)}
        answer = await self.api.client.post("/api/v1/audio/presigned-url", json=declared)
        target = answer.raise_for_status().json()
        async with httpx.AsyncClient() as beside:
            client = self.api.client if target["url"].startswith(str(self.api.client.base_url)) else beside
            (await client.put(target["url"], content=data, headers=target["headers"])).raise_for_status()
        return target["url"]

    async def submit(self, recording: str, **options: Any) -> str:
        """Upload and submit; the job's id."""
        return await self.submit_url(recording, await self.upload(recording), **options)

    async def submit_url(self, filename: str, url: str, **options: Any) -> str:
        """Submit what lies there; the job's id."""
        body = {"filename": filename, "url": url, "mode": "demo", **options}
        return (await self.api.client.post("/api/v1/job/transcribe", json=body)).raise_for_status().json()["id"]

    async def jobs(self) -> list[dict[str, Any]]:
        """All there are."""
        return (await self.api.client.get("/api/v1/job/read")).raise_for_status().json()

    async def attempts(self, job_id: str) -> list[dict[str, Any]]:
        return (await self.api.client.get(f"/api/v1/job/{job_id}/attempts")).raise_for_status().json()

    async def row(self, job_id: str) -> asyncpg.Record:
        row = await self._rows.fetchrow("SELECT * FROM transcription_job WHERE id = $1", job_id)
        assert row is not None
        return row

    async def events(self, job_id: str) -> list[JobUpdate]:
        """The log of the job's events."""
        async with asyncio.timeout(SECONDS):
            while True:
                # A busy machine may keep this process from hearing Redis in time.
                with suppress(EventsUnavailableError):
                    return [published.update for _, published in await self._log.read(job_id, START)]

    async def picture(self, job_id: str) -> dict[str, object]:
        """Everything there is about a job, to be compared."""
        segments = await self._rows.fetch("SELECT * FROM transcription_segment WHERE job_id = $1 ORDER BY 2", job_id)
        attempts = await self._rows.fetch("SELECT * FROM transcription_attempt WHERE job_id = $1 ORDER BY 2", job_id)
        row, events = await self.row(job_id), await self.events(job_id)
        return {"row": row, "segments": segments, "attempts": attempts, "events": events}

    async def has_ended(self, job_id: str) -> bool:
        """Whether the job is over and everybody was told."""
        row = await self._rows.fetchrow(
            "SELECT status::text, is_unannounced FROM transcription_job WHERE id = $1", job_id
        )
        return row["status"] in {"completed", "failed", "cancelled"} and not row["is_unannounced"]

    def files(self) -> list[Path]:
        """What lies in the store, if it is this machine's disk, and in the workers' temporary folder."""
        folders = Path(self.settings.disk.folder), Path(self.settings.worker.temp_folder)
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    async def sweep(self) -> None:
        """Let days pass, and do what workers do every few hours."""
        long_ago = time.time() - (self.settings.store.orphan_days + 1) * DAYS
        for path in self.files():
            os.utime(path, (long_ago, long_ago))
        async with open_resources(self.settings, name="sweep", live=False) as resources:
            storage = StorageService(resources, settings=self.settings)
            await storage.remove_abandoned()
            await storage.sweep()

    async def lose_message(self) -> None:
        """Empty the tier's queue, as a Redis without its data does."""
        redis = self.settings.redis
        async with open_client(
            redis, self.settings.secrets.redis_password, db=redis.queue_db, client_name="test", connections=1
        ) as client:
            await client.delete(*await client.keys(f"*:{self.tier}*"))


class Crew:
    """The processes of one cell."""

    def __init__(self, nursery: Nursery, settings: Settings) -> None:
        self._nursery = nursery
        self._settings = settings
        self._tier = settings.route("demo")
        self._processes: list[FaultyProcess] = []

    def worker(self, fault: Fault | None = None) -> FaultyProcess:
        return self._add(self._nursery.worker(self._settings, self._tier, fault))

    async def visitor(self, fault: Fault) -> "Visitor":
        """A client of an API that this fault awaits."""
        settings = msgspec.structs.replace(
            self._settings, api=msgspec.structs.replace(self._settings.api, port=free_port())
        )
        visitor = Visitor(self._add(self._nursery.api(settings, fault)), settings)
        await visitor.ask("GET", "/health/live")
        return visitor

    async def go(self) -> None:
        """End what is left in good order."""
        for process in self._processes:
            fault = process.fault
            was_killed = fault and fault.kind is Kind.kill and process.is_worker
            assert await process.terminate() == (-9 if was_killed else 0), process.output()

    def _add(self, process: FaultyProcess) -> FaultyProcess:
        self._processes.append(process)
        return process


class Visitor:
    """A client that asks again until it is answered, as clients do."""

    def __init__(self, api: FaultyProcess, settings: Settings) -> None:
        self._api = api
        self._base_url = f"http://{settings.api.host}:{settings.api.port}"
        self.unanswered = 0

    async def ask(self, method: str, url: str, **body: Any) -> httpx.Response:
        """The first answer that is not a failure of the service."""
        answers: list[httpx.Response] = []

        async def is_answered() -> bool:
            try:
                async with httpx.AsyncClient(base_url=self._base_url, timeout=IMPATIENCE_SECONDS) as client:
                    answers.append(await client.request(method, url, **body))
            except httpx.TransportError:
                self.unanswered += 1
                self._api.thaw()
                return False
            if answers[-1].is_server_error:
                assert answers[-1].status_code == 503, answers[-1].text
                assert answers[-1].headers["Retry-After"]
            return not answers[-1].is_server_error

        await until(is_answered)
        return answers[-1]


@asynccontextmanager
async def world(settings: Settings, database: Database, folder: Path) -> AsyncGenerator[World]:
    """Open it. `settings` name the database, Redis and the store; the tier becomes one of the world's own."""
    settings = _private(settings, folder)
    redis = settings.redis
    rows = await database.connect()
    try:
        async with (
            in_one_task(running(settings)) as api,
            open_client(
                redis, settings.secrets.redis_password, db=redis.events_db, client_name="test", connections=2
            ) as client,
        ):
            await api.services.resources.store.prepare()
            yield World(settings, api, rows, RedisEventLog(client, settings.events))
    finally:
        await rows.close()


def _private(settings: Settings, folder: Path) -> Settings:
    """With a tier, and so a queue, that no other world has; leases as short as settings allow."""
    tier = f"audio_cell_{next(_numbers)}"
    temp_folder = folder / "temp"
    temp_folder.mkdir()
    replace = msgspec.structs.replace
    return replace(
        settings,
        api=replace(settings.api, docs=False),
        database=replace(settings.database, pool_max=4),
        engine=replace(settings.engine, cpu_threads=1),
        worker=replace(settings.worker, lease_seconds=3.0, temp_folder=str(temp_folder)),
        tiers=settings.tiers | {tier: replace(settings.tiers["audio_small"], concurrency=1)},
        models=settings.models | {"demo": replace(settings.models["demo"], tier=tier)},
    )
