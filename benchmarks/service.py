"""What the service itself costs, measured on the embedded stack with the offline model. Run with `just bench`.

Prints: overhead of a small job over the bare library, submit latency by backlog, statements and commands per
operation, and how many followers learn how their job ended under hostile timing. Ratios and counts travel
between machines; milliseconds do not.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import psutil
from faster_whisper import WhisperModel
from redis.asyncio import Redis
from redis.asyncio.client import Monitor
from websockets.asyncio.client import connect

from audio_text import logs
from audio_text.bootstrap import open_resources
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.local.child import Output
from audio_text.local.process import free_port
from audio_text.local.stack import Stack, embedded_stack
from audio_text.ports import Claim
from audio_text.settings import Settings

DATA = Path(__file__).parents[1] / "tests" / "data"
MODEL = files("audio_text") / "data" / "demo_model"
SMALL = DATA / "one_a.flac"
PARKED = "parked"
OWN_TRANSACTIONS = 2
"""What counting costs itself: its connection and its question."""
BROKEN_MODEL = "tiny"
"""Its source is a folder that does not exist, so that its jobs fail at once."""


class Clients:
    """HTTP and WebSocket clients of one stack."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient) -> None:
        self.stack = stack
        self.http = http

    async def upload(self, audio: Path) -> str:
        content = await asyncio.to_thread(audio.read_bytes)
        request = {"filename": audio.name, "content_type": "audio/flac", "file_size": len(content)}
        target = (await self.http.post("/api/v1/audio/presigned-url", json=request)).raise_for_status().json()
        headers = {"Content-Type": "audio/flac"}
        (await self.http.put(target["url"], content=content, headers=headers)).raise_for_status()
        return target["url"]

    async def submit(self, url: str, model: str = "demo") -> str:
        body = {"filename": SMALL.name, "url": url, "mode": model}
        return (await self.http.post("/api/v1/job/transcribe", json=body)).raise_for_status().json()["id"]

    async def ending(self, job_id: str, *, seconds: float = 30.0) -> str | None:
        """The status of the last update the socket brought before it closed; None: none came in time."""
        last = None
        try:
            async with asyncio.timeout(seconds), connect(self.socket(job_id), max_size=None) as socket:
                async for message in socket:
                    last = json.loads(message).get("status", last)
        except TimeoutError:
            return None
        return last

    def socket(self, job_id: str) -> str:
        return f"ws{self.stack.url.removeprefix('http')}/api/v1/job/ws/{job_id}"


@asynccontextmanager
async def running_stack() -> AsyncGenerator[Clients, None]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, (Path(name) / "log").open("wb") as log:
        Path(name).chmod(0o755)
        environ = os.environ | {
            "AUDIO_TEXT_API_PORT": str(free_port()),
            "AUDIO_TEXT_ENGINE_PRELOAD": "demo",
            f"AUDIO_TEXT_MODELS_{BROKEN_MODEL.upper()}_SOURCE": "/nowhere/at/all",
        }
        async with (
            embedded_stack(Path(name) / "data", environ, Output(log)) as stack,
            httpx.AsyncClient(base_url=stack.url, timeout=30) as http,
        ):
            yield Clients(stack, http)


async def overhead(clients: Clients, jobs: int) -> None:
    """A small job from submit to its terminal event, beside the bare library on the same file, in turn."""
    bare_model = WhisperModel(str(MODEL), device="cpu", compute_type="int8", cpu_threads=1)
    options = clients.stack.settings.options
    vad = msgspec.to_builtins(options.vad)

    def bare() -> float:
        began = time.perf_counter()
        segments, _ = bare_model.transcribe(str(SMALL), vad_filter=options.vad_filter, vad_parameters=vad)
        list(segments)
        return time.perf_counter() - began

    through, alone = [], []
    for _ in range(jobs + 3):
        url = await clients.upload(SMALL)
        began = time.perf_counter()
        assert await clients.ending(await clients.submit(url)) == "completed"
        through.append(time.perf_counter() - began)
        alone.append(await asyncio.to_thread(bare))
    pairs = list(zip(through, alone, strict=True))[3:]
    extra = [a - b for a, b in pairs]
    print(f"overhead of one small job ({SMALL.name}, {jobs} jobs, submit to terminal event minus bare transcribe)")
    print(f"  bare   median {median_ms(b for _, b in pairs)}")
    print(f"  job    median {median_ms(a for a, _ in pairs)}")
    print(f"  extra  median {median_ms(extra)}, p90 {p90_ms(extra)}")


async def submits(clients: Clients, repeats: int) -> None:
    """Submit latency with a growing backlog of pending rows."""
    print(f"submit latency by pending rows ({repeats} submits each)")
    async with open_resources(clients.stack.settings, name="bench", live=False) as resources:
        rows = 0
        for goal in (0, 1_000, 10_000):
            await _in_parallel((lambda: resources.jobs.add(_parked_job()) for _ in range(goal - rows)), 8)
            rows = goal
            urls = [await clients.upload(SMALL) for _ in range(repeats)]
            taken = []
            for url in urls:
                began = time.perf_counter()
                job_id = await clients.submit(url, BROKEN_MODEL)
                taken.append(time.perf_counter() - began)
                await clients.ending(job_id)
            print(f"  {goal:6} pending: median {median_ms(taken)}, p90 {p90_ms(taken)}")


async def costs(clients: Clients, repeats: int) -> None:
    """SQL statements (each its own transaction) and commands sent to Redis, by anybody, per operation."""
    settings = clients.stack.settings
    print(f"cost per operation (averages of {repeats}, workers paused, one API process with no follower)")
    urls = [await clients.upload(SMALL) for _ in range(repeats)]
    async with open_resources(settings, name="bench", live=False) as resources:
        job = _parked_job()
        await resources.jobs.add(job)
        claimed = await resources.jobs.claim(PARKED, owner="bench", lease_seconds=600)
        assert claimed is not None
        claim = Claim(claimed.id, claimed.claims)

        async def submit(number: int) -> None:
            # Not to a tier that anybody works on: only the submit itself is to be counted.
            await clients.submit(urls[number])

        async def status(_: int) -> None:
            (await clients.http.get(f"/api/v1/job/status/{job.id}")).raise_for_status()

        async def progress(number: int) -> None:
            chunk = _chunk(number)
            assert await resources.jobs.record(claim, chunk)
            update = JobUpdate(job_id=job.id, status=JobStatus.processing, progress=1.0, segments=chunk.segments)
            await resources.events.publish(update)

        with paused_workers():
            for name, operation in (("submit", submit), ("status read", status), ("progress event", progress)):
                await _count(settings, name, operation, repeats)


async def endings(clients: Clients, count: int, trials: int) -> None:
    """Followers that come late, and pages that close while somebody else submits."""
    url = await clients.upload(SMALL)

    async def late_follower(delay: float) -> str | None:
        job_id = await clients.submit(url, BROKEN_MODEL)
        await asyncio.sleep(delay)
        return await clients.ending(job_id)

    chance = random.Random(7)
    learnt = await asyncio.gather(*(late_follower(chance.uniform(0, 0.15)) for _ in range(count)))
    print(f"sockets opened 0-150 ms after submitting a job that fails at once: {learnt.count('failed')} of {count}")

    kept = 0
    for _ in range(trials):
        first = await clients.submit(await clients.upload(SMALL))
        page = await connect(clients.socket(first))
        await page.recv()
        closing = asyncio.to_thread(page.transport.abort)
        _, second = await asyncio.gather(closing, clients.submit(url))
        ended = [await clients.ending(job_id) for job_id in (first, second)]
        url = await clients.upload(SMALL)
        kept += all(status == "completed" for status in ended)
    print(f"trials of a page closing while another client submits, with no status lost: {kept} of {trials}")


async def _count(settings: Settings, name: str, operation: Callable[[int], Awaitable[object]], repeats: int) -> None:
    await operation(0)
    before = await _transactions(settings)
    async with _redis(settings) as redis, redis.monitor() as monitor:
        began = time.monotonic()
        for number in range(1, repeats):
            await operation(number)
        commands = await _heard(monitor, seconds=time.monotonic() - began + 0.5)
    after = await _transactions(settings)
    sql = (after - before - OWN_TRANSACTIONS) / (repeats - 1)
    told = ", ".join(f"{count / (repeats - 1):.2f} {command}" for command, count in commands.most_common(4)) or "none"
    print(f"  {name:15} {sql:5.2f} SQL statements; Redis round trips: {told}")


async def _heard(monitor: Monitor, *, seconds: float) -> Counter[str]:
    """Commands that clients sent within the time; what a script calls inside Redis is no round trip."""
    commands: Counter[str] = Counter()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for line in monitor.listen():
                if line["client_type"] != "lua":
                    commands[line["command"].split()[0].upper()] += 1
    return commands


def _redis(settings: Settings) -> Redis:
    return Redis(host=settings.redis.host, port=settings.redis.port, password=settings.secrets.redis_password)


async def _transactions(settings: Settings) -> int:
    """Transactions in the database so far; idle sessions report theirs within ten seconds."""
    await asyncio.sleep(11)
    database = settings.database
    connection = await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=settings.secrets.database_password,
        database=database.name,
    )
    try:
        return await connection.fetchval(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()


@contextmanager
def paused_workers() -> Generator[None, None, None]:
    workers = [child for child in psutil.Process().children(recursive=True) if "worker" in child.cmdline()]
    for process in workers:
        process.suspend()
    try:
        yield
    finally:
        for process in workers:
            process.resume()


async def _in_parallel(calls: Iterable[Callable[[], Awaitable[object]]], width: int) -> None:
    limit = asyncio.Semaphore(width)

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        async with limit:
            await call()

    await asyncio.gather(*map(one, calls))


def _parked_job() -> Job:
    """A pending job of a tier that nobody works on."""
    now = datetime.now(UTC)
    return Job(
        id=str(uuid4()),
        filename="parked.wav",
        url="http://nowhere/parked.wav",
        object_key=f"uploads/{uuid4()}.wav",
        file_size_bytes=1,
        content_type=None,
        status=JobStatus.pending,
        whisper_model="demo",
        tier=PARKED,
        options=TranscriptionOptions(),
        creation_date=now,
        update_date=now,
    )


def _chunk(number: int) -> TranscriptChunk:
    segment = Segment(
        id=number,
        seek=0,
        start=float(number),
        end=number + 1.0,
        text=" one two three",
        tokens=tuple(range(12)),
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
    )
    return TranscriptChunk(
        segments=(segment,),
        position=number + 1.0,
        duration=1000.0,
        duration_after_vad=1000.0,
        language="en",
        language_probability=1.0,
    )


def median_ms(seconds: Iterable[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms"


def p90_ms(seconds: list[float]) -> str:
    return f"{sorted(seconds)[int(len(seconds) * 0.9)] * 1000:.1f} ms"


async def main(arguments: argparse.Namespace) -> None:
    logs.configure("warning", "console")
    async with running_stack() as clients:
        await overhead(clients, arguments.jobs)
        await costs(clients, arguments.repeats)
        await submits(clients, arguments.repeats)
        await endings(clients, count=120, trials=24)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=30, help="small jobs for the overhead")
    parser.add_argument("--repeats", type=int, default=50, help="operations per measurement")
    asyncio.run(main(parser.parse_args()))
