"""How long each part of the service takes to come back, one fault at a time."""

import asyncio
import random
import signal
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import psutil
from websockets.asyncio.client import ClientConnection, connect

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Job, JobStatus
from audio_text.errors import EventsUnavailableError
from audio_text.local.supervisor import Backoff
from factories import make_job
from recordings import conversation, write
from soak.clients import ANSWER_SECONDS, Client
from soak.system import System, running_system

FIRST_CRASH = Backoff(steady_seconds=1.0)
"""Every trial is a first crash: the supervisor does not make it wait for those of the trials before."""

LONGEST_SECONDS = 60.0
LOOK_SECONDS = 0.01


class Figure(NamedTuple):
    """One line of the table: what was measured, the trials in seconds, and the goal, if it has one."""

    name: str
    trials: list[float]
    goal: float | None = None

    def __str__(self) -> str:
        worst = max(self.trials)
        line = f"{self.name:64} median {statistics.median(self.trials):5.2f} s, worst {worst:5.2f} s"
        if self.goal is None:
            return line
        return f"{line} (goal {self.goal:g} s{'' if worst <= self.goal else ', missed'})"


class Moved(NamedTuple):
    """Seconds from a fault until somebody claimed the job, and until the next segment was stored."""

    claimed: float
    going_on: float


class Bench:
    """A running service, a client, and a recording that takes some seconds."""

    def __init__(self, system: System, http: httpx.AsyncClient, recording: Path) -> None:
        self._system = system
        self._jobs = system.resources.jobs
        self._http = http
        self._client = Client(http, system.api_urls, behaviour="poll", chance=random.Random(0))
        self._recording = recording
        self._told = 0.0
        self.lease_seconds = system.settings.worker.lease_seconds

    async def worker_killed(self) -> Moved:
        async with self._running_job() as job:
            self._worker_of(job).send_signal(signal.SIGKILL)
            return await self._until_moving(job)

    async def worker_silent(self) -> Moved:
        """As if its machine had gone: nobody starts another one in its place."""
        async with self._running_job() as job:
            process = self._worker_of(job)
            process.send_signal(signal.SIGSTOP)
            try:
                return await self._until_moving(job)
            finally:
                process.send_signal(signal.SIGCONT)

    async def worker_stopped(self) -> Moved:
        async with self._running_job() as job:
            self._worker_of(job).send_signal(signal.SIGTERM)
            return await self._until_moving(job)

    async def job_cancelled(self) -> float:
        """From the request until the worker has let go of the job."""
        async with self._running_job() as job:
            left, began = self._logged(b"job_left"), time.monotonic()
            await self._cancel(job)
            await until(lambda: asyncio.to_thread(lambda: self._logged(b"job_left") > left))
            return time.monotonic() - began

    async def redis_restarted(self) -> float:
        """From the stop until a follower gets what was published after it."""
        job = make_job(tier="parked")
        await self._jobs.add(job)
        url = f"ws{self._system.api_urls[0][4:]}/api/v1/job/ws/{job.id}"
        async with connect(url, proxy=None) as socket, asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publish(job.id))
            await _progress(socket, beyond=0.0)
            began = time.monotonic()
            await asyncio.to_thread(self._system.redis.stop)
            told = self._told
            await asyncio.to_thread(self._system.redis.start)
            await _progress(socket, beyond=told)
            seconds = time.monotonic() - began
            publishing.cancel()
        await self._jobs.delete(job.id)
        return seconds

    async def database_restarted(self) -> tuple[float, float]:
        """Until a submit is accepted: from PostgreSQL's first answer after its crash, and from the crash itself."""
        url = await self._client.upload(self._recording)
        crashed = time.monotonic()
        await asyncio.to_thread(self._system.postgres.stop, signal.SIGQUIT)  # "immediate": it has to recover

        async def start() -> float:
            await asyncio.to_thread(self._system.postgres.start)
            return time.monotonic()

        async def submit() -> float:
            job_id = await self._client.submit_upload(self._recording, url)
            accepted = time.monotonic()
            await self._jobs.delete(job_id)
            return accepted

        answered, accepted = await asyncio.gather(start(), submit())
        return max(0.0, accepted - answered), accepted - crashed

    @asynccontextmanager
    async def _running_job(self) -> AsyncGenerator[Job, None]:
        """A job that a worker is in the middle of, and all workers alive for longer than a moment."""
        job_id = await self._client.submit(self._recording)

        async def has_begun() -> bool:
            job = await self._jobs.get(job_id)
            return job.status is JobStatus.processing and job.progress > 0

        await until(has_begun)
        job = await self._jobs.get(job_id)
        try:
            yield job
        finally:
            await self._cancel(job)
            await until(lambda: asyncio.to_thread(self._all_have_lived))

    async def _until_moving(self, job: Job) -> Moved:
        began = time.monotonic()
        now = reached = await self._jobs.get(job.id)
        async with asyncio.timeout(LONGEST_SECONDS):
            while now.claims == job.claims:
                reached = now  # the worker may still have a last word
                await asyncio.sleep(LOOK_SECONDS)
                now = await self._jobs.get(job.id)
            claimed = time.monotonic() - began
            while now.progress <= reached.progress:
                await asyncio.sleep(LOOK_SECONDS)
                now = await self._jobs.get(job.id)
        return Moved(claimed, time.monotonic() - began)

    async def _cancel(self, job: Job) -> None:
        with suppress(httpx.HTTPStatusError):  # it is over
            (await self._http.post(f"{self._system.api_urls[0]}/api/v1/job/{job.id}/cancel")).raise_for_status()

    async def _publish(self, job_id: str) -> None:
        while True:
            update = JobUpdate(job_id=job_id, status=JobStatus.pending, progress=self._told + 0.001)
            with suppress(EventsUnavailableError):
                await self._system.resources.events.publish(update)
            self._told = update.progress
            await asyncio.sleep(LOOK_SECONDS)

    def _worker_of(self, job: Job) -> psutil.Process:
        process = self._system.worker(job.lease_owner or "")
        assert process is not None
        return process

    def _all_have_lived(self) -> bool:
        now = time.time()
        workers = self._system.workers()
        lived = [now - process.create_time() > 2 * FIRST_CRASH.steady_seconds for process in workers]
        return all(lived) and len(lived) == len(self._system.worker_names)

    def _logged(self, event: bytes) -> int:
        return (self._system.folder / "log").read_bytes().count(event)


async def measure(folder: Path, *, trials: int) -> AsyncGenerator[Figure, None]:
    """Measure everything so often, with one worker and with two."""
    talk = await asyncio.to_thread(conversation, 600.0, pauses=(0.3, 1.5))
    recording = await asyncio.to_thread(write, folder / "talk.mp3", talk.samples)

    async def times(trial: Callable[[], Awaitable[float]]) -> list[float]:
        return [await trial() for _ in range(trials)]

    async def pairs(trial: Callable[[], Awaitable[tuple[float, float]]]) -> tuple[list[float], list[float]]:
        found = [await trial() for _ in range(trials)]
        return [first for first, _ in found], [second for _, second in found]

    async with _bench(folder / "one", recording, workers=1) as bench:
        claimed, going_on = await pairs(bench.worker_killed)
        yield Figure("kill -9 of the only worker, until its job is claimed again", claimed)
        yield Figure("  and until the job's next segment", going_on, goal=5)
        yield Figure("cancel of a running job, until its worker is free", await times(bench.job_cancelled), goal=2)
    async with _bench(folder / "two", recording, workers=2) as bench:
        lease = bench.lease_seconds
        claimed, going_on = await pairs(bench.worker_stopped)
        yield Figure("SIGTERM of a worker, until another one has its job", claimed, goal=2)
        yield Figure("  and until the job's next segment", going_on)
        claimed, going_on = await pairs(bench.worker_silent)
        yield Figure(f"worker silent (lease {lease:g} s), until another one has its job", claimed, goal=lease + 2)
        yield Figure("  and until the job's next segment", going_on)
        yield Figure("Redis restarted, until followers hear again", await times(bench.redis_restarted), goal=2)
        answered, crashed = await pairs(bench.database_restarted)
        yield Figure("PostgreSQL answers after a crash, until a submit is accepted", answered, goal=2)
        yield Figure("  and from the crash, its own recovery included", crashed)


@asynccontextmanager
async def _bench(folder: Path, recording: Path, *, workers: int) -> AsyncGenerator[Bench, None]:
    folder.mkdir(mode=0o755)
    async with (
        running_system(folder, workers=workers, backoff=FIRST_CRASH) as system,
        httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http,
    ):
        yield Bench(system, http, recording)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, looking often. Raises TimeoutError."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while not await condition():
            await asyncio.sleep(LOOK_SECONDS)


async def _progress(socket: ClientConnection, *, beyond: float) -> None:
    async with asyncio.timeout(LONGEST_SECONDS):
        while msgspec.json.decode(await socket.recv()).get("progress", 0.0) <= beyond:
            pass
